//! Limits on what a task stores, and the errors when it exceeds them.

use crate::support::cli::Host;
use crate::support::{Place, on_each_host};

on_each_host![
    exceeding_a_limit_is_a_typed_error_and_loses_nothing,
    replaced_data_no_longer_counts_against_the_limit,
    a_stored_checkpoint_over_the_limits_is_not_restored,
    a_task_can_query_its_limits,
];

const MOST: &str = "error: quota-exceeded";

fn exceeding_a_limit_is_a_typed_error_and_loses_nothing(host: Host) {
    for (option, cap, verbs) in [
        ("max-checkpoint", "1000000", "write-random=1000001"),
        ("max-checkpoint", "1000000", "stream=30000000"),
        (
            "max-checkpoint",
            "1000000",
            "files=/data/f=300 save=/data/f",
        ),
        (
            "max-checkpoint",
            "1000000",
            "files=/data/f=300 save-in-background=/data/f",
        ),
        ("quota", "2000000", "write-random=3000000"),
        ("max-files", "10", "files=/data/f=10 save=/data/f"),
        ("max-path", "4", "files=/data/f=1 save=/data/f"),
        ("max-annotations", "10", "annotate=key=a-long-value write=x"),
        ("max-annotations", "10", "schema=a-long-schema=allow"),
        ("max-saves", "2", "write=kept write=kept write=x"),
    ] {
        let place = Place::on(host);
        place.run("write=kept").printed(["write 2"]);
        let outcome = place.cli().cap(option, cap).verbs(verbs).outcome();
        let last = outcome.lines.last().map(String::as_str);
        assert_eq!(last, Some(MOST), "{option} {verbs}: {}", outcome.text());
        place.run("read").printed(["read \"kept\""]);
    }
}

#[test]
fn the_copies_of_background_saves_are_limited() {
    for (option, cap, verbs) in [
        ("max-background", "3", "write-in-background=four"),
        ("max-saves", "1", "write=kept write-in-background=x"),
        (
            "max-saves",
            "1",
            "files=/data/f=1 write=kept save-in-background=/data/f",
        ),
        (
            "max-spool",
            "8192",
            "files=/data/f=10 save-in-background=/data/f",
        ),
    ] {
        let place = Place::new();
        place.run("write=kept").printed(["write 2"]);
        let outcome = place.cli().cap(option, cap).verbs(verbs).outcome();
        let last = outcome.lines.last().map(String::as_str);
        assert_eq!(last, Some(MOST), "{option} {verbs}: {}", outcome.text());
        place.run("read").printed(["read \"kept\""]);
    }
}

fn replaced_data_no_longer_counts_against_the_limit(host: Host) {
    let place = Place::on(host);
    // The kept checkpoint and the new one fit the quota, so any number of saves succeeds.
    let cli = place.cli().cap("quota", "9000000").cap("keep", "1");
    let verbs = "write-random=4000000 write-random=4100000 ".repeat(5);
    let outcome = cli.verbs(&verbs).outcome();
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome
            .lines
            .iter()
            .all(|line| line.starts_with("write-random "))
    );
}

fn a_stored_checkpoint_over_the_limits_is_not_restored(host: Host) {
    let place = Place::on(host);
    let outcome = place.run("files=/data/f=20 save=/data/f");
    assert_eq!(outcome.code, Some(0));
    let cli = place.cli().cap("max-files", "10");
    let outcome = cli.verbs("restore=/data/g").outcome();
    assert_eq!(outcome.lines, [MOST]);
    assert!(!place.work().join("g").exists(), "the restore wrote files");
}

fn a_task_can_query_its_limits(host: Host) {
    let place = Place::on(host);
    let cli = place.cli().cap("quota", "1000000000").cap("max-saves", "7");
    let outcome = cli.verbs("limits").outcome();
    // The claim counts too.
    assert!(outcome.lines[0].contains("bytes-left: 999999"));
    assert!(outcome.lines[0].contains("saves-per-minute: 7"));
}
