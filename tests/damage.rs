//! After damage, an attempt falls back to an older checkpoint or the task gets an error.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::{Cli, Host};
use crate::support::{Place, Random, on_each_host, tree};

on_each_host![
    a_damaged_record_falls_back_to_the_checkpoint_before,
    a_truncated_record_falls_back_to_the_checkpoint_before,
    a_fall_back_is_reported_on_the_terminal,
    an_attempt_that_fell_back_can_save_and_the_next_resumes_from_that,
    damaged_data_falls_back_to_the_checkpoint_before,
    missing_or_truncated_data_falls_back_to_the_checkpoint_before,
    a_restore_from_damaged_data_falls_back_to_the_checkpoint_before,
    the_resume_point_is_the_checkpoint_that_is_read,
    a_task_whose_checkpoints_are_all_damaged_is_not_fresh,
    a_damaged_claim_costs_no_checkpoint,
];

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
        flip_a_bit(&place.record(3), &mut Random::new(seed));
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
    let whole = fs::read(place.record(3)).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(place.record(3), &whole[..length]).unwrap();
        place
            .run("resume read")
            .printed(["resume fell-back 2 past 3", "read \"one\""]);
    }
}

fn an_attempt_that_fell_back_can_save_and_the_next_resumes_from_that(host: Host) {
    let place = two_checkpoints(host);
    flip_a_bit(&place.record(3), &mut Random::new(0));
    place.run("write=three").printed(["write 5"]);
    place
        .run("resume read")
        .printed(["resume resumed 5", "read \"three\""]);
}

fn a_fall_back_is_reported_on_the_terminal(host: Host) {
    let said = "falling back to checkpoint 2";
    let place = two_checkpoints(host);
    flip_a_bit(&place.record(3), &mut Random::new(0));
    let outcome = place.run("read");
    assert_eq!(
        outcome.stderr.matches(said).count(),
        1,
        "{}",
        outcome.text()
    );
    // Damaged data is found when it is read.
    let place = Place::on(host);
    place.run("write=one write-random=300000");
    flip_a_bit(&data(&place)[0], &mut Random::new(0));
    let outcome = place.run("read");
    assert_eq!(
        outcome.stderr.matches(said).count(),
        1,
        "{}",
        outcome.text()
    );
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

fn the_resume_point_is_the_checkpoint_that_is_read(host: Host) {
    let place = Place::on(host);
    place
        .run("write=one write-random=300000")
        .printed(["write 2", "write-random 3"]);
    flip_a_bit(&data(&place)[0], &mut Random::new(1));
    place
        .run("resume read")
        .printed(["resume fell-back 2 past 3", "read \"one\""]);
}

#[test]
fn everyone_falls_back_past_damaged_data_and_says_so() {
    let place = Place::new();
    place.run("write=one write-random=300000");
    flip_a_bit(&data(&place)[0], &mut Random::new(1));
    let before = tree(&place.store());
    let operate = |verb: &str, args: &[&str]| {
        let line = [verb.into(), place.store().into_os_string()];
        Cli::new(line).options(args).outcome()
    };
    // Exporting reads the data, and restores the older checkpoint.
    let target = place.work().join("target");
    let exported = operate("export", &[target.to_str().unwrap(), "--json"]);
    assert_eq!(exported.code, Some(0), "{}", exported.text());
    assert!(
        exported.stderr.contains("checkpoint 3"),
        "{}",
        exported.text()
    );
    assert_eq!(fs::read(&target).unwrap(), b"one");
    let exported: serde_json::Value = serde_json::from_str(&exported.lines.join("\n")).unwrap();
    assert_eq!(exported["sequence"], 2);
    assert_eq!(exported["damaged"][0]["sequence"], 3);
    // Whoever asks for the damaged one is refused.
    let other = place.work().join("other");
    operate("export", &[other.to_str().unwrap(), "--seq", "3"]).failed(65);
    assert!(!other.exists());
    // Pruning deletes nothing.
    let refused = operate("prune", &["--keep", "1"]).failed(65);
    assert!(refused.contains("checkpoint 3"), "{refused}");
    assert_eq!(tree(&place.store()), before);
    // A run names the checkpoint that its task got.
    let report = place.work().join("report");
    let cli = place
        .cli()
        .options(["--report".as_ref(), report.as_os_str()]);
    let outcome = cli.verbs("read").outcome();
    outcome.printed(["read \"one\""]);
    let said = "falling back to checkpoint 2";
    assert_eq!(
        outcome.stderr.matches(said).count(),
        1,
        "{}",
        outcome.text()
    );
    assert!(
        outcome.stderr.contains("resumed from checkpoint 2"),
        "{}",
        outcome.text()
    );
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let resumed = report["resumed_from"].as_str().unwrap();
    assert!(resumed.starts_with("checkpoint 2 "), "{resumed}");
    assert_eq!(report["damaged"][0]["sequence"], 3);
    // An operator can make the location clean.
    assert_eq!(operate("verify", &[]).code, Some(65));
    let pruned = operate("prune", &["--keep", "3", "--give-up"]);
    assert_eq!(pruned.code, Some(0), "{}", pruned.text());
    let verified = operate("verify", &[]);
    assert_eq!(verified.code, Some(0), "{}", verified.text());
    place
        .run("resume read")
        .printed(["resume resumed 6", "read \"one\""]);
}

#[test]
fn everyone_falls_back_past_a_damaged_record_and_says_so() {
    let place = two_checkpoints(Host::Native);
    let whole = fs::read(place.record(3)).unwrap();
    fs::write(place.record(3), &whole[..whole.len() / 2]).unwrap();
    let operate = |verb: &str, args: &[&str]| {
        let line = [verb.into(), place.store().into_os_string()];
        Cli::new(line).options(args).outcome()
    };
    let target = place.work().join("target");
    for (verb, args) in [
        ("ls", &["--json"][..]),
        ("show", &["--json"]),
        ("export", &[target.to_str().unwrap(), "--json"]),
    ] {
        let outcome = operate(verb, args);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        assert!(
            outcome.stderr.contains("checkpoint 3"),
            "{}",
            outcome.text()
        );
        let said: serde_json::Value = serde_json::from_str(&outcome.lines.join("\n")).unwrap();
        assert_eq!(said["damaged"][0]["sequence"], 3, "{verb}");
    }
    operate("show", &["3"]).failed(65);
    // A record is never deleted, but an operator can stop hearing of it.
    assert_eq!(operate("verify", &[]).code, Some(65));
    assert_eq!(
        operate("prune", &["--keep", "3", "--give-up"]).code,
        Some(0)
    );
    assert_eq!(operate("verify", &[]).code, Some(0));
    assert!(place.record(3).exists());
    assert_eq!(operate("ls", &[]).stderr, "");
    fs::write(place.record(5), "damaged").unwrap();
    fs::write(place.record(2), "damaged").unwrap();
    let listed = operate("ls", &[]);
    assert_eq!(listed.code, Some(65), "{}", listed.text());
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
        flip_a_bit(&place.record(sequence), &mut Random::new(sequence));
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
        flip_a_bit(&place.record(sequence), &mut Random::new(sequence));
    }
    place.run("strict read").failed(65);
}

#[test]
fn a_task_that_handles_damage_is_retried_and_resumes_from_its_own_save() {
    let place = two_checkpoints(Host::Native);
    for sequence in [2, 3] {
        flip_a_bit(&place.record(sequence), &mut Random::new(sequence));
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
    flip_a_bit(&place.record(2), &mut Random::new(0));
    let next = Place::new();
    let store = place.store();
    let cli = next.cli().options(["--prev".as_ref(), store.as_os_str()]);
    let outcome = cli.verbs("prev-exists read").outcome();
    assert_eq!(outcome.lines, ["error: corrupt"; 2], "{}", outcome.text());
}

fn a_damaged_claim_costs_no_checkpoint(host: Host) {
    let place = two_checkpoints(host);
    flip_a_bit(&place.record(1), &mut Random::new(0));
    place
        .run("read write=three")
        .printed(["read \"two\"", "write 5"]);
    flip_a_bit(&place.record(4), &mut Random::new(0));
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
