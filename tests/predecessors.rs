//! A location without checkpoints continues another one: under whatever name, and only if that is what it was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::cli::{Cli, Host, Outcome, guest};
use crate::support::{Place, on_each_host, tree};

on_each_host![
    a_recorded_predecessor_is_searched_without_being_named_again,
    a_predecessor_that_was_moved_away_is_an_error_and_claims_nothing,
    another_tasks_location_in_the_place_of_a_predecessor_is_an_error,
    beginning_afresh_resumes_from_nothing_until_something_is_saved,
    the_location_remembers_how_many_checkpoints_to_keep,
    a_predecessor_that_was_renamed_and_renamed_back_is_believed,
    only_an_attempt_that_says_so_changes_how_many_are_kept,
    a_location_under_another_name_is_no_predecessor_of_itself,
];

/// A task that begins again from nothing.
fn fresh(place: &Place, host: Host) -> Cli {
    match host {
        Host::Native => place.cli().options(["--fresh"]),
        Host::Composed => place.cli().variable("CHECKPOINT_FRESH", "true"),
    }
}

/// Runs a task whose predecessor is named.
fn after(place: &Place, host: Host, previous: &Path, verbs: &str) -> Outcome {
    let cli = place.cli();
    let cli = match host {
        Host::Native => cli.options(["--prev".as_ref(), previous.as_os_str()]),
        Host::Composed => cli
            .dir(previous, "/prev")
            .variable("CHECKPOINT_PREV", "/prev"),
    };
    cli.verbs(verbs).outcome()
}

/// Runs a task that does not name its predecessor, which only the composed host needs to reach.
fn again(place: &Place, host: Host, previous: &Path, verbs: &str) -> Outcome {
    let cli = match host {
        Host::Native => place.cli(),
        Host::Composed => place.cli().dir(previous, "/prev"),
    };
    cli.verbs(verbs).outcome()
}

/// Two places: the first holds the checkpoint "old", and the second continues it but has saved nothing.
fn continued(host: Host) -> (Place, Place) {
    let (old, new) = (Place::on(host), Place::on(host));
    old.run("write=old").printed(["write 2"]);
    after(&new, host, &old.store(), "read exit=3");
    (old, new)
}

/// Asserts that a task cannot begin because of its predecessor.
fn assert_refused(outcome: &Outcome, host: Host) {
    for remedy in ["--prev", "--fresh"] {
        assert!(outcome.stderr.contains(remedy), "{}", outcome.text());
    }
    match host {
        Host::Native => assert_eq!(outcome.code, Some(78), "{}", outcome.text()),
        Host::Composed => assert_eq!(outcome.lines, ["error: other"], "{}", outcome.text()),
    }
}

fn a_recorded_predecessor_is_searched_without_being_named_again(host: Host) {
    let (old, new) = continued(host);
    let outcome = again(&new, host, &old.store(), "resume read directories");
    // The composed host hides the predecessor's directory too.
    outcome.printed(["resume resumed 2", "read \"old\"", "directories /data"]);
}

fn a_predecessor_that_was_moved_away_is_an_error_and_claims_nothing(host: Host) {
    let (old, new) = continued(host);
    let moved = old.work().join("moved");
    fs::rename(old.store(), &moved).unwrap();
    // `wasmtime run` refuses to preopen a missing directory.
    if host == Host::Composed {
        fs::create_dir(old.store()).unwrap();
    }
    let before = tree(&new.store());
    assert_refused(&again(&new, host, &old.store(), "read"), host);
    assert_eq!(tree(&new.store()), before, "the location was claimed");
    after(&new, host, &moved, "read").printed(["read \"old\""]);
}

fn another_tasks_location_in_the_place_of_a_predecessor_is_an_error(host: Host) {
    let (old, new) = continued(host);
    fs::remove_dir_all(old.store()).unwrap();
    fs::create_dir(old.store()).unwrap();
    old.run("write=other write=other")
        .printed(["write 2", "write 3"]);
    assert_refused(&again(&new, host, &old.store(), "read"), host);
}

fn beginning_afresh_resumes_from_nothing_until_something_is_saved(host: Host) {
    let place = Place::on(host);
    place.run("write=old").printed(["write 2"]);
    let began = fresh(&place, host)
        .verbs("resume prev-exists exit=3")
        .outcome();
    assert_eq!(
        began.lines,
        ["resume fresh", "prev-exists false"],
        "{}",
        began.text()
    );
    // The old checkpoint is not resumed by the next attempt either.
    place
        .run("resume read write=new")
        .printed(["resume fresh", "read none", "write 5"]);
    place
        .run("resume read")
        .printed(["resume resumed 5", "read \"new\""]);
}

fn the_location_remembers_how_many_checkpoints_to_keep(host: Host) {
    let place = Place::on(host);
    let five = place.cli().cap("keep", "5");
    five.verbs("write=1 write=2 write=3 write=4").outcome();
    place.run("write=5 write=6 write=7");
    assert_eq!(listed(&place).len(), 5);
    // Neither an import nor pruning changes that.
    let file = place.work().join("file");
    fs::write(&file, "imported").unwrap();
    let store = place.store();
    let import = |options: &[&str]| {
        let line = ["import".as_ref(), file.as_os_str(), store.as_os_str()];
        Cli::new(line).options(options).outcome()
    };
    import(&[]);
    assert_eq!(listed(&place).len(), 5);
    let prune = ["prune".as_ref(), store.as_os_str()];
    Cli::new(prune).options(["--keep", "1"]).outcome();
    place.run("write=1 write=2 write=3 write=4 write=5 write=6");
    assert_eq!(listed(&place).len(), 5);
    import(&["--keep", "2"]);
    assert_eq!(listed(&place).len(), 2);
}

/// What `ls --json` lists.
fn listed(place: &Place) -> Vec<serde_json::Value> {
    let listed = json("ls", place, &[]);
    listed["checkpoints"].as_array().unwrap().clone()
}

fn json(verb: &str, place: &Place, options: &[&str]) -> serde_json::Value {
    let line = [verb.into(), place.store().into_os_string()];
    let outcome = Cli::new(line)
        .options(options)
        .options(["--json"])
        .outcome();
    serde_json::from_str(&outcome.lines.join("\n")).unwrap_or_else(|_| panic!("{}", outcome.text()))
}

fn a_predecessor_that_was_renamed_and_renamed_back_is_believed(host: Host) {
    let (old, new) = continued(host);
    let away = old.work().join("away");
    fs::rename(old.store(), &away).unwrap();
    if host == Host::Composed {
        fs::create_dir(old.store()).unwrap();
    }
    assert_refused(&again(&new, host, &old.store(), "read"), host);
    if host == Host::Composed {
        fs::remove_dir(old.store()).unwrap();
    }
    fs::rename(&away, old.store()).unwrap();
    again(&new, host, &old.store(), "read").printed(["read \"old\""]);
}

const SIX: &str = "write=1 write=2 write=3 write=4 write=5 write=6";

fn only_an_attempt_that_says_so_changes_how_many_are_kept(host: Host) {
    let place = Place::on(host);
    let saved = || {
        place.run(SIX);
        listed(&place).len()
    };
    place.cli().cap("keep", "5").verbs("write=1").outcome();
    assert_eq!(saved(), 5);
    // Not one that begins afresh, whether or not it saves.
    fresh(&place, host).verbs("exit=3").outcome();
    assert_eq!(saved(), 5);
    fresh(&place, host).verbs(SIX).outcome();
    assert_eq!(listed(&place).len(), 5);
    // Nor pruning, whatever it keeps and gives up.
    for options in [&["--keep", "9"][..], &["--keep", "2", "--give-up"]] {
        let line = ["prune".into(), place.store().into_os_string()];
        let pruned = Cli::new(line).options(options).outcome();
        assert_eq!(pruned.code, Some(0), "{}", pruned.text());
        assert_eq!(saved(), 5);
    }
    // Nor damage to the newest record.
    let records = fs::read_dir(place.store().join("log")).unwrap();
    let newest = records.map(|entry| entry.unwrap().path()).max().unwrap();
    fs::write(newest, "damaged").unwrap();
    assert_eq!(saved(), 5);
    // Nor does the other host.
    let place = place.across();
    place.run(SIX);
    assert_eq!(listed(&place).len(), 5);
    // One that says so does, even if it saves nothing.
    place.cli().cap("keep", "2").verbs("read").outcome();
    place.run(SIX);
    assert_eq!(listed(&place).len(), 2);
}

#[test]
fn a_fenced_attempt_changes_nothing_about_how_many_are_kept() {
    let place = Place::new();
    let keeping = |count: &str| place.cli().options(["--keep", count]);
    let verbs = format!("{SIX} wait=/data/go write=7");
    let mut older = keeping("2").verbs(&verbs).start();
    for _ in 0..6 {
        older.line();
    }
    keeping("4").verbs("read").outcome();
    fs::write(place.work().join("go"), "").unwrap();
    assert!(older.finish().lines.contains(&"error: fenced".to_owned()));
    place.run(SIX);
    assert_eq!(listed(&place).len(), 4);
}

#[test]
fn a_predecessor_named_through_links_is_the_place_that_they_led_to() {
    let place = Place::new();
    let work = place.work();
    fs::create_dir_all(work.join("deep/er")).unwrap();
    let in_work = |options: &[&str], verbs: &str| {
        let cli = Cli::run(options).working_directory(&work);
        cli.verbs(verbs).outcome()
    };
    in_work(&["--store", "deep/old"], "write=mine").printed(["write 2"]);
    symlink("deep/er", work.join("link")).unwrap();
    let url = format!("FILE://localhost{}/deep/./old", work.display());
    let spellings = ["link/../old", "deep//er/../old/", &url];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let store = format!("new{number}");
        in_work(&["--store", &store, "--prev", spelling], "exit=3");
    }
    // The link is gone, and later leads elsewhere.
    fs::remove_file(work.join("link")).unwrap();
    for _ in 0..2 {
        for number in 0..spellings.len() {
            let outcome = in_work(&["--store", &format!("new{number}")], "read");
            outcome.printed(["read \"mine\""]);
        }
        if !work.join("link").is_symlink() {
            fs::create_dir(work.join("other")).unwrap();
            in_work(&["--store", "old"], "write=other");
            symlink("other", work.join("link")).unwrap();
        }
    }
}

#[test]
fn a_location_and_its_predecessor_may_lie_in_each_other() {
    for (old, new) in [("store/sub", "store"), ("store", "store/sub")] {
        let place = Place::new();
        let run = |options: &[&str], verbs: &str| {
            let cli = Cli::run(options).working_directory(&place.work());
            cli.verbs(verbs).outcome()
        };
        run(&["--store", old], "write=old").printed(["write 2"]);
        run(&["--store", new, "--prev", old], "read exit=3");
        // It saves and prunes, and the other keeps what it has.
        run(&["--store", new, "--keep", "1"], "read write=1 write=2").printed([
            "read \"old\"",
            "write 3",
            "write 4",
        ]);
        run(&["--store", new], "read").printed(["read \"2\""]);
        run(&["--store", old], "read").printed(["read \"old\""]);
        for location in [old, new] {
            let verified = Cli::new(["verify", location]).working_directory(&place.work());
            let verified = verified.outcome();
            assert_eq!(verified.code, Some(0), "{}", verified.text());
        }
    }
}

/// Natively the other name is a link. To a component, the directory is given twice.
fn a_location_under_another_name_is_no_predecessor_of_itself(host: Host) {
    let place = Place::on(host);
    let link = place.work().join("link");
    symlink(place.store(), &link).unwrap();
    let named = || after(&place, host, &link, "prev-exists exit=3");
    for _ in 0..3 {
        let outcome = named();
        assert_eq!(outcome.lines, ["prev-exists false"], "{}", outcome.text());
    }
    again(&place, host, &link, "prev-exists write=one").printed(["prev-exists false", "write 5"]);
    assert_eq!(named().lines, ["prev-exists true"]);
}

#[test]
fn a_relative_predecessor_is_the_same_in_every_working_directory() {
    let place = Place::new();
    let [here, elsewhere] = ["here", "elsewhere"].map(|name| place.work().join(name));
    let in_dir = |dir: &Path, options: &[&str], verbs: &str| {
        let mut command = Cli::run(options).into_command();
        command.arg(guest("verbs")).args(verbs.split(' '));
        let output = command.current_dir(dir).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (dir, contents) in [(&here, "mine"), (&elsewhere, "theirs")] {
        fs::create_dir(dir).unwrap();
        in_dir(dir, &["--store", "old"], &format!("write={contents}"));
    }
    in_dir(&here, &["--store", "new", "--prev", "old"], "exit=3");
    let new = here.join("new");
    let read = in_dir(&elsewhere, &["--store", new.to_str().unwrap()], "read");
    assert_eq!(read, "read \"mine\"\n");
}

#[test]
fn attempts_after_a_fresh_one_resume_from_what_it_saved() {
    let place = Place::new();
    place.run("write=old");
    let cli = fresh(&place, Host::Native).options(["--retries", "1"]);
    let outcome = cli
        .verbs("resume write=new fail-once=/data/tried")
        .outcome();
    outcome.printed([
        "resume fresh",
        "write 4",
        "resume resumed 4",
        "write 6",
        "fail-once passed",
    ]);
}

#[test]
fn a_directory_that_contains_a_recorded_predecessor_is_refused() {
    let (old, new) = continued(Host::Native);
    let parent = old.store().parent().unwrap().to_owned();
    let before = tree(&new.store());
    for option in ["--dir", "--dir-ro"] {
        let cli = new.cli().options([option.as_ref(), parent.as_os_str()]);
        let error = cli.verbs("read").outcome().failed(2);
        assert!(error.contains("previous attempt"), "{error}");
    }
    assert_eq!(tree(&new.store()), before, "the location was claimed");
}

#[test]
fn operators_look_through_predecessors_as_a_run_does() {
    let (old, new) = continued(Host::Native);
    let stored_in = format!("file://{}", old.store().canonicalize().unwrap().display());
    let listed = listed(&new);
    assert_eq!(listed[0]["stored_in"], stored_in.as_str());
    assert_eq!(listed[0]["sequence"], 2);
    assert_eq!(json("show", &new, &[])["stored_in"], stored_in.as_str());
    let target = new.work().join("target");
    let exported = json("export", &new, &[target.to_str().unwrap()]);
    assert_eq!(exported["stored_in"], stored_in.as_str());
    assert_eq!(fs::read(target).unwrap(), b"old");
    let verified = json("verify", &new, &[]);
    assert_eq!(verified["predecessors"][0]["location"], stored_in.as_str());
    assert_eq!(verified["predecessors"][0]["whole_checkpoints"][0], 2);
    // Damage there is damage here.
    let record = old.record(2);
    fs::write(record, "damaged").unwrap();
    let line = ["verify".into(), new.store().into_os_string()];
    assert_eq!(Cli::new(line).outcome().code, Some(65));
}

#[test]
fn operators_are_told_that_a_predecessor_is_gone() {
    let (old, new) = continued(Host::Native);
    fs::remove_dir_all(old.store()).unwrap();
    for verb in ["ls", "show", "verify"] {
        let line = [verb.into(), new.store().into_os_string()];
        let error = Cli::new(line).outcome().failed(78);
        assert!(error.contains("--prev"), "{verb}: {error}");
    }
}

#[test]
fn fresh_and_a_predecessor_exclude_each_other() {
    let place = Place::new();
    for option in ["--prev", "--prev-checkpoint"] {
        let cli = place.cli().options(["--fresh", option, "elsewhere"]);
        assert_eq!(cli.verbs("read").outcome().code, Some(2));
    }
}
