//! Builds crates of this workspace for WebAssembly, from a build script.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const WASI: &str = "wasm32-wasip2";

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

/// The folder of the workspace, of which the package that is built is a member in `up`.
pub(crate) fn workspace(up: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(up))
}

/// Builds this script again when one of these changes.
pub(crate) fn watch(workspace: &Path, paths: &[&str]) {
    for watched in ["Cargo.lock", "Cargo.toml"].iter().chain(paths) {
        let watched = workspace.join(watched);
        println!("cargo::rerun-if-changed={}", watched.display());
    }
}

/// Runs `cargo build --release` for a target, with what else it is told. Returns the folder of what was
/// built.
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
        // That of the standard library is ten times as large as the program.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .current_dir(workspace);
    for name in OUTER {
        cargo.env_remove(name);
    }
    what(&mut cargo);
    match cargo.status()?.success() {
        true => Ok(target_dir.join(target).join("release")),
        false => Err("what is built for WebAssembly does not build; see above".into()),
    }
}

/// The directory that everything for WebAssembly is built in, so that its macros are built once. It is not
/// the outer cargo's, which holds the lock on its own.
pub(crate) fn target_dir() -> Result<PathBuf, Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let build = out_dir.ancestors().find(|dir| dir.ends_with("build"));
    let profile = build
        .and_then(Path::parent)
        .ok_or("OUT_DIR is not inside a directory named `build`")?;
    Ok(profile.join("wasm"))
}

/// Adds a target that is missing, and says so. rustup adds those of `rust-toolchain.toml` by itself, except
/// under `RUSTUP_AUTO_INSTALL=0`.
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
        println!("cargo::warning=added the target {target} to this toolchain, by rustup");
        return Ok(());
    }
    let what = format!(
        "this build needs the target {target}; install it with `rustup target add {target}`"
    );
    Err(what.into())
}
