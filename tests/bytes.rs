//! The guarantees of the interface `checkpointer`, through the command line.

use crate::support::cli::{Cli, Host};
use crate::support::{Place, on_each_host};

on_each_host![
    the_next_attempt_reads_what_was_written,
    a_task_reads_its_own_write,
    empty_bytes_are_a_checkpoint,
    megabytes_round_trip,
    bytes_that_look_like_an_archive_are_not_unpacked,
    an_attempt_without_a_save_is_skipped,
    a_task_whose_attempts_all_died_before_a_save_is_fresh,
    reading_a_checkpoint_of_several_files_reports_their_number,
    a_directory_with_one_file_can_be_read,
];

#[test]
fn missing_and_empty_locations_have_no_checkpoint() {
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("missing");
    for location in [missing.as_path(), empty.path()] {
        let outcome = Cli::verbs_on(location, "prev-exists resume read");
        outcome.printed(["prev-exists false", "resume fresh", "read none"]);
    }
}

fn the_next_attempt_reads_what_was_written(host: Host) {
    let place = Place::on(host);
    place
        .run("write=one write=two")
        .printed(["write 2", "write 3"]);
    let outcome = place.run("prev-exists resume read");
    outcome.printed(["prev-exists true", "resume resumed 3", "read \"two\""]);
}

fn a_task_reads_its_own_write(host: Host) {
    let place = Place::on(host);
    place.run("write=one").printed(["write 2"]);
    let outcome = place.run("write=two prev-exists read resume");
    outcome.printed([
        "write 4",
        "prev-exists true",
        "read \"two\"",
        "resume resumed 2",
    ]);
}

fn empty_bytes_are_a_checkpoint(host: Host) {
    let place = Place::on(host);
    place.run("write=").printed(["write 2"]);
    let outcome = place.run("prev-exists read");
    outcome.printed(["prev-exists true", "read \"\""]);
}

fn megabytes_round_trip(host: Host) {
    let place = Place::on(host);
    let first = place.run("write-random=40000000 read");
    assert!(first.lines[1].starts_with("read 40000000 bytes"));
    let second = place.run("read");
    second.printed(&first.lines[1..]);
}

fn bytes_that_look_like_an_archive_are_not_unpacked(host: Host) {
    let place = Place::on(host);
    let mut archive = vec![0u8; 1024];
    archive[..10].copy_from_slice(b"../../evil");
    archive[257..262].copy_from_slice(b"ustar");
    std::fs::write(place.work().join("a.tar"), &archive).unwrap();
    place
        .run("save-reader=/data/a.tar")
        .printed(["save-reader 2"]);
    place.run("restore=/data/b.tar").printed(["restore 2"]);
    assert_eq!(std::fs::read(place.work().join("b.tar")).unwrap(), archive);
}

fn an_attempt_without_a_save_is_skipped(host: Host) {
    let place = Place::on(host);
    place.run("write=one").printed(["write 2"]);
    for _ in 0..3 {
        place.run("trap").trapped();
    }
    place.run("read").printed(["read \"one\""]);
}

fn a_task_whose_attempts_all_died_before_a_save_is_fresh(host: Host) {
    let place = Place::on(host);
    for _ in 0..3 {
        place.run("trap").trapped();
    }
    let outcome = place.run("prev-exists resume read");
    outcome.printed(["prev-exists false", "resume fresh", "read none"]);
}

#[test]
fn earlier_attempts_in_separate_locations_are_skipped_if_they_saved_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let locations = ["aa/n0-0/_flytecheckpoints", "q7/n0-1", "zz/n0-2"].map(|l| dir.path().join(l));
    let [first, second, third] = &locations;
    let run = |store: &std::path::Path, prev: &std::path::Path, verbs| {
        Cli::run(["--store".as_ref(), store.as_os_str()])
            .options(["--prev".as_ref(), prev.as_os_str()])
            .verbs(verbs)
            .outcome()
    };
    Cli::verbs_on(first, "write=one").printed(["write 2"]);
    run(second, first, "trap").failed(134);
    let outcome = run(third, second, "prev-exists read write=two read");
    outcome.printed([
        "prev-exists true",
        "read \"one\"",
        "write 2",
        "read \"two\"",
    ]);
    // The first attempt's location is unchanged.
    Cli::verbs_on(first, "read").printed(["read \"one\""]);
}

#[test]
fn flytes_spellings_of_none_mean_none() {
    let dir = tempfile::tempdir().unwrap();
    for (number, none) in ["", "\"\"", "{{.prevCheckpointPrefix}}"].iter().enumerate() {
        let location = dir.path().join(number.to_string());
        let outcome = Cli::run(["--checkpoint-path".as_ref(), location.as_os_str()])
            .options(["--prev-checkpoint", none])
            .verbs("resume write=one")
            .outcome();
        outcome.printed(["resume fresh", "write 2"]);

        let next = dir.path().join(format!("{number}-next"));
        let outcome = Cli::run(["--checkpoint-path".as_ref(), next.as_os_str()])
            .options(["--prev-checkpoint".as_ref(), location.as_os_str()])
            .verbs("read")
            .outcome();
        outcome.printed(["read \"one\""]);
    }
}

#[test]
fn an_unreplaced_template_means_the_default_location() {
    let dir = tempfile::tempdir().unwrap();
    let run = |verbs| {
        Cli::run(["--checkpoint-path", "{{.checkpointOutputPrefix}}"])
            .envs([("XDG_STATE_HOME", dir.path().to_str().unwrap())])
            .verbs(verbs)
            .outcome()
    };
    run("write=one").printed(["write 2"]);
    run("read").printed(["read \"one\""]);
    assert!(dir.path().join("wasm-checkpoint").is_dir());
}

fn reading_a_checkpoint_of_several_files_reports_their_number(host: Host) {
    let place = Place::on(host);
    for (count, expected) in [
        (0, "error: not-single 0"),
        (2, "error: not-single 2"),
        (3, "error: not-single 3"),
    ] {
        let verbs = format!("files=/data/{count}={count} save=/data/{count}");
        let saved = place.run(&verbs);
        assert_eq!(saved.code, Some(0), "{}", saved.text());
        place.run("read").printed([expected]);
    }
}

fn a_directory_with_one_file_can_be_read(host: Host) {
    let place = Place::on(host);
    std::fs::create_dir_all(place.work().join("d/deep")).unwrap();
    std::fs::write(place.work().join("d/deep/only"), "contents").unwrap();
    place.run("save=/data/d").printed(["save 2"]);
    place.run("read").printed(["read \"contents\""]);
}

#[test]
fn the_attempts_of_one_run_resume_from_each_other() {
    let place = Place::new();
    let cli = place.cli().options(["--retries", "2"]);
    let outcome = cli.verbs("read write=one trap").outcome();
    outcome.failed(134);
    let reads: Vec<_> = outcome.lines.iter().step_by(2).collect();
    assert_eq!(
        reads,
        ["read none", "read \"one\"", "read \"one\""],
        "{}",
        outcome.text()
    );
}
