//! Builds crates of this workspace for WebAssembly, from a build script.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const WASI: &str = "wasm32-wasip2";

/// Variables that the outer cargo or its caller sets, and that the inner cargo must not see.
const OUTER: &[&str] = &[
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    // Set by Clippy, which builds nothing.
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// Returns the folder of the workspace. `up` is the path to it from the package being built.
pub(crate) fn workspace(up: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(up))
}

/// Reruns this build script when one of these paths changes.
pub(crate) fn watch(workspace: &Path, paths: &[&str]) {
    for watched in ["Cargo.lock", "Cargo.toml"].iter().chain(paths) {
        let watched = workspace.join(watched);
        println!("cargo::rerun-if-changed={}", watched.display());
    }
}

/// Runs `cargo build --release` for a target, with the arguments and variables that `what` adds. Returns the
/// folder of the artifacts.
pub(crate) fn build(
    workspace: &Path,
    target_dir: &Path,
    target: &str,
    what: impl FnOnce(&mut Command),
) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args(["build", "--release", "--locked", "--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        // The standard library's debug info is ten times as large as the program.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .current_dir(workspace);
    for name in OUTER {
        cargo.env_remove(name);
    }
    what(&mut cargo);
    match cargo.status()?.success() {
        true => Ok(target_dir.join(target).join("release")),
        false => Err("the build for WebAssembly failed; see the compiler's errors above".into()),
    }
}

/// Returns the target directory for all WebAssembly builds. They share it, so that procedural macros are built
/// once. It differs from the outer cargo's target directory, which the outer cargo has locked.
pub(crate) fn target_dir() -> Result<PathBuf, Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let build = out_dir.ancestors().find(|dir| dir.ends_with("build"));
    let profile = build
        .and_then(Path::parent)
        .ok_or("OUT_DIR is not inside a directory named `build`")?;
    Ok(profile.join("wasm"))
}

/// Installs a target with rustup if it is missing, and prints a warning that it did. rustup itself installs the targets
/// in `rust-toolchain.toml`, unless `RUSTUP_AUTO_INSTALL=0` is set.
pub(crate) fn install_target(target: &str) -> Result<(), Box<dyn Error>> {
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
        println!("cargo::warning=added the target {target} to this toolchain with rustup");
        return Ok(());
    }
    let what = format!(
        "this build needs the target {target}; install it with `rustup target add {target}`"
    );
    Err(what.into())
}
