//! Version 0.3 of the import: calls of a guest that are in flight at the same time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::{Cli, Host, Outcome, Signal};
use crate::support::{Place, on_each_host};

on_each_host![
    a_retry_resumes_from_the_last_save,
    a_task_that_traps_during_a_save_resumes_from_the_one_before,
    a_task_of_version_0_2_resumes_what_one_of_version_0_3_has_saved,
    a_task_may_use_both_versions,
    a_task_computes_while_its_save_is_under_way,
    calls_in_flight_take_effect_in_their_order,
    calls_beyond_the_limit_are_refused_and_cost_nobody_anything,
    ten_thousand_calls_at_once_are_refused_or_end_the_task_and_lose_nothing,
    the_contents_of_calls_in_flight_are_limited_together,
    streams_carry_what_exceeds_a_piece,
    other_calls_may_be_made_while_streams_are_open,
    an_abandoned_stream_saves_nothing,
    a_stream_of_another_size_than_announced_saves_nothing,
    only_one_stream_may_be_read_at_a_time,
    a_save_that_is_left_or_cancelled_takes_effect_as_a_whole_or_not_at_all,
    a_cancelled_call_gives_way_to_the_next,
    files_are_saved_and_restored,
    a_newer_attempt_fences_an_older_one,
    a_host_that_does_not_ask_to_stop_leaves_the_future_pending,
    a_task_may_look_in_each_step_whether_it_should_stop,
];

/// The guest of these tests, a library.
pub(crate) fn guest() -> PathBuf {
    Path::new(env!("GUESTS")).join("examples/concurrent.wasm")
}

/// The command that runs the guest with these verbs, separated by spaces.
pub(crate) fn guest_with(cli: Cli, verbs: &str) -> Cli {
    let cli = cli.options(["-S", "p3"]);
    cli.program(&guest(), verbs.split_whitespace())
}

fn run(place: &Place, verbs: &str) -> Outcome {
    guest_with(place.cli(), verbs).outcome()
}

fn run_with(place: &Place, options: &[&str], verbs: &str) -> Outcome {
    guest_with(place.cli().options(options), verbs).outcome()
}

/// Asserts that the guest printed these lines and succeeded.
#[track_caller]
fn printed(outcome: &Outcome, lines: &[&str]) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines, lines, "{}", outcome.text());
}

fn a_retry_resumes_from_the_last_save(host: Host) {
    let place = Place::on(host);
    let failed = run(&place, "read write=one fail");
    assert_eq!(failed.code, Some(1), "{}", failed.text());
    assert_eq!(failed.lines, ["read none", "write saved"]);
    let place = place.across();
    printed(&run(&place, "read"), &["read one"]);
}

fn a_task_that_traps_during_a_save_resumes_from_the_one_before(host: Host) {
    let place = Place::on(host);
    run(&place, "write=one trap").trapped();
    let next = run(&place, "read");
    assert_eq!(next.code, Some(0), "{}", next.text());
    // Natively the save may have been committed.
    let read = &next.lines[0];
    assert!(read == "read one" || read.len() > 1_000_000 && host == Host::Native);
}

fn a_task_of_version_0_2_resumes_what_one_of_version_0_3_has_saved(host: Host) {
    let place = Place::on(host);
    printed(&run(&place, "write=one"), &["write saved"]);
    let other = place.run("read write=two");
    assert_eq!(other.code, Some(0), "{}", other.text());
    assert_eq!(other.lines[0], "read \"one\"");
    printed(&run(&place, "read"), &["read two"]);
}

fn a_task_may_use_both_versions(host: Host) {
    let place = Place::on(host);
    let outcome = run(&place, "mixed write=after read");
    printed(&outcome, &["mixed true", "write saved", "read after"]);
}

fn a_task_computes_while_its_save_is_under_way(host: Host) {
    printed(&run(&Place::on(host), "beside=8000000"), &["beside true"]);
}

fn calls_in_flight_take_effect_in_their_order(host: Host) {
    printed(&run(&Place::on(host), "ordered"), &["ordered three true"]);
}

fn calls_beyond_the_limit_are_refused_and_cost_nobody_anything(host: Host) {
    let place = Place::on(host);
    let outcome = run(&place, "burst=64 burst=300 write=after read");
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
fn ten_thousand_calls_at_once_are_refused_or_end_the_task_and_lose_nothing(host: Host) {
    let place = Place::on(host);
    printed(&run(&place, "write=before"), &["write saved"]);
    let outcome = run(&place, "burst=10000");
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
    let next = run(&place, "read write=after");
    assert_eq!(next.code, Some(0), "{}", next.text());
    assert_ne!(next.lines[0], "read none");
}

fn the_contents_of_calls_in_flight_are_limited_together(host: Host) {
    let place = Place::on(host);
    let cli = place.cli().cap("max-background", "5000000");
    let verbs = "held=4000000=100000 held=4900000=200000 held=6000000=1 write=after read";
    let outcome = guest_with(cli, verbs).outcome();
    let lines = [
        "held 0 refused",
        "held some refused",
        "held some refused",
        "write saved",
        "read after",
    ];
    printed(&outcome, &lines);
}

fn streams_carry_what_exceeds_a_piece(host: Host) {
    printed(
        &run(&Place::on(host), "stream=5000001 stream=0"),
        &["stream true", "stream true"],
    );
}

fn other_calls_may_be_made_while_streams_are_open(host: Host) {
    let outcome = run(&Place::on(host), "interleave=30000000");
    printed(&outcome, &["interleave true"]);
}

fn an_abandoned_stream_saves_nothing(host: Host) {
    let place = Place::on(host);
    printed(
        &run(&place, "write=before abandon"),
        &["write saved", "abandon after"],
    );
    printed(&run(&place, "read"), &["read after"]);
}

fn a_stream_of_another_size_than_announced_saves_nothing(host: Host) {
    let outcome = run(&Place::on(host), "write=before lose read");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(
        outcome.lines[1].contains("100001 bytes were written, but 100000 arrived"),
        "{}",
        outcome.text()
    );
    assert_eq!(outcome.lines[2], "read before");
}

fn only_one_stream_may_be_read_at_a_time(host: Host) {
    let outcome = run(&Place::on(host), "write=one streams=1 streams=2 read");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines[1], "streams 1");
    assert!(
        outcome.lines[2].contains("QuotaExceeded"),
        "{}",
        outcome.text()
    );
    assert_eq!(outcome.lines[3], "read one");
}

fn a_save_that_is_left_or_cancelled_takes_effect_as_a_whole_or_not_at_all(host: Host) {
    for verb in ["leave", "cancel"] {
        let place = Place::on(host);
        let outcome = run(&place, &format!("write=one {verb}=4000000"));
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        let next = run(&place, "read");
        assert_eq!(next.code, Some(0), "{}", next.text());
        let read = &next.lines[0];
        assert!(
            read == "read one" || read.len() > 1_000_000,
            "{verb}: {read:.100}"
        );
    }
}

fn a_cancelled_call_gives_way_to_the_next(host: Host) {
    let verbs = "cancel=4000000 write=two read";
    printed(
        &run(&Place::on(host), verbs),
        &["cancel true", "write saved", "read two"],
    );
}

fn files_are_saved_and_restored(host: Host) {
    let place = Place::on(host);
    fs::create_dir(place.work().join("model")).unwrap();
    fs::write(place.work().join("model/weights"), "w").unwrap();
    printed(
        &run(
            &place,
            "restore=/data/again save=/data/model save=data/none",
        ),
        &[
            "restore none",
            "save saved",
            "save error: InvalidPath(\"\\\"none\\\": no such file or directory\")",
        ],
    );
    let place = place.across();
    printed(&run(&place, "restore=/data/again"), &["restore restored"]);
    let again = place.work().join("again/weights");
    assert_eq!(fs::read_to_string(again).unwrap(), "w");
}

fn a_newer_attempt_fences_an_older_one(host: Host) {
    let place = Place::on(host);
    let verbs = "write=one wait=/data/go write=two";
    let mut older = guest_with(place.cli(), verbs).start();
    assert_eq!(older.line(), Some("write saved"));
    assert_eq!(older.line(), Some("waiting"));
    let place = place.across();
    printed(&run(&place, "write=newer"), &["write saved"]);
    fs::write(place.work().join("go"), "").unwrap();
    let outcome = older.finish();
    assert_eq!(
        outcome.lines[3],
        "write error: Fenced",
        "{}",
        outcome.text()
    );
    printed(&run(&place, "read"), &["read newer"]);
}

fn a_host_that_does_not_ask_to_stop_leaves_the_future_pending(host: Host) {
    let outcome = run(&Place::on(host), "never-stopping futures=100 read");
    let lines = ["never-stopping false", "futures 100", "read saved"];
    printed(&outcome, &lines);
}

fn a_task_may_look_in_each_step_whether_it_should_stop(host: Host) {
    let place = Place::on(host);
    let cli = place.cli().options(match host {
        Host::Native => ["--max-handles", "50"],
        Host::Composed => ["-S", "max-component-handles=50"],
    });
    let outcome = guest_with(cli, "stoppings=1000 write=one read").outcome();
    printed(&outcome, &["stoppings 1000", "write saved", "read one"]);
}

#[test]
fn futures_count_as_handles() {
    let place = Place::new();
    printed(&run(&place, "futures=100"), &["futures 100"]);
    let outcome = run_with(&place, &["--max-handles", "50"], "futures=1000");
    outcome.trapped();
    assert!(
        outcome.stderr.contains("--max-handles"),
        "{}",
        outcome.text()
    );
}

#[test]
fn a_task_that_waits_learns_that_it_should_stop() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "60s"]);
    let mut running = guest_with(cli, "until-stopping write=stopped").start();
    assert_eq!(running.line(), Some("waiting"));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(143), "{}", outcome.text());
    assert_eq!(outcome.lines[1..], ["until-stopping true", "write saved"]);
    printed(&run(&place, "read"), &["read stopped"]);
}

#[test]
fn a_call_in_flight_ends_with_its_attempt() {
    let place = Place::new();
    let options = ["--timeout", "300ms", "--retries", "1"];
    let outcome = run_with(&place, &options, "write=one until-stopping");
    assert_eq!(outcome.code, Some(124), "{}", outcome.text());
    printed(&run(&place, "read"), &["read one"]);
}

#[test]
fn a_newer_attempt_fences_calls_in_flight() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "60s"]);
    let mut running = guest_with(cli, "write=one until-stopping write=two").start();
    assert_eq!(running.line(), Some("write saved"));
    assert_eq!(running.line(), Some("waiting"));
    printed(&run(&place, "write=newer"), &["write saved"]);
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert!(outcome.lines[3].contains("Fenced"), "{}", outcome.text());
    printed(&run(&place, "read"), &["read newer"]);
}

#[test]
fn version_0_3_is_offered_only_on_request() {
    let place = Place::new();
    let store = place.store();
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
