//! Storage that fails while a task runs: full, read-only, down for a while, slow, or with truncated answers.

mod background;
#[path = "../host/storage/src/tests/faulty_store.rs"]
#[allow(dead_code, reason = "the storage crate's own tests use the rest")]
mod faulty_store;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::kill::survives_kills;
use crate::support::cli::{Cli, Host, guest};
use crate::support::s3::{Fate, Server};
use crate::support::{Place, Random, on_each_host};

on_each_host![
    an_unreliable_server_does_not_change_the_result_of_a_training,
    an_outage_of_one_second_is_retried_without_an_error,
    contents_are_read_completely_when_answers_break_off,
    a_server_that_stays_down_fails_calls_but_does_not_end_the_task,
];

/// Runs a shell script in its own mount namespace, so that it can mount over `$DIR` unseen by others. The
/// script can call `run VERB…`, on the location `$DIR/store`, and `checkpoint COMMAND …`.
///
/// Returns `None` if this machine does not permit such namespaces.
fn in_namespace(dir: &Path, script: &str) -> Option<Output> {
    // The script runs as root in the namespace, whichever user runs the tests.
    let namespace = ["--user", "--map-root-user", "--mount"];
    let permitted = Command::new("unshare").args(namespace).arg("true").status();
    if !permitted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine does not permit mount namespaces");
        return None;
    }
    let mut text = String::from("set -u\n");
    let program = env!("CARGO_BIN_EXE_wasm-checkpoint-under-test");
    let verbs = guest("verbs");
    let _ = writeln!(text, "checkpoint() {{ '{program}' \"$@\"; }}");
    let _ = writeln!(
        text,
        "run() {{ checkpoint run --store \"$DIR/store\" '{}' \"$@\"; }}",
        verbs.display()
    );
    text.push_str(script);
    let mut shell = Command::new("unshare");
    shell.args(namespace).args(["sh", "-c", &text]);
    Some(shell.env("DIR", dir).output().unwrap())
}

/// Asserts that a script printed these lines.
#[track_caller]
fn printed(output: &Output, lines: &[&str]) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = stdout.lines().collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(found, lines, "{stderr}");
}

#[test]
fn a_full_disk_fails_only_the_save_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        mount -t tmpfs -o size=12m none \"$DIR\" || exit 99
        run write=one write-random=20000000 read write=two
        checkpoint verify \"$DIR/store\" > /dev/null; echo verified $?
        run read write-random=5000000 write=three read
        dd if=/dev/zero of=\"$DIR/ballast\" 2> /dev/null
        run read write=four; echo ended $?
        rm \"$DIR/ballast\"
        run read write=five read
        checkpoint verify \"$DIR/store\" > /dev/null; echo verified $?
    ";
    let Some(output) = in_namespace(dir.path(), script) else {
        return;
    };
    assert_ne!(output.status.code(), Some(99), "{output:?}");
    printed(
        &output,
        &[
            "write 2",
            "error: unavailable",
            "read \"one\"",
            "write 3",
            "verified 0",
            "read \"two\"",
            "write-random 5",
            "write 6",
            "read \"three\"",
            // Not even a claim fits.
            "ended 69",
            "read \"three\"",
            "write 8",
            "read \"five\"",
            "verified 0",
        ],
    );
}

#[test]
fn a_read_only_disk_can_be_inspected_but_starts_no_task() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        mount -t tmpfs none \"$DIR\" || exit 99
        run write=one
        mount -o remount,ro,bind \"$DIR\" || exit 99
        run read; echo ended $?
        checkpoint verify \"$DIR/store\" > /dev/null; echo verified $?
        checkpoint export \"$DIR/store\" \"$OUT/one\" > /dev/null; cat \"$OUT/one\"
    ";
    let out = tempfile::tempdir().unwrap();
    let script = format!("OUT='{}'\n{script}", out.path().display());
    let Some(output) = in_namespace(dir.path(), &script) else {
        return;
    };
    assert_ne!(output.status.code(), Some(99), "{output:?}");
    printed(&output, &["write 2", "ended 77", "verified 0", "one"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Read-only file system"), "{stderr}");
}

fn an_unreliable_server_does_not_change_the_result_of_a_training(host: Host) {
    let server = Server::start();
    let mut random = Random::new(8);
    server.on_request(move |_| match random.below(70) {
        0 => Fate::Failed(500),
        1 => Fate::Failed(503),
        2 => Fate::Lost,
        3 => Fate::AnswerLost,
        4 => Fate::Truncated,
        5 => Fate::Late(Duration::from_millis(50)),
        _ => Fate::Served,
    });
    let cli = |training: u64| {
        let url = format!("s3://bucket/training/{training}");
        Cli::on_s3(host, &url, &server)
    };
    survives_kills(cli, cli, 5);
}

fn an_outage_of_one_second_is_retried_without_an_error(host: Host) {
    let server = Server::start();
    let mut gone_since = None;
    server.on_request(move |seen| match seen.number {
        ..5 => Fate::Served,
        _ => {
            let since = *gone_since.get_or_insert_with(Instant::now);
            match since.elapsed() < Duration::from_secs(1) {
                true => Fate::Lost,
                false => Fate::Served,
            }
        }
    });
    let outcome = Cli::on_s3(host, "s3://bucket/task", &server)
        .verbs("write=one write-random=300000 write=two read")
        .outcome();
    let written = ["write 2", "write-random 3", "write 4", "read \"two\""];
    outcome.printed(written);
}

fn contents_are_read_completely_when_answers_break_off(host: Host) {
    let server = Server::start();
    let run = |verbs: &str| {
        let cli = Cli::on_s3(host, "s3://bucket/task", &server);
        cli.verbs(verbs).outcome()
    };
    let written = run("write-random=3000000 read");
    assert_eq!(written.code, Some(0), "{}", written.text());
    // Each answer is truncated once. The retry gets the whole answer.
    let mut cut = std::collections::HashSet::new();
    server.on_request(move |seen| match seen.path.contains("/data/") {
        true if cut.insert(seen.path.to_owned()) => Fate::Truncated,
        _ => Fate::Served,
    });
    run("read").printed(&written.lines[1..]);
    assert!(server.requests() > 3);
}

fn a_server_that_stays_down_fails_calls_but_does_not_end_the_task(host: Host) {
    let server = Server::start();
    let place = Place::new();
    let verbs = "write=one wait=/data/gone write=two wait=/data/back write=three read";
    let cli = Cli::on_s3(host, "s3://bucket/task", &server);
    let mut running = cli.dir(&place.work(), "/data").verbs(verbs).start();
    assert_eq!(running.line(), Some("write 2"));
    // Status 403 is not retried, so this takes no time.
    server.on_request(|_| Fate::Failed(403));
    std::fs::write(place.work().join("gone"), "").unwrap();
    assert_eq!(running.line(), Some("wait over"));
    let refused = running.line().map(str::to_owned);
    assert!(refused.is_some_and(|line| line.starts_with("error: ")));
    server.on_request(|_| Fate::Served);
    std::fs::write(place.work().join("back"), "").unwrap();
    let outcome = running.finish();
    let last = ["wait over", "write 3", "read \"three\""];
    assert_eq!(outcome.lines[3..], last, "{}", outcome.text());
}
