//! Version 0.3 of the import: calls of a guest that are in flight at the same time.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::cli::{Cli, Outcome, Signal};

/// The guest of these tests, a library.
fn guest() -> PathBuf {
    Path::new(env!("GUESTS")).join("examples/concurrent.wasm")
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cli(&self) -> Cli {
        let store = self.0.path().join("store");
        Cli::run(["-S", "p3", "--store"]).options([store])
    }

    /// Runs the guest with these verbs, separated by spaces.
    fn run(&self, verbs: &str) -> Outcome {
        self.run_with(&[], verbs)
    }

    fn run_with(&self, options: &[&str], verbs: &str) -> Outcome {
        let cli = self.cli().options(options);
        cli.task(&guest(), verbs.split_whitespace()).outcome()
    }
}

/// Asserts that the guest printed these lines and succeeded.
#[track_caller]
fn printed(outcome: &Outcome, lines: &[&str]) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines, lines, "{}", outcome.text());
}

#[test]
fn a_retry_resumes_from_the_last_save() {
    let place = Place::new();
    let failed = place.run("read write=one fail");
    assert_eq!(failed.code, Some(1), "{}", failed.text());
    assert_eq!(failed.lines, ["read none", "write saved"]);
    printed(&place.run("read"), &["read one"]);
}

#[test]
fn a_task_of_version_0_2_resumes_what_one_of_version_0_3_has_saved() {
    let place = Place::new();
    printed(&place.run("write=one"), &["write saved"]);
    let other = place.cli().verbs("read write=two").outcome();
    assert_eq!(other.code, Some(0), "{}", other.text());
    assert_eq!(other.lines[0], "read \"one\"");
    printed(&place.run("read"), &["read two"]);
}

#[test]
fn a_task_computes_while_its_save_is_under_way() {
    printed(&Place::new().run("beside=8000000"), &["beside true"]);
}

#[test]
fn calls_in_flight_take_effect_in_their_order() {
    printed(&Place::new().run("ordered"), &["ordered three true"]);
}

#[test]
fn calls_beyond_the_limit_are_refused_and_cost_nobody_anything() {
    let place = Place::new();
    let outcome = place.run("burst=64 burst=300 write=after read");
    // How many were refused depends on how fast others returned.
    let lines = [
        "burst 0 refused",
        "burst some refused",
        "write saved",
        "read after",
    ];
    printed(&outcome, &lines);
}

/// A call that has ended counts as a handle until the guest notices, so the guest may also exceed that limit.
#[test]
fn ten_thousand_calls_at_once_are_refused_or_end_the_task_and_lose_nothing() {
    let place = Place::new();
    printed(&place.run("write=before"), &["write saved"]);
    let outcome = place.run("burst=10000");
    match outcome.code {
        Some(0) => printed(&outcome, &["burst some refused"]),
        _ => {
            outcome.trapped();
            assert!(
                outcome.stderr.contains("--max-handles"),
                "{}",
                outcome.text()
            );
        }
    }
    let next = place.run("read write=after");
    assert_eq!(next.code, Some(0), "{}", next.text());
    assert_ne!(next.lines[0], "read none");
}

#[test]
fn the_contents_of_calls_in_flight_are_limited_together() {
    let place = Place::new();
    let outcome = place.run_with(
        &["--max-background", "5000000"],
        "held=4000000=100000 held=4900000=200000 held=6000000=1 write=after read",
    );
    let lines = [
        "held 0 refused",
        "held some refused",
        "held some refused",
        "write saved",
        "read after",
    ];
    printed(&outcome, &lines);
}

#[test]
fn streams_carry_what_exceeds_a_piece() {
    printed(
        &Place::new().run("stream=5000001 stream=0"),
        &["stream true", "stream true"],
    );
}

#[test]
fn an_abandoned_stream_saves_nothing() {
    let place = Place::new();
    printed(
        &place.run("write=before abandon"),
        &["write saved", "abandon after"],
    );
    printed(&place.run("read"), &["read after"]);
}

#[test]
fn a_stream_of_another_size_than_announced_saves_nothing() {
    let outcome = Place::new().run("write=before lose read");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(
        outcome.lines[1].contains("100001 bytes were written, but 100000 arrived"),
        "{}",
        outcome.text()
    );
    assert_eq!(outcome.lines[2], "read before");
}

#[test]
fn only_one_stream_may_be_read_at_a_time() {
    let outcome = Place::new().run("write=one streams=1 streams=2 read");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines[1], "streams 1");
    assert!(
        outcome.lines[2].contains("QuotaExceeded"),
        "{}",
        outcome.text()
    );
    assert_eq!(outcome.lines[3], "read one");
}

#[test]
fn futures_count_as_handles() {
    let place = Place::new();
    printed(&place.run("futures=100"), &["futures 100"]);
    let outcome = place.run_with(&["--max-handles", "50"], "futures=1000");
    outcome.trapped();
    assert!(
        outcome.stderr.contains("--max-handles"),
        "{}",
        outcome.text()
    );
}

#[test]
fn a_save_that_is_left_or_cancelled_takes_effect_as_a_whole_or_not_at_all() {
    for verb in ["leave", "cancel"] {
        let place = Place::new();
        let outcome = place.run(&format!("write=one {verb}=4000000"));
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        let next = place.run("read");
        assert_eq!(next.code, Some(0), "{}", next.text());
        let read = &next.lines[0];
        assert!(
            read == "read one" || read.len() > 1_000_000,
            "{verb}: {read:.100}"
        );
    }
}

#[test]
fn a_cancelled_call_gives_way_to_the_next() {
    let verbs = "cancel=4000000 write=two read";
    printed(
        &Place::new().run(verbs),
        &["cancel true", "write saved", "read two"],
    );
}

#[test]
fn a_task_that_waits_learns_that_it_should_stop() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "60s"]);
    let mut running = cli
        .task(&guest(), ["until-stopping", "write=stopped"])
        .start();
    assert_eq!(running.line(), Some("waiting"));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(143), "{}", outcome.text());
    assert_eq!(outcome.lines[1..], ["until-stopping true", "write saved"]);
    printed(&place.run("read"), &["read stopped"]);
}

#[test]
fn a_call_in_flight_ends_with_its_attempt() {
    let place = Place::new();
    let options = ["--timeout", "300ms", "--retries", "1"];
    let outcome = place.run_with(&options, "write=one until-stopping");
    assert_eq!(outcome.code, Some(124), "{}", outcome.text());
    printed(&place.run("read"), &["read one"]);
}

#[test]
fn a_newer_attempt_fences_calls_in_flight() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "60s"]);
    let mut running = cli
        .task(&guest(), ["write=one", "until-stopping", "write=two"])
        .start();
    assert_eq!(running.line(), Some("write saved"));
    assert_eq!(running.line(), Some("waiting"));
    printed(&place.run("write=newer"), &["write saved"]);
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert!(outcome.lines[3].contains("Fenced"), "{}", outcome.text());
    printed(&place.run("read"), &["read newer"]);
}

#[test]
fn version_0_3_is_offered_only_on_request() {
    let place = Place::new();
    let store = place.0.path().join("store");
    let outcome = Cli::run(["--store"])
        .options([&store])
        .task(&guest(), ["read"])
        .outcome();
    assert_eq!(outcome.code, Some(122), "{}", outcome.text());
    assert!(
        outcome.stderr.contains("task:checkpoint/"),
        "{}",
        outcome.text()
    );
    assert!(outcome.stderr.contains("-S p3"), "{}", outcome.text());
    assert!(!store.exists() || fs::read_dir(store).unwrap().next().is_none());
}
