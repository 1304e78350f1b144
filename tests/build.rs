//! Builds the components that the tests run: the guests in `tests/guests`, the SDK's example `digits`, and
//! `tests/plugin`, which has no WASI. With this, `cargo test` needs no preparation.

#[path = "../host/cli/build/wasm.rs"]
mod wasm;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// The target for components without WASI.
const BARE: &str = "wasm32-unknown-unknown";

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = wasm::workspace("..")?;
    let plugin = "host/wasmtime/examples/plugins/plugin.wit";
    let watched = ["guest/rust", plugin, "tests/guests", "tests/plugin", "wit"];
    wasm::watch(&workspace, &watched);
    wasm::install_target(wasm::WASI)?;
    wasm::install_target(BARE)?;

    let target_dir = wasm::target_dir()?;
    let built = wasm::build(&workspace, &target_dir, wasm::WASI, |cargo| {
        cargo
            .args(["--package", "task-checkpoint", "--example", "digits-task"])
            .args(["--package", "checkpoint-test-guests", "--bins"])
            .args(["--example", "concurrent"]);
    })?;
    println!("cargo::rustc-env=GUESTS={}", built.display());
    let digits = built.join("examples/digits-task.wasm");
    println!("cargo::rustc-env=DIGITS={}", digits.display());

    // This target's linker makes core modules. The linker of wasm32-wasip2 makes components.
    let linker = component_linker()?;
    let built = wasm::build(&workspace, &target_dir, BARE, |cargo| {
        cargo
            .args(["--package", "checkpoint-test-plugin"])
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &linker);
    })?;
    let plugin = built.join("checkpoint_test_plugin.wasm");
    println!("cargo::rustc-env=PLUGIN={}", plugin.display());
    Ok(())
}

/// Finds `wasm-component-ld`, which every toolchain includes.
fn component_linker() -> Result<PathBuf, Box<dyn Error>> {
    let asked = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", &env::var("HOST")?])
        .output()?;
    let libraries = PathBuf::from(String::from_utf8(asked.stdout)?.trim());
    let host = libraries
        .parent()
        .ok_or("the toolchain has no library directory")?;
    Ok(host.join("bin/wasm-component-ld"))
}
