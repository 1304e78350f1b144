//! Failures of the command line itself. Each prints one line and has its own exit code.

use std::fs;
use std::path::Path;

use crate::support::Place;
use crate::support::cli::{Cli, guest};
use crate::support::noise::noise;
use crate::support::s3::{Fate, Server, environment};

const NO_COMPONENT: i32 = 121;
const UNKNOWN_IMPORT: i32 = 122;
const TIMEOUT: i32 = 124;
const UNAVAILABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;
const WRONG_LOCATION: i32 = 78;
const TRAP: i32 = 134;

fn run_file(place: &Place, task: &Path) -> (i32, String) {
    let outcome = place.cli().task(task, [""; 0]).outcome();
    let code = outcome.code.unwrap_or_else(|| panic!("{}", outcome.text()));
    (code, outcome.failed(code))
}

#[test]
fn a_file_that_is_not_a_component_is_refused_without_a_claim() {
    let place = Place::new();
    let files: [(&str, Vec<u8>); 5] = [
        ("empty.wasm", vec![]),
        ("text.wasm", b"#!/bin/sh\necho hello\n".to_vec()),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec()),
        ("cut.wasm", b"\0asm\x0d\0\x01\0\x01".to_vec()),
        ("noise.wasm", noise(1, 5000)),
    ];
    for (name, contents) in files {
        let path = place.work().join(name);
        fs::write(&path, contents).unwrap();
        let (code, error) = run_file(&place, &path);
        assert_eq!(code, NO_COMPONENT, "{error}");
        assert!(error.contains(name), "{error}");
    }
    assert!(!place.store().exists());
}

#[test]
fn a_core_module_is_reported_as_such() {
    let place = Place::new();
    let path = place.work().join("core.wasm");
    fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
    let (_, error) = run_file(&place, &path);
    assert!(error.contains("core module"), "{error}");
}

#[test]
fn the_error_for_a_missing_file_names_it() {
    let place = Place::new();
    let (code, error) = run_file(&place, &place.work().join("missing.wasm"));
    assert_eq!(code, NO_COMPONENT);
    assert!(error.contains("missing.wasm"), "{error}");
    assert!(!place.store().exists());
}

#[test]
fn an_unknown_import_is_named_without_a_claim() {
    let place = Place::new();
    let (code, error) = run_file(&place, &guest("unknown_import"));
    assert_eq!(code, UNKNOWN_IMPORT);
    assert!(error.contains("test:absent/nothing"), "{error}");
    assert!(!place.store().exists());
}

#[test]
fn the_error_for_a_wrong_url_names_it() {
    for url in ["ftp://example/x", "s3://", "file://host/x", "nonsense://"] {
        let outcome = Cli::verbs_on(url, "read");
        let error = outcome.failed(WRONG_LOCATION);
        assert!(error.contains(url), "{error}");
        assert!(outcome.lines.is_empty());
    }
}

#[test]
fn a_location_that_cannot_be_written_is_refused_before_the_task_runs() {
    let place = Place::new();
    let file = place.work().join("file");
    fs::write(&file, "").unwrap();
    let outcome = Cli::verbs_on(file.join("store"), "read");
    outcome.failed(NO_PERMISSION);
    assert!(outcome.lines.is_empty());
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn storage_that_refuses_connections_is_unavailable_and_not_fresh() {
    // A port that was free a moment ago. Nobody listens on it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = Cli::run(["--store", "s3://bucket/task"])
        .envs(environment(address))
        .verbs("prev-exists")
        .outcome();
    outcome.failed(UNAVAILABLE);
    assert!(outcome.lines.is_empty());
}

#[test]
fn storage_that_refuses_a_key_is_reported_before_the_task_runs() {
    let server = Server::start();
    server.on_request(|_| Fate::Failed(403));
    let outcome = Cli::run(["--store", "s3://bucket/task"])
        .envs(server.env())
        .verbs("prev-exists")
        .outcome();
    outcome.failed(NO_PERMISSION);
    assert!(outcome.lines.is_empty());
}

#[test]
fn storage_that_fails_while_the_task_runs_is_unavailable_and_not_empty() {
    let server = Server::start();
    let s3 = |verbs: &str| {
        Cli::run(["--store", "s3://bucket/task"])
            .envs(server.env())
            .verbs(verbs)
    };
    s3("write-random=300000")
        .outcome()
        .printed(["write-random 2"]);
    // Status 403 is not retried, so this takes no time.
    server.on_request(|seen| match seen.path.contains("/data/") {
        true => Fate::Failed(403),
        false => Fate::Served,
    });
    let outcome = s3("read prev-exists").outcome();
    assert_ne!(outcome.lines[0], "read none", "{}", outcome.text());
    assert!(
        outcome.lines[0].starts_with("error: "),
        "{}",
        outcome.text()
    );
    assert_ne!(outcome.lines[0], "error: corrupt", "{}", outcome.text());
    assert_eq!(outcome.lines[1], "prev-exists true", "{}", outcome.text());
}

#[test]
fn a_trap_ends_the_run_with_its_code() {
    let place = Place::new();
    let outcome = place.run("write=one trap");
    outcome.failed(TRAP);
    assert_eq!(outcome.lines, ["write 2"]);
}

#[test]
fn a_task_that_takes_too_long_is_stopped_and_keeps_its_checkpoint() {
    let place = Place::new();
    let cli = place.cli().options(["--timeout", "1s"]);
    cli.verbs("write=one loop").outcome().failed(TIMEOUT);
    place.run("read").printed(["read \"one\""]);
}

#[test]
fn a_tasks_own_exit_code_passes_through() {
    let place = Place::new();
    let outcome = place.run("write=one exit=1");
    outcome.failed(1);
}

#[test]
fn a_task_cannot_see_the_credentials_of_its_host() {
    let server = Server::start();
    let outcome = Cli::run(["--store", "s3://bucket/task"])
        .envs(server.env())
        .options(["--env", "MINE=1"])
        .verbs("environment")
        .outcome();
    outcome.printed(["environment MINE"]);
}

#[test]
fn a_directory_that_cannot_be_opened_is_a_usage_error() {
    let place = Place::new();
    let missing = place.work().join("missing");
    let outcome = place.cli().dir(&missing, "/x").verbs("write=x").outcome();
    assert!(outcome.failed(2).contains("missing"));
    assert!(!place.store().exists(), "the location was claimed");
}
