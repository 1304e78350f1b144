//! Provides the components that `compose` plugs into a task: without S3 and with it, for tasks of WASI 0.2 and also for
//! those of 0.3. Builds them in the workspace; a published package contains them prebuilt.

#[path = "build/wasm.rs"]
mod wasm;

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

/// The folder into which `.ci/package` puts the components. A checkout does not have it.
const PREBUILT: &str = "prebuilt";
/// The features and the file name of each component, in the order of `Plug` in `src/compose.rs`.
const COMPONENTS: [(&str, &str); 4] = [
    ("", "component.wasm"),
    ("s3", "component-s3.wasm"),
    ("p3", "component-p3.wasm"),
    ("p3,s3", "component-p3-s3.wasm"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = env::var("OUT_DIR")?;
    let out_dir = Path::new(&out_dir);
    let composes = env::var_os("CARGO_FEATURE_COMPOSE").is_some();
    match (Path::new(PREBUILT).exists(), composes) {
        (true, true) => copy_prebuilt(out_dir)?,
        (true, false) => return Ok(()),
        (false, true) => build(out_dir)?,
        // The example builds its task for this target.
        (false, false) => return wasm::install_target(wasm::WASI),
    }
    pack(out_dir)
}

/// Compresses the components, each after its size, into one file. They have most of their code in common: compressed
/// alone, they would take twice as much.
#[cfg(feature = "compose")]
fn pack(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    use std::io::Write;

    let file = fs::File::create(out_dir.join("components.zst"))?;
    let mut packed = zstd::Encoder::new(file, 19)?;
    // All of them fit into the window, so that the last can repeat the first.
    packed.long_distance_matching(true)?;
    packed.window_log(24)?;
    for (_, name) in COMPONENTS {
        let component = fs::read(out_dir.join(name))?;
        packed.write_all(&(component.len() as u64).to_le_bytes())?;
        packed.write_all(&component)?;
    }
    packed.finish()?;
    Ok(())
}

#[cfg(not(feature = "compose"))]
fn pack(_: &Path) -> Result<(), Box<dyn Error>> {
    Ok(())
}

fn copy_prebuilt(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PREBUILT}");
    for (_, name) in COMPONENTS {
        fs::copy(Path::new(PREBUILT).join(name), out_dir.join(name))?;
    }
    Ok(())
}

fn build(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let workspace = wasm::workspace("../..")?;
    if !workspace.join("host/component").exists() {
        return Err(
            "this package lacks its prebuilt components; create it with `.ci/package`".into(),
        );
    }
    let watched = [
        "host/component",
        "host/session/Cargo.toml",
        "host/session/src",
        "host/storage/Cargo.toml",
        "host/storage/src",
        "wit",
    ];
    wasm::watch(&workspace, &watched);
    wasm::install_target(wasm::WASI)?;
    let target_dir = wasm::target_dir()?;
    for (features, name) in COMPONENTS {
        let built = wasm::build(&workspace, &target_dir, wasm::WASI, |cargo| {
            cargo
                .args(["--package", "checkpoint-component", "--features", features])
                // SIMD makes hashing twice as fast, and wasmtime supports it on every platform.
                .env("RUSTFLAGS", "-Ctarget-feature=+simd128")
                .env("CARGO_PROFILE_RELEASE_LTO", "true")
                .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        })?;
        fs::copy(built.join("checkpoint_component.wasm"), out_dir.join(name))?;
    }
    Ok(())
}
