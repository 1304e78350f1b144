//! Compares the first run of a task that does nothing with `wasmtime run`, both including compilation.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::{ROUNDS, Target, in_turn, ratio, row, skipped, time};

pub(crate) async fn start() {
    const WHAT: &str = "cold run of a trivial task: time / wasmtime run";
    let wasmtime = std::env::var("WASMTIME").unwrap_or_else(|_| "wasmtime".into());
    let asked = Command::new(&wasmtime)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !asked.is_ok_and(|status| status.success()) {
        skipped(WHAT, "wasmtime; set WASMTIME to its path");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, task) = (
        dir.path().join("trivial.rs"),
        dir.path().join("trivial.wasm"),
    );
    std::fs::write(&source, "fn main() {}").unwrap();
    let built = Command::new("rustc")
        .args(["-O", "--target", "wasm32-wasip2", "-o"])
        .args([&task, &source])
        .status();
    assert!(
        built.unwrap().success(),
        "rustc failed; see its output above"
    );
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let ours = cold(env!("CARGO_BIN_EXE_wasm-checkpoint-under-test"), &task);
        let theirs = cold(&wasmtime, &task);
        let (ours, theirs) = in_turn(round, ours, theirs).await;
        times.push(ratio(ours, theirs));
    }
    row(WHAT, times, Target::AtMost(1.2));
}

/// Measures a run with an empty cache, in an empty directory.
async fn cold(program: &str, task: &Path) -> Duration {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.arg("run").arg(task).current_dir(home.path());
    command
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME");
    command.stderr(Stdio::null());
    let (time, status) = time(async { command.status() }).await;
    assert!(status.unwrap().success(), "{program} failed");
    time
}
