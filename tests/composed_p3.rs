//! Composed tasks of WASI 0.3: what is hidden from them, and which of them `compose` refuses. tests/p3.rs tests their
//! calls on both hosts.

use std::fs;

use crate::composed::refused;
use crate::p3::{guest, guest_with};
use crate::support::Place;
use crate::support::cli::{Cli, Host};
use crate::support::s3::Server;

#[test]
fn the_task_sees_neither_the_directory_nor_the_variables_through_wasi_0_3() {
    let place = Place::on(Host::Composed);
    let cli = place.cli().variable("MINE", "1").cap("keep", "2");
    let cli = cli.variable("AWS_SECRET_ACCESS_KEY", "secret");
    guest_with(cli, "write=x environment directories")
        .outcome()
        .printed(["write saved", "environment MINE", "directories /data"]);
    // The same is hidden from the first call on.
    guest_with(place.cli(), "directories environment read")
        .outcome()
        .printed(["directories /data", "environment", "read x"]);
}

#[test]
fn saving_from_the_store_and_restoring_to_it_is_refused() {
    let place = Place::on(Host::Composed);
    guest_with(place.cli(), "write=x").outcome();
    for verb in ["save", "restore"] {
        for path in ["/checkpoint", "/checkpoint/log", "checkpoint"] {
            let outcome = guest_with(place.cli(), &format!("{verb}={path} read")).outcome();
            assert!(
                outcome.lines[0].contains("error: InvalidPath"),
                "{}",
                outcome.text()
            );
            assert_eq!(outcome.lines[1], "read x", "{}", outcome.text());
        }
    }
}

/// A wrong variable hides all directories, in each version of WASI.
#[test]
fn an_invalid_location_hides_everything() {
    let place = Place::on(Host::Composed);
    for value in ["/nowhere", "ftp://x/y"] {
        let cli = place.cli().variable("CHECKPOINT_STORE", value);
        let outcome = guest_with(cli, "directories read").outcome();
        assert_eq!(outcome.lines[0], "directories", "{}", outcome.text());
        assert!(
            outcome.lines[1].starts_with("read error: "),
            "{}",
            outcome.text()
        );
        assert!(outcome.stderr.contains(value), "{}", outcome.text());
    }
}

#[test]
fn checkpoints_of_a_task_of_wasi_0_3_are_stored_in_a_bucket() {
    let server = Server::start();
    let run = |host, verbs: &str| {
        let cli = Cli::on_s3(host, "s3://bucket/task", &server);
        guest_with(cli, verbs).outcome()
    };
    let failed = run(
        Host::Composed,
        "read write=one stream=3000000 write=two fail",
    );
    assert_eq!(failed.code, Some(1), "{}", failed.text());
    let lines = ["read none", "write saved", "stream true", "write saved"];
    assert_eq!(failed.lines, lines, "{}", failed.text());
    run(Host::Native, "read").printed(["read two"]);
    run(Host::Composed, "read environment directories").printed([
        "read two",
        "environment",
        "directories",
    ]);
}

#[test]
fn compose_says_how_to_run_a_task_of_wasi_0_3() {
    let dir = tempfile::tempdir().unwrap();
    let (task, app) = (guest(), dir.path().join("app.wasm"));
    for (option, says) in [
        (None, "wasmtime run -S p3 --dir "),
        (Some("--s3"), "wasmtime run -S p3 -S http "),
    ] {
        let cli = Cli::new(["compose".as_ref(), task.as_os_str(), "-o".as_ref()]);
        let outcome = cli.options([&app]).options(option).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        assert!(outcome.text().contains(says), "{}", outcome.text());
    }
}

#[test]
fn a_task_that_needs_descriptors_of_wasi_0_3_is_refused() {
    const UNKNOWN_IMPORT: i32 = 122;
    let made = |imports: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.wasm");
        let text = format!("(component {imports})");
        fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        (dir, path)
    };
    let files = r#"(import "task:checkpoint/files@0.3.0" (instance))"#;
    let (_dir, task) = made(files);
    let error = refused(&task, UNKNOWN_IMPORT);
    assert!(error.contains("task:checkpoint/files@0.3.0"), "{error}");
    assert!(error.contains("`paths`"), "{error}");
    let (_dir, task) = made(r#"(import "task:checkpoint/other@0.3.0" (instance))"#);
    let error = refused(&task, UNKNOWN_IMPORT);
    assert!(error.contains("neither the plugged component"), "{error}");
    // An interface of a later version could show the task what the component hides.
    let (_dir, task) = made(
        r#"(import "task:checkpoint/types@0.3.0" (instance)) (import "wasi:cli/environment@0.4.0" (instance))"#,
    );
    let error = refused(&task, UNKNOWN_IMPORT);
    assert!(error.contains("could see"), "{error}");
}

/// A task of WASI 0.2 must run where there is no WASI 0.3.
#[test]
fn a_task_of_wasi_0_2_needs_no_wasi_0_3() {
    let place = Place::on(Host::Composed);
    let cli = place.cli().options(["-S", "p3=n"]);
    cli.verbs("write=x read")
        .outcome()
        .printed(["write 2", "read \"x\""]);
}
