//! Copies of WIT files must equal their originals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_vendored_wasi_matches_wasmtime_wasi() {
    let vendored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/deps");
    let original = wasmtime_wasi().join("src/p2/wit/deps");
    let mut files = 0;
    for entry in fs::read_dir(vendored).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let expected = fs::read_to_string(original.join(name)).unwrap();
        assert_eq!(text, expected, "copy {name:?} from {original:?}");
        files += 1;
    }
    assert!(files > 0);
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
