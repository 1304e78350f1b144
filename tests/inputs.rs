//! Every attempt reads the same from stdin.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write, pipe};
use std::thread;

use crate::support::Place;
use crate::support::cli::Cli;

/// A task that fails in its first attempt, after it has read a line, and then reads all.
const VERBS: &str = "line fail-once=/data/tried line line";

fn retried(place: &Place) -> Cli {
    place.cli().options(["--retries", "2"])
}

#[test]
fn a_pipe_is_read_again_by_each_attempt() {
    let place = Place::new();
    let (read, mut write) = pipe().unwrap();
    write.write_all(b"a\nb\n").unwrap();
    drop(write);
    retried(&place).stdin(read).verbs(VERBS).outcome().printed([
        "line \"a\\n\"",
        "line \"a\\n\"",
        "fail-once passed",
        "line \"b\\n\"",
        "line \"\"",
    ]);
}

#[test]
fn a_pipe_that_is_written_late_is_read_again_too() {
    let place = Place::new();
    let (read, mut write) = pipe().unwrap();
    let mut running = retried(&place).stdin(read).verbs(VERBS).start();
    write.write_all(b"a\n").unwrap();
    assert_eq!(running.line(), Some("line \"a\\n\""));
    assert_eq!(running.line(), Some("line \"a\\n\""));
    assert_eq!(running.line(), Some("fail-once passed"));
    write.write_all(b"b\n").unwrap();
    assert_eq!(running.line(), Some("line \"b\\n\""));
    drop(write);
    assert_eq!(running.line(), Some("line \"\""));
    assert_eq!(running.finish().code, Some(0));
}

#[test]
fn a_file_is_read_again_from_where_it_was() {
    let place = Place::new();
    let path = place.work().join("input");
    fs::write(&path, "skipped\na\nb\n").unwrap();
    let mut input = File::open(&path).unwrap();
    input.seek(SeekFrom::Start(8)).unwrap();
    let outcome = retried(&place).stdin(input.try_clone().unwrap());
    outcome.verbs(VERBS).outcome().printed([
        "line \"a\\n\"",
        "line \"a\\n\"",
        "fail-once passed",
        "line \"b\\n\"",
        "line \"\"",
    ]);
    // Whoever has the same file open goes on behind what was read.
    assert_eq!(input.stream_position().unwrap(), 12);
}

#[test]
fn more_of_a_pipe_than_is_kept_is_read_once() {
    let place = Place::new();
    let (read, mut write) = pipe().unwrap();
    let writer = thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        // 65 MiB, of which 64 are kept.
        (0..65).all(|_| write.write_all(&piece).is_ok())
    });
    let outcome = retried(&place).stdin(read).verbs("stdin trap").outcome();
    assert!(writer.join().unwrap());
    let error = outcome.failed(134);
    assert!(error.contains("not retried, because"), "{error}");
    assert!(error.contains("64 MiB"), "{error}");
    assert!(
        outcome.lines[0].starts_with("stdin 68157440 bytes"),
        "{}",
        outcome.text()
    );
    assert_eq!(outcome.lines.len(), 1, "{}", outcome.text());
}

#[test]
fn without_retries_stdin_is_the_tasks_own() {
    let place = Place::new();
    let (read, mut write) = pipe().unwrap();
    write.write_all(b"a\nb\n").unwrap();
    drop(write);
    let cli = place.cli().stdin(read);
    cli.verbs("line stdin")
        .outcome()
        .printed(["line \"a\\n\"", "stdin \"b\\n\""]);
}

#[test]
fn an_open_pipe_keeps_no_run_from_its_end() {
    for (verbs, options, code) in [
        ("write=one", &["--retries", "1"][..], 0),
        ("line", &["--retries", "1", "--timeout", "300ms"], 124),
        ("line", &["--timeout", "300ms"], 124),
    ] {
        let place = Place::new();
        let (read, _write) = pipe().unwrap();
        let cli = place.cli().options(options).stdin(read);
        let outcome = cli.verbs(verbs).outcome();
        assert_eq!(outcome.code, Some(code), "{}", outcome.text());
    }
}

#[test]
fn input_that_cannot_be_read_fails_the_task_and_nothing_else() {
    let place = Place::new();
    let directory = File::open(place.work()).unwrap();
    let cli = place.cli().options(["--retries", "1"]).stdin(directory);
    let outcome = cli.verbs("write=one stdin").outcome();
    outcome.failed(134);
    assert_eq!(outcome.lines, ["write 2", "write 4"], "{}", outcome.text());
}
