//! Builds the components that the tests and the example run: those of `tests/guests`, the task `digits`
//! of the SDK, and `tests/plugin`, which has no WASI. So `cargo test` needs no step before it.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// For components that import nothing of WASI.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

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
        "host/wasmtime/examples/plugins/plugin.wit",
        "tests/guests",
        "tests/plugin",
        "wit",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(watched).display()
        );
    }
    install_target(TARGET)?;
    install_target(BARE_TARGET)?;

    let target_dir = target_dir(Path::new(&env::var("OUT_DIR")?))?;
    build(&workspace, &target_dir, TARGET, |cargo| {
        cargo
            .args(["--package", "task-checkpoint", "--example", "digits-task"])
            .args(["--package", "checkpoint-test-guests", "--bins"]);
    })?;
    // This target's own linker makes core modules; that of the other one makes components of them.
    let linker = component_linker()?;
    build(&workspace, &target_dir, BARE_TARGET, |cargo| {
        cargo
            .args(["--package", "checkpoint-test-plugin"])
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &linker);
    })?;

    let built = target_dir.join(TARGET).join("release");
    println!("cargo::rustc-env=GUESTS={}", built.display());
    let digits = built.join("examples/digits-task.wasm");
    println!("cargo::rustc-env=DIGITS={}", digits.display());
    let plugin = target_dir.join(BARE_TARGET).join("release");
    let plugin = plugin.join("checkpoint_test_plugin.wasm");
    println!("cargo::rustc-env=PLUGIN={}", plugin.display());
    Ok(())
}

fn build(
    workspace: &Path,
    target_dir: &Path,
    target: &str,
    what: impl FnOnce(&mut Command),
) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args(["build", "--release", "--locked", "--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        // That of the standard library is ten times as large as the program.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .current_dir(workspace);
    what(&mut cargo);
    for name in OUTER {
        cargo.env_remove(name);
    }
    match cargo.status()?.success() {
        true => Ok(()),
        false => Err("the components for the tests do not build; see above".into()),
    }
}

/// `wasm-component-ld`, which comes with every toolchain.
fn component_linker() -> Result<PathBuf, Box<dyn Error>> {
    let asked = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", &env::var("HOST")?])
        .output()?;
    let libraries = PathBuf::from(String::from_utf8(asked.stdout)?.trim());
    let host = libraries.parent().ok_or("the toolchain has no libraries")?;
    Ok(host.join("bin/wasm-component-ld"))
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
fn install_target(target: &str) -> Result<(), Box<dyn Error>> {
    let asked = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", target])
        .output()?;
    if Path::new(String::from_utf8(asked.stdout)?.trim()).exists() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", target])
        .status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(
        format!("the tests need the target {target}; install it with `rustup target add {target}`")
            .into(),
    )
}
