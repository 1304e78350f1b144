//! Checkpoints larger than the task's memory.

use crate::support::Place;

#[test]
fn a_task_streams_many_times_its_memory() {
    let place = Place::new();
    let cli = || place.cli().options(["--max-memory", "8MiB"]);
    let outcome = cli().verbs("stream=100000000 read-stream").outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    let next = cli().verbs("read-stream").outcome();
    next.printed(&outcome.lines[1..]);
    assert!(next.lines[0].starts_with("read-stream 100000000 bytes"));
}

#[test]
fn streams_and_bytes_are_one_checkpoint() {
    let place = Place::new();
    let outcome = place.run("write=bytes read-stream stream=5 read read-stream");
    assert_eq!(outcome.lines[1], "read-stream 5 bytes 00000000059dc06b");
    let (read, streamed) = (&outcome.lines[3], &outcome.lines[4]);
    assert!(read.starts_with("read \""), "{}", outcome.text());
    assert!(streamed.starts_with("read-stream 5 bytes"));
    place.run("read read-stream").printed([read, streamed]);
}

#[test]
fn an_empty_stream_is_a_checkpoint() {
    let place = Place::new();
    place.run("stream=0 read read-stream").printed([
        "stream 2",
        "read \"\"",
        "read-stream 0 bytes 0000000000000000",
    ]);
}

#[test]
fn a_stream_that_is_dropped_or_never_finished_saves_nothing() {
    let place = Place::new();
    place
        .run("write=kept stream-dropped=20000000 read")
        .printed(["write 2", "stream-dropped dropped", "read \"kept\""]);
    place.run("stream-dropped=20000000 trap").failed(134);
    place.run("read").printed(["read \"kept\""]);
    let stored = std::fs::read_dir(place.store().join("data"));
    assert_eq!(stored.map_or(0, Iterator::count), 0);
}

#[test]
fn there_is_no_stream_of_nothing_or_of_many_files() {
    let place = Place::new();
    place.run("read-stream").printed(["read-stream none"]);
    let outcome = place.run("files=/data/many=3 save=/data/many read-stream");
    assert_eq!(outcome.lines[2], "error: not-single 3");
}
