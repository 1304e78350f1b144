//! After damage, an attempt falls back to an older checkpoint or the task gets an error.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::Host;
use crate::support::{Place, Random, on_each_host};

on_each_host![
    a_damaged_record_falls_back_to_the_checkpoint_before,
    a_truncated_record_falls_back_to_the_checkpoint_before,
    an_attempt_that_fell_back_can_save_and_the_next_resumes_from_that,
    damaged_data_falls_back_to_the_checkpoint_before,
    missing_or_truncated_data_falls_back_to_the_checkpoint_before,
    a_restore_from_damaged_data_falls_back_to_the_checkpoint_before,
    a_task_whose_checkpoints_are_all_damaged_is_not_fresh,
    a_damaged_claim_costs_no_checkpoint,
];

fn record(place: &Place, sequence: u64) -> PathBuf {
    place.store().join(format!("log/{sequence:020}"))
}

fn data(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.store().join("data")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    paths
}

fn flip_a_bit(path: &Path, random: &mut Random) {
    let mut bytes = fs::read(path).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    fs::write(path, bytes).unwrap();
}

/// A location that holds the checkpoints 2 and 3.
fn two_checkpoints(host: Host) -> Place {
    let place = Place::on(host);
    place
        .run("write=one write=two")
        .printed(["write 2", "write 3"]);
    place
}

fn a_damaged_record_falls_back_to_the_checkpoint_before(host: Host) {
    for seed in 0..8 {
        let place = two_checkpoints(host);
        flip_a_bit(&record(&place, 3), &mut Random::new(seed));
        let outcome = place.run("prev-exists resume read");
        outcome.printed([
            "prev-exists true",
            "resume fell-back 2 past 3",
            "read \"one\"",
        ]);
    }
}

fn a_truncated_record_falls_back_to_the_checkpoint_before(host: Host) {
    let place = two_checkpoints(host);
    let whole = fs::read(record(&place, 3)).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(record(&place, 3), &whole[..length]).unwrap();
        place
            .run("resume read")
            .printed(["resume fell-back 2 past 3", "read \"one\""]);
    }
}

fn an_attempt_that_fell_back_can_save_and_the_next_resumes_from_that(host: Host) {
    let place = two_checkpoints(host);
    flip_a_bit(&record(&place, 3), &mut Random::new(0));
    place.run("write=three").printed(["write 5"]);
    place
        .run("resume read")
        .printed(["resume resumed 5", "read \"three\""]);
}

#[test]
fn a_fall_back_is_reported_on_the_terminal() {
    let place = two_checkpoints(Host::Native);
    flip_a_bit(&record(&place, 3), &mut Random::new(0));
    let outcome = place.run("read");
    assert!(outcome.stderr.contains("damaged"), "{}", outcome.text());
}

fn damaged_data_falls_back_to_the_checkpoint_before(host: Host) {
    for seed in 0..8 {
        let place = Place::on(host);
        place
            .run("write=one write-random=300000")
            .printed(["write 2", "write-random 3"]);
        flip_a_bit(&data(&place)[0], &mut Random::new(seed));
        let outcome = place.run("read resume prev-exists");
        outcome.printed([
            "read \"one\"",
            "resume fell-back 2 past 3",
            "prev-exists true",
        ]);
    }
}

fn missing_or_truncated_data_falls_back_to_the_checkpoint_before(host: Host) {
    for length in [None, Some(0), Some(1000), Some(299_999)] {
        let place = Place::on(host);
        place
            .run("write=one write-random=300000")
            .printed(["write 2", "write-random 3"]);
        let path = &data(&place)[0];
        match length {
            None => fs::remove_file(path).unwrap(),
            Some(length) => fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(length)
                .unwrap(),
        }
        place
            .run("read resume")
            .printed(["read \"one\"", "resume fell-back 2 past 3"]);
    }
}

fn a_restore_from_damaged_data_falls_back_to_the_checkpoint_before(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/a=100 save=/data/a files=/data/b=120 save=/data/b")
        .printed(["files made", "save 2", "files made", "save 3"]);
    let paths = data(&place);
    assert_eq!(paths.len(), 2, "{paths:?}");
    flip_a_bit(&paths[1], &mut Random::new(1));
    place.run("restore=/data/c").printed(["restore 2"]);
    assert_eq!(fs::read_dir(place.work().join("c")).unwrap().count(), 100);
}

fn a_task_whose_checkpoints_are_all_damaged_is_not_fresh(host: Host) {
    let place = two_checkpoints(host);
    for sequence in [2, 3] {
        flip_a_bit(&record(&place, sequence), &mut Random::new(sequence));
    }
    let outcome = place.run("prev-exists resume read restore=/data/target");
    assert_eq!(outcome.lines, ["error: corrupt"; 4], "{}", outcome.text());
    assert!(!place.work().join("target").exists());
    // A later attempt reports it too.
    let outcome = place.run("prev-exists");
    assert_eq!(outcome.lines, ["error: corrupt"], "{}", outcome.text());
}

#[test]
fn a_task_that_gives_up_on_damage_ends_with_the_code_for_that() {
    let place = two_checkpoints(Host::Native);
    for sequence in [2, 3] {
        flip_a_bit(&record(&place, sequence), &mut Random::new(sequence));
    }
    place.run("strict read").failed(65);
}

#[test]
fn a_task_that_handles_damage_is_retried_and_resumes_from_its_own_save() {
    let place = two_checkpoints(Host::Native);
    for sequence in [2, 3] {
        flip_a_bit(&record(&place, sequence), &mut Random::new(sequence));
    }
    let cli = place.cli().options(["--retries", "1"]);
    let outcome = cli.verbs("read write=fresh read trap").outcome();
    outcome.failed(134);
    assert_eq!(
        outcome.lines,
        [
            "error: corrupt",
            "write 5",
            "read \"fresh\"",
            "read \"fresh\"",
            "write 7",
            "read \"fresh\""
        ],
        "{}",
        outcome.text()
    );
}

#[test]
fn a_task_with_a_damaged_predecessor_is_not_fresh() {
    let place = Place::new();
    place.run("write=one").printed(["write 2"]);
    flip_a_bit(&record(&place, 2), &mut Random::new(0));
    let next = Place::new();
    let store = place.store();
    let cli = next.cli().options(["--prev".as_ref(), store.as_os_str()]);
    let outcome = cli.verbs("prev-exists read").outcome();
    assert_eq!(outcome.lines, ["error: corrupt"; 2], "{}", outcome.text());
}

fn a_damaged_claim_costs_no_checkpoint(host: Host) {
    let place = two_checkpoints(host);
    flip_a_bit(&record(&place, 1), &mut Random::new(0));
    place
        .run("read write=three")
        .printed(["read \"two\"", "write 5"]);
    flip_a_bit(&record(&place, 4), &mut Random::new(0));
    place.run("read").printed(["read \"three\""]);
}

#[test]
fn foreign_files_in_a_location_are_left_alone() {
    let place = two_checkpoints(Host::Native);
    for name in [
        "log/README",
        "log/3",
        "log/99999999999999999999999",
        "data/x",
        "y",
    ] {
        let path = place.store().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    place
        .run("read write=three")
        .printed(["read \"two\"", "write 5"]);
    for name in ["log/README", "log/3", "data/x", "y"] {
        assert_eq!(fs::read(place.store().join(name)).unwrap(), b"mine");
    }
}
