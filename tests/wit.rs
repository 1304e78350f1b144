//! What is copied or generated from the WIT files must match them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

#[test]
fn the_vendored_wasi_matches_wasmtime_wasi() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    for (vendored, original) in [("deps", "p2"), ("0.3/deps", "p3")] {
        let original = wasmtime_wasi().join(format!("src/{original}/wit/deps"));
        let mut files = 0;
        for entry in fs::read_dir(wit.join(vendored)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let expected = fs::read_to_string(original.join(name)).unwrap();
            assert_eq!(text, expected, "copy {name:?} from {original:?}");
            files += 1;
        }
        assert!(files > 0);
    }
}

#[test]
fn published_crates_contain_the_wit_of_the_workspace() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let original = fs::canonicalize(workspace.join("wit")).unwrap();
    for folder in ["guest/rust/wit", "host/wasmtime/wit"] {
        let own = fs::canonicalize(workspace.join(folder)).unwrap();
        assert_eq!(
            own, original,
            "{folder} must be a link to the workspace's WIT"
        );
    }
}

#[test]
fn the_python_package_contains_the_wit_of_the_workspace() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let linked = workspace.join("guest/python/src/task_checkpoint/wit/deps");
    let original = fs::canonicalize(workspace.join("wit")).unwrap();
    assert_eq!(
        fs::canonicalize(linked.join("task-checkpoint")).unwrap(),
        original
    );
    for entry in fs::read_dir(original.join("deps")).unwrap() {
        let entry = entry.unwrap();
        let own = fs::canonicalize(linked.join(entry.file_name()));
        assert_eq!(own.unwrap(), entry.path(), "link it in {linked:?}");
    }
}

/// The interfaces whose types the Rust SDK takes from the crate `wasip2`.
const WASIP2: [(&str, &str); 5] = [
    (
        "wasi:clocks/wall-clock@0.2.12",
        "wasip2::clocks::wall_clock",
    ),
    ("wasi:filesystem/types@0.2.12", "wasip2::filesystem::types"),
    ("wasi:io/error@0.2.12", "wasip2::io::error"),
    ("wasi:io/poll@0.2.12", "wasip2::io::poll"),
    ("wasi:io/streams@0.2.12", "wasip2::io::streams"),
];

/// The bindings are committed: to generate them, every task would first build a procedural macro and a parser of
/// WIT. With `BLESS=1` this test writes them.
#[test]
fn the_bindings_of_the_rust_sdk_are_up_to_date() {
    let with = WASIP2
        .map(|(interface, module)| (interface.into(), WithOption::Path(module.into())))
        .into();
    let opts = Opts {
        with,
        ..Opts::default()
    };
    check_bindings("wit", "imports", opts, "bindings/generated.rs");
    let opts = Opts {
        pub_export_macro: true,
        default_bindings_module: Some("task_checkpoint::p3::bindings".into()),
        ..Opts::default()
    };
    check_bindings("wit/0.3", "plain-task", opts, "p3/bindings/generated.rs");
}

/// Compares a file of the SDK with the bindings of a world.
fn check_bindings(wit: &str, world: &str, mut opts: Opts, file: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = workspace.join("guest/rust/src").join(file);
    opts.format = true;
    let expected = generate_bindings(&workspace.join(wit), world, opts);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "{file} differs; run this test with BLESS=1 to update it"
    );
}

fn generate_bindings(wit: &Path, world: &str, opts: Opts) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(fs::canonicalize(wit).unwrap()).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut files = Files::default();
    let mut generator = opts.build();
    generator.generate(&mut resolve, world, &mut files).unwrap();
    let (_, source) = files.iter().next().unwrap();
    String::from_utf8(source.to_vec()).unwrap()
}

/// Returns the source directory of the `wasmtime-wasi` version that this build uses.
fn wasmtime_wasi() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|p| p["name"] == "wasmtime-wasi");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().to_owned()
}
