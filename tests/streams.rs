//! Checkpoints larger than the task's memory.

use crate::support::cli::Host;
use crate::support::{Place, on_each_host};

on_each_host![
    a_task_streams_many_times_its_memory,
    streams_and_byte_writes_make_the_same_checkpoint,
    an_empty_stream_is_a_checkpoint,
    a_dropped_or_unfinished_stream_saves_nothing,
    a_missing_checkpoint_or_several_files_cannot_be_streamed,
];

fn a_task_streams_many_times_its_memory(host: Host) {
    let place = Place::on(host);
    // When composed, the limit applies to each of the two components, and both buffer data.
    let (cap, verbs) = match host {
        Host::Native => (["--max-memory", "8MiB"], "stream=100000000 read-stream"),
        Host::Composed => (
            ["-W", "max-memory-size=134217728"],
            "stream=300000000 read-stream",
        ),
    };
    let cli = || place.cli().options(cap);
    let outcome = cli().verbs(verbs).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    let next = cli().verbs("read-stream").outcome();
    next.printed(&outcome.lines[1..]);
}

fn streams_and_byte_writes_make_the_same_checkpoint(host: Host) {
    let place = Place::on(host);
    let outcome = place.run("write=bytes read-stream stream=5 read read-stream");
    assert_eq!(outcome.lines[1], "read-stream 5 bytes 00000000059dc06b");
    let (read, streamed) = (&outcome.lines[3], &outcome.lines[4]);
    assert!(read.starts_with("read \""), "{}", outcome.text());
    assert!(streamed.starts_with("read-stream 5 bytes"));
    place.run("read read-stream").printed([read, streamed]);
}

fn an_empty_stream_is_a_checkpoint(host: Host) {
    let place = Place::on(host);
    place.run("stream=0 read read-stream").printed([
        "stream 2",
        "read \"\"",
        "read-stream 0 bytes 0000000000000000",
    ]);
}

fn a_dropped_or_unfinished_stream_saves_nothing(host: Host) {
    let place = Place::on(host);
    place
        .run("write=kept stream-dropped=20000000 read")
        .printed(["write 2", "stream-dropped dropped", "read \"kept\""]);
    place.run("stream-dropped=20000000 trap").trapped();
    place.run("read").printed(["read \"kept\""]);
    let stored = std::fs::read_dir(place.store().join("data"));
    assert_eq!(stored.map_or(0, Iterator::count), 0);
}

fn a_missing_checkpoint_or_several_files_cannot_be_streamed(host: Host) {
    let place = Place::on(host);
    place.run("read-stream").printed(["read-stream none"]);
    let outcome = place.run("files=/data/many=3 save=/data/many read-stream");
    assert_eq!(outcome.lines[2], "error: not-single 3");
}
