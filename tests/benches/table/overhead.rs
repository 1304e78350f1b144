//! The overhead of saving for a task that computes continuously.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::{MIB, Target, note, ratio, row, time};

/// The number of rounds. Each takes three runs, each long enough for several saves.
const ROUNDS: usize = 3;

/// The size of the state. The task changes all of it in each of its rounds.
const STATE: usize = 16 * MIB;
const TASK_ROUNDS: usize = 1500;

struct Measured {
    time: Duration,
    waited: Duration,
    saves: u64,
}

pub(crate) async fn overhead() {
    let (mut every_second, mut budget) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..ROUNDS {
        let without = run(&["--save-every", "1h"]).await;
        let with = run(&["--save-every", "1s"]).await;
        every_second.push(ratio(with.time, without.time));
        let budgeted = run(&["--save-overhead", "5"]).await;
        budget.push(ratio(budgeted.time, without.time));
        last = Some((with, budgeted));
    }
    let (with, budgeted) = last.unwrap();
    let what = "16 MiB of state saved every second: run time / without";
    row(what, every_second, Target::Nothing);
    note(&with.text());
    let what = "save overhead capped at 5 %: run time / without";
    row(what, budget, Target::AtMost(1.05));
    note(&budgeted.text());
}

impl Measured {
    fn text(&self) -> String {
        let Self {
            time,
            waited,
            saves,
        } = self;
        let share = 100.0 * ratio(*waited, *time);
        format!(
            "last round: {saves} saves in {time:.1?}, of which {share:.1} % was spent waiting for them"
        )
    }
}

async fn run(options: &[&str]) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasm-checkpoint-under-test"));
    command.arg("run").args(options);
    command.arg("--store").arg(dir.path().join("location"));
    command.arg("--report").arg(&report);
    command
        .arg(Path::new(env!("GUESTS")).join("verbs.wasm"))
        .args(["strict", &format!("compute={TASK_ROUNDS}={STATE}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (time, status) = time(async { command.status() }).await;
    assert!(status.unwrap().success());
    let report = std::fs::read(report).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    Measured {
        time,
        waited: Duration::from_secs_f64(report["waited_seconds"].as_f64().unwrap()),
        saves: report["saves"].as_u64().unwrap(),
    }
}
