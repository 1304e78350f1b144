//! How an operator prunes a location and makes it clean again.

use std::fs;

use crate::support::cli::{Cli, Outcome};
use crate::support::{Place, tree};

/// A location that holds the checkpoints 2 and 3.
fn two_checkpoints() -> Place {
    let place = Place::new();
    place
        .run("write=one write=two")
        .printed(["write 2", "write 3"]);
    place
}

/// What `prune` says and does with these options.
fn prune(place: &Place, options: &[&str]) -> Outcome {
    let line = ["prune".into(), place.store().into_os_string()];
    Cli::new(line).options(options).outcome()
}

#[track_caller]
fn assert_verifies(place: &Place, code: i32) {
    let line = ["verify".into(), place.store().into_os_string()];
    let verified = Cli::new(line).outcome();
    assert_eq!(verified.code, Some(code), "{}", verified.text());
}

#[test]
fn giving_up_in_a_healthy_location_only_prunes() {
    let place = Place::new();
    place.run("write=1 write=2 write-random=300000");
    let pruned = prune(&place, &["--keep", "2", "--give-up", "--json"]);
    let pruned: serde_json::Value = serde_json::from_str(&pruned.lines.join("\n")).unwrap();
    assert_eq!(pruned["given_up"], serde_json::json!([]));
    assert_eq!(pruned["deleted"], serde_json::json!([2]));
    assert_eq!(pruned["kept"], serde_json::json!([6, 3]));
    assert_verifies(&place, 0);
}

#[test]
fn nothing_is_given_up_where_there_is_no_checkpoint_to_keep() {
    // A claim is damaged, and no attempt has saved; or the last attempt began afresh and has not saved.
    for (before, options, damaged) in [("exit=3", &[][..], 1), ("write=1 write=2", &["--fresh"], 3)]
    {
        let place = Place::new();
        place.run(before);
        fs::write(place.record(damaged), "damaged").unwrap();
        place.cli().options(options).verbs("exit=3").outcome();
        let stored = tree(&place.store());
        let refused = prune(&place, &["--keep", "3", "--give-up"]);
        assert_eq!(refused.code, Some(65), "{}", refused.text());
        assert!(!refused.stderr.contains("given up"), "{}", refused.text());
        assert!(tree(&place.store()) == stored);
        assert_verifies(&place, 65);
        // Once there is one, the location can be made clean.
        place.run("write=new");
        assert_eq!(prune(&place, &["--keep", "3", "--give-up"]).code, Some(0));
        assert_verifies(&place, 0);
        place.run("read").printed(["read \"new\""]);
    }
}

#[test]
fn a_damaged_newest_claim_is_given_up_and_the_next_attempt_resumes() {
    let place = two_checkpoints();
    place.run("exit=3");
    fs::write(place.record(4), "damaged").unwrap();
    prune(&place, &["--keep", "3"]).failed(65);
    let pruned = prune(&place, &["--keep", "3", "--give-up"]);
    assert_eq!(pruned.code, Some(0), "{}", pruned.text());
    assert_verifies(&place, 0);
    place
        .run("resume read")
        .printed(["resume resumed 6", "read \"two\""]);
}

#[test]
fn damage_in_a_predecessor_is_given_up_there() {
    let old = two_checkpoints();
    let new = Place::new();
    let cli = new
        .cli()
        .options(["--prev".as_ref(), old.store().as_os_str()]);
    cli.verbs("exit=3").outcome();
    fs::write(old.record(3), "damaged").unwrap();
    assert_verifies(&new, 65);
    let stored = tree(&old.store());
    // Cleaning the one does not touch the other.
    prune(&new, &["--keep", "3", "--give-up"]);
    assert!(tree(&old.store()) == stored);
    assert_eq!(prune(&old, &["--keep", "3", "--give-up"]).code, Some(0));
    assert_verifies(&old, 0);
    assert_verifies(&new, 0);
    new.run("read").printed(["read \"one\""]);
}

#[test]
fn pruning_beside_a_running_task_fences_it_and_loses_nothing() {
    let place = Place::new();
    let mut running = place
        .cli()
        .verbs("write=1 write=2 wait=/data/go write=3")
        .start();
    for line in ["write 2", "write 3"] {
        assert_eq!(running.line(), Some(line));
    }
    // A dry run disturbs nobody.
    let dry = prune(&place, &["--keep", "1", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.text());
    assert_eq!(prune(&place, &["--keep", "1"]).code, Some(0));
    fs::write(place.work().join("go"), "").unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.lines.last().unwrap(), "error: fenced");
    assert_verifies(&place, 0);
    place.run("read").printed(["read \"2\""]);
}
