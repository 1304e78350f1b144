//! Builds the component that `compose` plugs into a task, without S3 and with it.

#[path = "build/wasm.rs"]
mod wasm;

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = wasm::workspace("../..")?;
    wasm::watch(
        &workspace,
        &[
            "host/component",
            "host/session/Cargo.toml",
            "host/session/src",
            "host/storage/Cargo.toml",
            "host/storage/src",
            "wit",
        ],
    );
    wasm::install_target(wasm::WASI)?;
    let target_dir = wasm::target_dir("component")?;
    let out_dir = env::var("OUT_DIR")?;
    for (features, name) in [("", "component.wasm"), ("s3", "component-s3.wasm")] {
        let built = wasm::build(&workspace, &target_dir, wasm::WASI, |cargo| {
            cargo
                .args(["--package", "checkpoint-component", "--features", features])
                // What hashes is twice as fast with it, and wasmtime has it wherever it runs.
                .env("RUSTFLAGS", "-Ctarget-feature=+simd128")
                .env("CARGO_PROFILE_RELEASE_LTO", "true")
                .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        })?;
        let built = built.join("checkpoint_component.wasm");
        fs::copy(built, Path::new(&out_dir).join(name))?;
    }
    Ok(())
}
