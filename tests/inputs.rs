//! Every attempt reads the same from stdin.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write, pipe};
use std::process::Command;
use std::thread;
use std::time::Duration;

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
fn a_pipe_that_does_not_block_is_read_like_any_other() {
    let place = Place::new();
    let (read, mut write) = pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&read).unwrap();
    rustix::fs::fcntl_setfl(&read, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut running = retried(&place).stdin(read).verbs(VERBS).start();
    // The task finds nothing at first.
    thread::sleep(Duration::from_millis(500));
    write.write_all(b"a\nb\n").unwrap();
    drop(write);
    while running.line().is_some() {}
    running.finish().printed([
        "line \"a\\n\"",
        "line \"a\\n\"",
        "fail-once passed",
        "line \"b\\n\"",
        "line \"\"",
    ]);
}

#[test]
fn a_named_pipe_and_a_file_open_for_both_are_read_again() {
    let place = Place::new();
    let pipe = place.work().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let file = place.work().join("file");
    fs::write(&file, "a\nb\n").unwrap();
    for name in ["pipe", "file"] {
        let path = place.work().join(name);
        let input = match name {
            "pipe" => {
                let writer = path.clone();
                thread::spawn(move || fs::write(writer, "a\nb\n").unwrap());
                File::open(path)
            }
            _ => File::options().read(true).append(true).open(path),
        };
        let outcome = retried(&place).stdin(input.unwrap()).verbs(VERBS).outcome();
        outcome.printed([
            "line \"a\\n\"",
            "line \"a\\n\"",
            "fail-once passed",
            "line \"b\\n\"",
            "line \"\"",
        ]);
        fs::remove_file(place.work().join("tried")).unwrap();
    }
}

#[test]
fn a_run_needs_no_directory_for_temporary_files_unless_its_task_reads_a_pipe() {
    let place = Place::new();
    let missing = [("TMPDIR", place.work().join("missing"))];
    // A task that reads nothing, and one whose input is empty.
    for verbs in ["write=one", "line write=two"] {
        let outcome = retried(&place).envs(missing.clone()).verbs(verbs).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    }
    let (read, mut write) = pipe().unwrap();
    write.write_all(b"a\n").unwrap();
    drop(write);
    let cli = retried(&place).envs(missing).stdin(read);
    let outcome = cli.verbs("line trap").outcome();
    let error = outcome.failed(134);
    assert_eq!(outcome.lines, ["line \"a\\n\""], "{}", outcome.text());
    assert!(error.contains("not retried"), "{error}");
    assert!(error.contains("TMPDIR"), "{error}");
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
