//! Background saves, which run while the task computes, through the command line.

use crate::support::cli::Host;
use crate::support::{Place, on_each_host};

on_each_host![
    staged_saves_are_committed_when_the_task_ends,
    a_flush_makes_the_save_durable_and_returns_its_result,
    a_task_reads_its_own_save_whether_it_is_committed_or_not,
    a_directory_may_change_once_its_save_is_staged,
];

fn staged_saves_are_committed_when_the_task_ends(host: Host) {
    for (end, code) in [("", 0), ("trap", 134), ("exit=3", 1)] {
        let place = Place::on(host);
        let outcome = place.run(&format!("write-in-background=staged {end}"));
        assert_eq!(outcome.code, Some(code), "{}", outcome.text());
        place.run("read").printed([r#"read "staged""#]);
    }
}

#[test]
fn staged_saves_are_committed_when_the_task_times_out() {
    let place = Place::new();
    let cli = place.cli().options(["--timeout", "300ms"]);
    let outcome = cli.verbs("write-in-background=staged loop").outcome();
    assert_eq!(outcome.code, Some(124), "{}", outcome.text());
    place.run("read").printed([r#"read "staged""#]);
}

fn a_flush_makes_the_save_durable_and_returns_its_result(host: Host) {
    let place = Place::on(host);
    let outcome = place.run("flush write-in-background=one flush flush read");
    outcome.printed([
        "flush nothing",
        "write-in-background staged",
        "flush 2",
        "flush nothing",
        r#"read "one""#,
    ]);
}

fn a_task_reads_its_own_save_whether_it_is_committed_or_not(host: Host) {
    let place = Place::on(host);
    let outcome =
        place.run("write-in-background=one read write-in-background=two write=three read");
    outcome.printed([
        "write-in-background staged",
        r#"read "one""#,
        "write-in-background staged",
        &outcome.lines[3],
        r#"read "three""#,
    ]);
    place.run("read").printed([r#"read "three""#]);
}

fn a_directory_may_change_once_its_save_is_staged(host: Host) {
    let place = Place::on(host);
    std::fs::create_dir(place.work().join("state")).unwrap();
    let verbs = "file=/data/state/a=old save-in-background=/data/state file=/data/state/a=new";
    assert_eq!(place.run(verbs).code, Some(0));
    place
        .run("restore-replacing=/data/state")
        .printed(["restore-replacing 2"]);
    let restored = std::fs::read_to_string(place.work().join("state/a")).unwrap();
    assert_eq!(restored, "old");
}

#[test]
fn ten_thousand_background_saves_make_few_commits() {
    let place = Place::new();
    let outcome = place.run("burst=10000 flush read");
    assert_eq!(outcome.lines[2], r#"read "9999""#, "{}", outcome.text());
    place.run("read").printed([r#"read "9999""#]);
    let kept = std::fs::read_dir(place.store().join("log")).unwrap();
    assert!(kept.count() < 10, "replaced saves leave no records");
}
