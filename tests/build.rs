//! Builds the components that the tests and the example run: those of `tests/guests` and the task
//! `digits` of the SDK. So `cargo test` needs no step before it.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// What the outer cargo, or the caller for its sake, sets and the inner one must not see.
const OUTER: &[&str] = &[
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    // Clippy, which builds nothing.
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    for watched in [
        "Cargo.lock",
        "Cargo.toml",
        "guest/rust",
        "tests/guests",
        "wit",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(watched).display()
        );
    }
    install_target()?;

    let target_dir = target_dir(Path::new(&env::var("OUT_DIR")?))?;
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "task-checkpoint", "--example", "digits-task"])
        .args(["--package", "checkpoint-test-guests", "--bins"])
        .arg("--target-dir")
        .arg(&target_dir)
        // That of the standard library is ten times as large as the program.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .current_dir(&workspace);
    for name in OUTER {
        cargo.env_remove(name);
    }
    if !cargo.status()?.success() {
        return Err("the components for the tests do not build; see above".into());
    }

    let built = target_dir.join(TARGET).join("release");
    println!("cargo::rustc-env=GUESTS={}", built.display());
    let digits = built.join("examples/digits-task.wasm");
    println!("cargo::rustc-env=DIGITS={}", digits.display());
    Ok(())
}

/// A directory of their own, or the inner cargo would wait for the lock that the outer one holds; and
/// always the same one, so that only what has changed is built.
fn target_dir(out_dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let build = out_dir.ancestors().find(|dir| dir.ends_with("build"));
    let profile = build
        .and_then(Path::parent)
        .ok_or("OUT_DIR lies in no directory `build`")?;
    Ok(profile.join("guests"))
}

/// `rust-toolchain.toml` names the target, but rustup installs nothing under `RUSTUP_AUTO_INSTALL=0`.
fn install_target() -> Result<(), Box<dyn Error>> {
    let asked = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()?;
    if Path::new(String::from_utf8(asked.stdout)?.trim()).exists() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(
        format!("the tests need the target {TARGET}; install it with `rustup target add {TARGET}`")
            .into(),
    )
}
