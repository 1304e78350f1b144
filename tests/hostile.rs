//! Guests that misuse the import. Each gets a typed error or a trap. The host keeps running, and committed
//! checkpoints survive.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::cli::{Host, Outcome};
use crate::support::{Place, on_each_host};

on_each_host![
    no_path_escapes_a_directory,
    a_file_is_not_accepted_as_a_directory,
    an_invalid_handle_traps,
    oversized_strings_and_lists_are_refused,
    a_save_during_a_stream_is_a_separate_save,
    oversized_directories_are_refused,
    file_names_that_are_not_unicode_are_refused,
    a_stream_that_lost_data_saves_nothing,
];

/// Runs the guest `hostile` with this argument.
#[track_caller]
fn play(place: &Place, trick: &str) -> Outcome {
    place.cli().guest("hostile", [trick]).outcome()
}

/// Asserts that the guest succeeded and that every line it printed ends with `end`.
#[track_caller]
fn all_say(outcome: &Outcome, end: &str) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(!outcome.lines.is_empty());
    for line in &outcome.lines {
        assert!(line.ends_with(end), "{}", outcome.text());
    }
}

fn no_path_escapes_a_directory(host: Host) {
    let place = Place::on(host);
    let outside = place.work().parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    symlink(&outside, place.work().join("link-to-outside")).unwrap();
    all_say(&play(&place, "paths"), " invalid-path");
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    place.run("read").printed(["read \"mine\""]);
}

fn a_file_is_not_accepted_as_a_directory(host: Host) {
    let outcome = play(&Place::on(host), "not-a-directory");
    all_say(&outcome, " invalid-path");
}

fn an_invalid_handle_traps(host: Host) {
    for trick in ["forged-handle", "dropped-handle", "wrong-handle"] {
        let place = Place::on(host);
        place.run("write=kept").printed(["write 2"]);
        let outcome = play(&place, trick);
        match host {
            Host::Native => outcome.trapped(),
            // `wasmtime run` reports a trap in a host call as a general failure.
            Host::Composed => assert_eq!(outcome.code, Some(1), "{}", outcome.text()),
        }
        place.run("read").printed(["read \"kept\""]);
    }
}

fn oversized_strings_and_lists_are_refused(host: Host) {
    all_say(&play(&Place::on(host), "long-path"), " invalid-path");
    for trick in ["many-annotations", "overlapping-annotations"] {
        all_say(&play(&Place::on(host), trick), " quota-exceeded");
    }
}

#[test]
fn streams_are_opened_one_at_a_time() {
    play(&Place::new(), "many-streams").printed([
        "\"begin\" quota-exceeded",
        "\"begin\" ok",
        "\"read\" quota-exceeded",
        "\"read\" ok",
    ]);
}

#[test]
fn stream_calls_out_of_order_are_refused() {
    play(&Place::new(), "commit-while-writing").printed(["\"commit\" other", "write true"]);
    play(&Place::new(), "contents-twice").printed(["\"contents\" other"]);
}

fn a_stream_that_lost_data_saves_nothing(host: Host) {
    let place = Place::on(host);
    place.run("write=kept").printed(["write 2"]);
    play(&place, "commit-of-more").printed(["\"commit\" other", "\"read\" ok"]);
    place.run("read").printed(["read \"kept\""]);
}

fn a_save_during_a_stream_is_a_separate_save(host: Host) {
    let place = Place::on(host);
    play(&place, "save-within-save").printed(["\"read\" ok", "\"read\" ok"]);
    let outcome = place.run("read");
    assert!(outcome.lines[0].starts_with("read 6000000 bytes"));
}

fn oversized_directories_are_refused(host: Host) {
    all_say(&play(&Place::on(host), "deep"), " invalid-path");
    let place = Place::on(host);
    let cli = place.cli().cap("max-files", "1000");
    let wide = cli.guest("hostile", ["wide"]).outcome();
    all_say(&wide, " quota-exceeded");
}

fn file_names_that_are_not_unicode_are_refused(host: Host) {
    let place = Place::on(host);
    place.run("write=kept").printed(["write 2"]);
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    fs::create_dir(place.work().join("odd")).unwrap();
    fs::write(place.work().join("odd").join(name), "").unwrap();
    let outcome = place.run("save=/data/odd read");
    assert_eq!(outcome.lines, ["error: invalid-path", "read \"kept\""]);
}
