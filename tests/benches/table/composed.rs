//! Compares a composed task on the stock `wasmtime run` with the same task on `wasm-checkpoint run`. Both
//! use locations on the same disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::{Cli, Host, composed, guest};
use crate::measure::{MIB, ROUNDS, Target, human_size, in_turn, note, ratio, row};
use crate::noise::noise;

const SIZE: usize = 256 * MIB;

pub(crate) async fn speed() {
    let dir = tempfile::tempdir().unwrap();
    let contents = noise(0, SIZE);
    fs::write(dir.path().join("file"), &contents).unwrap();
    let (mut saves, mut restores) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let native = async { times(Host::Native, dir.path()) };
        let composed = async { times(Host::Composed, dir.path()) };
        let (native, composed) = in_turn(round, native, composed).await;
        saves.push(ratio(composed.0, native.0));
        restores.push(ratio(composed.1, native.1));
    }
    let what = "composed: save of a 256 MiB file / wasm-checkpoint run";
    row(what, saves, Target::AtMost(2.5));
    let what = "composed: restore of that file / wasm-checkpoint run";
    row(what, restores, Target::AtMost(1.5));
    for (name, option) in [("directories", ""), ("S3", "--s3")] {
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        let task = guest("verbs");
        let grown = size(&composed(&task, option)) - size(&task);
        note(&format!(
            "composing for {name} adds {} to a task",
            human_size(grown)
        ));
    }
}

/// Measures how long a task waits for a save, and for a restore to another file.
fn times(host: Host, work: &Path) -> (Duration, Duration) {
    let store = tempfile::tempdir().unwrap();
    let mut running = Cli::on(host, store.path())
        .dir(work, "/data")
        .verbs("resume save=/data/file restore=/data/again")
        .start();
    let mut times = Vec::new();
    while running.line().is_some() {
        times.push(Instant::now());
    }
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    fs::remove_file(work.join("again")).unwrap();
    (times[1] - times[0], times[2] - times[1])
}
