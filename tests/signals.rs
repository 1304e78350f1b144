//! What a run does on SIGTERM and SIGINT.

use crate::support::Place;
use crate::support::cli::Signal;

#[test]
fn a_task_that_is_asked_to_stop_can_save_and_a_rerun_resumes() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let place = Place::new();
        let cli = place.cli().options(["--retries", "5"]);
        let verbs = "write=one save-due until-stopping save-due write=two save-due";
        let mut running = cli.verbs(verbs).start();
        assert_eq!(running.line(), Some("write 2"));
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(code), "{}", outcome.text());
        let said = [
            "until-stopping told",
            "save-due true",
            "write 3",
            "save-due false",
        ];
        assert_eq!(outcome.lines[2..], said, "{}", outcome.text());
        place
            .run("resume read")
            .printed(["resume resumed 3", "read \"two\""]);
    }
}

#[test]
fn a_task_that_does_not_stop_is_terminated_and_its_staged_save_is_committed() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "200ms", "--retries", "5"]);
    let mut running = cli.verbs("write-in-background=staged loop").start();
    assert_eq!(running.line(), Some("write-in-background staged"));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(143), "{}", outcome.text());
    place.run("read").printed(["read \"staged\""]);
}

#[test]
fn a_second_signal_ends_the_run_at_once_without_damage() {
    let place = Place::new();
    let cli = place.cli().options(["--grace", "1h"]);
    let mut running = cli.verbs("write=one until-stopping loop").start();
    assert_eq!(running.line(), Some("write 2"));
    running.signal(Signal::TERM);
    assert_eq!(running.line(), Some("until-stopping told"));
    running.signal(Signal::INT);
    assert_eq!(running.finish().code, Some(130));
    place.run("read").printed(["read \"one\""]);
}

#[test]
fn a_task_that_ignores_a_signal_and_ends_keeps_its_own_result() {
    let place = Place::new();
    // So that nothing but the signal makes a save due.
    let cli = place.cli().options(["--save-every", "1h"]);
    // `save-due` only says when to save.
    let mut running = cli.verbs("write=one save-due until-save-due").start();
    assert_eq!(running.line(), Some("write 2"));
    assert_eq!(running.line(), Some("save-due false"));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines[2..], ["until-save-due true"]);
}

#[test]
fn a_report_lists_what_the_attempts_did() {
    let place = Place::new();
    let report = place.work().join("report.json");
    let file = report.to_str().unwrap();
    let cli = place.cli().options(["--report", file, "--retries", "1"]);
    let outcome = cli.verbs("write-random=100000 trap").outcome();
    assert_eq!(outcome.code, Some(134));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["attempts"], 2);
    assert_eq!(report["saves"], 2);
    assert_eq!(report["logical_bytes"], 200_000);
    assert!(report["waited_seconds"].as_f64().unwrap() > 0.0);
}
