//! Guests that misuse the import. Each gets a typed error or a trap; the host goes on, and what was
//! committed stays.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::Place;
use crate::support::cli::{Outcome, guest};

/// Plays a trick on a location with a checkpoint, which must still be there afterwards.
#[track_caller]
fn play(place: &Place, trick: &str, options: &[&str]) -> Outcome {
    let cli = place.cli().options(options);
    cli.task(&guest("hostile"), [trick]).outcome()
}

/// Asserts that each line but the last ones ends so.
#[track_caller]
fn all_say(outcome: &Outcome, end: &str) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(!outcome.lines.is_empty());
    for line in &outcome.lines {
        assert!(line.ends_with(end), "{}", outcome.text());
    }
}

#[test]
fn no_path_leads_out_of_a_directory() {
    let place = Place::new();
    let outside = place.work().parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    symlink(&outside, place.work().join("link-to-outside")).unwrap();
    all_say(&play(&place, "paths", &[]), " invalid-path");
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    place.run("read").printed(["read \"mine\""]);
}

#[test]
fn a_file_is_no_directory() {
    let outcome = play(&Place::new(), "not-a-directory", &[]);
    all_say(&outcome, " invalid-path");
}

#[test]
fn a_handle_that_is_none_traps() {
    for trick in ["forged-handle", "dropped-handle", "wrong-handle"] {
        let place = Place::new();
        place.run("write=kept").printed(["write 2"]);
        let outcome = play(&place, trick, &[]);
        assert_eq!(outcome.code, Some(134), "{trick}: {}", outcome.text());
        place.run("read").printed(["read \"kept\""]);
    }
}

#[test]
fn strings_and_lists_without_end_are_refused() {
    all_say(&play(&Place::new(), "long-path", &[]), " invalid-path");
    for trick in ["many-annotations", "overlapping-annotations"] {
        all_say(&play(&Place::new(), trick, &[]), " quota-exceeded");
    }
}

#[test]
fn streams_are_opened_one_at_a_time() {
    play(&Place::new(), "many-streams", &[]).printed([
        "\"begin\" quota-exceeded",
        "\"begin\" ok",
        "\"read\" quota-exceeded",
        "\"read\" ok",
    ]);
}

#[test]
fn a_stream_is_used_in_its_order() {
    play(&Place::new(), "commit-while-writing", &[]).printed(["\"commit\" other", "write true"]);
    play(&Place::new(), "contents-twice", &[]).printed(["\"contents\" other"]);
}

#[test]
fn a_save_within_a_save_is_a_save_of_its_own() {
    let place = Place::new();
    play(&place, "save-within-save", &[]).printed(["\"read\" ok", "\"read\" ok"]);
    let outcome = place.run("read");
    assert!(outcome.lines[0].starts_with("read 6000000 bytes"));
}

#[test]
fn directories_without_end_are_refused() {
    all_say(&play(&Place::new(), "deep", &[]), " invalid-path");
    let wide = play(&Place::new(), "wide", &["--max-files", "1000"]);
    all_say(&wide, " quota-exceeded");
}

#[test]
fn names_that_are_not_unicode_are_refused() {
    let place = Place::new();
    place.run("write=kept").printed(["write 2"]);
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    fs::create_dir(place.work().join("odd")).unwrap();
    fs::write(place.work().join("odd").join(name), "").unwrap();
    let outcome = place.run("save=/data/odd read");
    assert_eq!(outcome.lines, ["error: invalid-path", "read \"kept\""]);
}
