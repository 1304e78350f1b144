//! What a guest can make the host hold: each attack meets a limit, whose error or message says how to raise it.

use std::fmt::Write as _;
use std::fs::{self, File};

use crate::support::cli::Host;
use crate::support::{Place, on_each_host};

on_each_host![
    contents_that_exceed_the_memory_are_refused_before_they_are_fetched,
    a_tree_of_long_names_is_refused_while_it_is_read,
    a_directory_is_listed_completely,
    calls_that_fail_in_a_loop_do_not_fill_the_hosts_log,
];

/// The exit code for a component that cannot run.
const NO_COMPONENT: i32 = 121;

fn contents_that_exceed_the_memory_are_refused_before_they_are_fetched(host: Host) {
    let place = Place::on(host);
    let outcome = place.run("stream=30000000");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    // A read that fetches any of it finds damage.
    for object in fs::read_dir(place.store().join("data")).unwrap() {
        let object = object.unwrap();
        let size = object.metadata().unwrap().len();
        fs::write(object.path(), vec![0; size as usize]).unwrap();
    }
    let cli = match host {
        Host::Native => place.cli().options(["--max-memory", "8MiB"]),
        Host::Composed => place.cli().variable("CHECKPOINT_MAX_READ", "8000000"),
    };
    let outcome = cli.verbs("read").outcome();
    assert_eq!(
        outcome.lines,
        ["error: quota-exceeded"],
        "{}",
        outcome.text()
    );
}

fn a_tree_of_long_names_is_refused_while_it_is_read(host: Host) {
    let place = Place::on(host);
    place.run("write=kept").printed(["write 2"]);
    let deep = place.work().join("f").join("d".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    for n in 0..200 {
        fs::write(deep.join(format!("{n:0200}")), "").unwrap();
    }
    // 200 files with names of 200 bytes, in a directory with such a name, whose name counts once.
    for verb in ["save", "save-in-background"] {
        let cli = place.cli().cap("max-tree", "50000");
        let outcome = cli.verbs(&format!("{verb}=/data/f")).outcome();
        assert_eq!(
            outcome.lines,
            ["error: quota-exceeded"],
            "{}",
            outcome.text()
        );
    }
    let cli = place.cli().cap("max-tree", "60000");
    let outcome = cli.verbs("save=/data/f").outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
}

fn a_directory_is_listed_completely(host: Host) {
    let place = Place::on(host);
    fs::create_dir(place.work().join("listed")).unwrap();
    for n in 0..1000 {
        fs::write(place.work().join(format!("listed/{n}")), "").unwrap();
    }
    let outcome = place.cli().guest("hostile", ["listings"]).outcome();
    // Each of 200 listings that are open at once has every entry.
    outcome.printed(["200 listings of 1000 entries"]);
}

fn calls_that_fail_in_a_loop_do_not_fill_the_hosts_log(host: Host) {
    let place = Place::on(host);
    let outcome = place.cli().guest("hostile", ["failing-calls"]).outcome();
    outcome.printed(["5000 failures"]);
    let warnings = outcome.stderr.matches("warning: ").count();
    assert_eq!(warnings, 51, "{}", outcome.text());
    let what = "further failures are events of level debug";
    assert!(outcome.stderr.contains(what), "{}", outcome.text());
}

#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_a_timeout_stopped_is_gone_before_the_next_attempt_begins() {
    let place = Place::new();
    let staging = tempfile::tempdir().unwrap();
    // Reading this takes far longer than an attempt.
    let sparse = File::create(place.work().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let cli = place.cli().envs([("TMPDIR", staging.path())]);
    let options = ["--timeout", "300ms", "--retries", "5"];
    let cli = cli.cap("max-checkpoint", "2048GiB").options(options);
    let mut running = cli
        .verbs("resume save-in-background=/data/sparse resume")
        .start();
    let (open, staging) = (running.open_files(), staging.path().to_owned());
    let mut most = 0;
    running.until(|| {
        let copies = fs::read_dir(&open).into_iter().flatten().flatten();
        let copies = copies.filter_map(|entry| fs::read_link(entry.path()).ok());
        most = copies
            .filter(|path| path.starts_with(&staging))
            .count()
            .max(most);
        false
    });
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(124), "{}", outcome.text());
    assert_eq!(outcome.lines, ["resume fresh"; 6]);
    assert_eq!(most, 1, "copies were open at once");
}

#[cfg(target_os = "linux")]
#[test]
fn attempts_that_a_system_call_blocks_do_not_fill_the_memory() {
    const SIZE: u64 = 100 << 20;

    let place = Place::new();
    let run = |guest: &str, options: &[&str]| {
        let cli = place.cli().options(options);
        cli.guest("hostile", [guest]).start().finish_measured()
    };
    // The first one compiles the guest.
    run("idle", &[]);
    let (_, idle_kib) = run("idle", &[]);
    let guest = format!("blocks={SIZE}");
    let peak_of = |retries: &str| {
        let (outcome, peak_kib) = run(&guest, &["--timeout", "1s", "--retries", retries]);
        assert_eq!(outcome.code, Some(124), "{}", outcome.text());
        peak_kib << 10
    };
    let (one, five) = (peak_of("0"), peak_of("4"));
    // The guest writes from its memory.
    assert!(one >= SIZE, "{one} bytes");
    assert!(five < one + SIZE / 2, "{five} bytes, {one} for one attempt");
    let held = five - (idle_kib << 10);
    assert!(held < 2 * SIZE, "{held} bytes");
}

#[test]
fn a_guest_that_holds_too_many_resources_traps_and_loses_nothing() {
    let place = Place::new();
    place.run("write=kept").printed(["write 2"]);
    let hold = |options: &[&str]| {
        let cli = place.cli().options(options);
        cli.guest("hostile", ["many-files"]).outcome()
    };
    let outcome = hold(&[]);
    outcome.trapped();
    assert!(
        outcome.stderr.contains("--max-handles"),
        "{}",
        outcome.text()
    );
    hold(&["--max-handles", "2000"]).printed(["1000 files"]);
    place.run("read").printed(["read \"kept\""]);
}

#[test]
fn a_trap_after_memory_was_refused_names_the_option() {
    let place = Place::new();
    let cli = place.cli().options(["--max-memory", "8MiB"]);
    let outcome = cli.guest("hostile", ["grow"]).outcome();
    outcome.trapped();
    assert!(
        outcome.stderr.contains("--max-memory"),
        "{}",
        outcome.text()
    );
}

/// Returns the outcome of running a component in the text format.
fn run_text(text: &str) -> (Option<i32>, String) {
    let place = Place::new();
    let task = place.work().join("task.wasm");
    fs::write(&task, wat::parse_str(text).unwrap()).unwrap();
    let outcome = place.cli().task(&task, [""; 0]).outcome();
    assert!(!place.store().exists(), "a claim was made");
    (outcome.code, outcome.stderr)
}

#[test]
fn a_component_whose_instances_are_too_large_is_not_compiled() {
    // 6 MB of file, and gigabytes of instances.
    let mut text = String::from("(component (core module $m ");
    for _ in 0..1_000_000 {
        text.push_str("(global i64 (i64.const 1))");
    }
    text.push(')');
    text.push_str(&"(core instance (instantiate $m))".repeat(150));
    text.push(')');
    let (code, stderr) = run_text(&text);
    assert_eq!(code, Some(NO_COMPONENT), "{stderr}");
    assert!(stderr.contains("--max-instances"), "{stderr}");
}

#[test]
fn components_that_instantiate_each_other_are_not_compiled() {
    let mut text = String::from("(component (component $c0 (core module $m) ");
    text.push_str(&"(core instance (instantiate $m))".repeat(10));
    text.push(')');
    for level in 1..12 {
        let inner = level - 1;
        let _ = write!(
            text,
            "(component $c{level} (alias outer 1 $c{inner} (component $c))"
        );
        text.push_str(&"(instance (instantiate $c))".repeat(10));
        text.push(')');
    }
    text.push_str("(instance (instantiate $c11)))");
    let (code, stderr) = run_text(&text);
    assert_eq!(code, Some(NO_COMPONENT), "{stderr}");
    assert!(stderr.contains("instances"), "{stderr}");
}
