//! Composed tasks on the stock `wasmtime` command line: what `compose` refuses, what is hidden from the task,
//! and that both hosts can read each other's checkpoints.

use std::fs;
use std::path::Path;

use crate::kill::{kills, survives_kills};
use crate::support::cli::{Cli, Host, Outcome, guest};
use crate::support::s3::Server;
use crate::support::{Place, on_each_host, tree};

on_each_host![
    each_host_reads_what_the_other_saved,
    each_host_restores_what_the_other_saved,
    an_attempt_on_one_host_fences_an_attempt_on_the_other,
];

fn each_host_reads_what_the_other_saved(host: Host) {
    let place = Place::on(host);
    place.run("annotate=step=7 schema=weights/1=refuse write=small");
    let place = place.across();
    place
        .run("schema=weights/1=refuse prev-exists resume read schema=weights/2=refuse read")
        .printed([
            "schema declared",
            "prev-exists true",
            "resume resumed 2",
            "read \"small\"",
            "schema declared",
            "error: schema-mismatch",
        ]);
    // Contents larger than a record, and then a part of the same contents.
    let saved = place.run("write-random=40000000 read");
    let place = place.across();
    place.run("read read-stream").printed([
        saved.lines[1].as_str(),
        &saved.lines[1].replace("read ", "read-stream "),
    ]);
    let shared = place.run("write-random=30000000");
    assert_eq!(shared.code, Some(0), "{}", shared.text());
    let objects = fs::read_dir(place.store().join("data")).unwrap().count();
    assert!(objects <= 4, "data of the other host was not reused");
    let read = place.run("read");
    place.across().run("read").printed(&read.lines);
}

fn each_host_restores_what_the_other_saved(host: Host) {
    let place = Place::on(host);
    let model = place.work().join("model");
    fs::create_dir_all(model.join("a dir/empty")).unwrap();
    fs::write(model.join("ä 漢字"), "name").unwrap();
    fs::write(model.join("a dir/nothing"), "").unwrap();
    std::os::unix::fs::symlink("a dir", model.join("link")).unwrap();
    let saved = place.run("files=/data/model/many=200 save=/data/model");
    assert_eq!(saved.code, Some(0), "{}", saved.text());
    let place = place.across();
    place.run("restore=/data/again").printed(["restore 2"]);
    place.run("restore=/data/again").printed(["restore 2"]);
    assert_eq!(tree(&place.work().join("again")), tree(&model));
}

fn an_attempt_on_one_host_fences_an_attempt_on_the_other(host: Host) {
    let place = Place::on(host);
    let verbs = "write=one wait=/data/go write=two";
    let mut older = place.cli().verbs(verbs).start();
    assert_eq!(older.line(), Some("write 2"));
    let place = place.across();
    place.run("write=newer").printed(["write 4"]);
    fs::write(place.work().join("go"), "").unwrap();
    let outcome = older.finish();
    let expected = ["write 2", "wait over", "error: fenced"];
    assert_eq!(outcome.lines, expected, "{}", outcome.text());
    place.across().run("read").printed(["read \"newer\""]);
}

#[test]
fn the_task_sees_neither_the_directory_nor_the_variables() {
    let place = Place::on(Host::Composed);
    let cli = place.cli().variable("MINE", "1").cap("keep", "2");
    let cli = cli.variable("AWS_SECRET_ACCESS_KEY", "secret");
    cli.verbs("write=x environment directories list=/checkpoint list=/data")
        .outcome()
        .printed([
            "write 2",
            "environment MINE",
            "directories /data",
            "list nothing",
            "list 0",
        ]);
    for verb in ["save", "save-in-background", "restore-replacing"] {
        for path in ["/checkpoint", "/checkpoint/log", "checkpoint"] {
            place
                .run(&format!("{verb}={path} read"))
                .printed(["error: invalid-path", "read \"x\""]);
        }
    }
    // If the location is below a preopened directory, all of that directory is hidden.
    let cli = Cli::stock()
        .dir(&place.store(), "/all")
        .dir(&place.work(), "/data")
        .variable("CHECKPOINT_STORE", "/all/of/mine");
    cli.verbs("write=x directories")
        .outcome()
        .printed(["write 2", "directories /data"]);
    assert!(place.store().join("of/mine/log").is_dir());
    // If two preopened directories have the same name, both are hidden.
    let cli = place.cli().dir(&place.store(), "/checkpoint/");
    cli.verbs("directories")
        .outcome()
        .printed(["directories /data"]);
}

/// A preopened directory and the location in it can be spelled in many ways.
#[test]
fn the_store_directory_is_hidden_under_every_spelling_of_its_name() {
    for (given, meant) in [
        ("store", "./store"),
        ("./store", "store/"),
        ("/./store", "/store"),
        ("/store/", "//store/deeper"),
        ("store", "file:///store"),
        (".", ".checkpoints"),
    ] {
        let place = Place::on(Host::Composed);
        let cli = Cli::stock()
            .dir(&place.store(), given)
            .dir(&place.work(), "/data")
            .variable("CHECKPOINT_STORE", meant);
        let outcome = cli.verbs("write=x stream=3 directories").outcome();
        outcome.printed(["write 2", "stream 3", "directories /data"]);
    }
}

/// A task that reads its own save must not silently get an older one.
#[test]
fn damage_to_the_attempts_own_save_is_reported() {
    let place = Place::on(Host::Composed);
    let verbs = "write=old write-random=300000 wait=/data/go read-stream read-stream";
    let mut running = place.cli().verbs(verbs).start();
    assert_eq!(running.line(), Some("write 2"));
    assert_eq!(running.line(), Some("write-random 3"));
    let data = fs::read_dir(place.store().join("data")).unwrap().next();
    let data = data.unwrap().unwrap().path();
    let mut bytes = fs::read(&data).unwrap();
    bytes[1000] ^= 1;
    fs::write(&data, bytes).unwrap();
    fs::write(place.work().join("go"), "").unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.lines[3], "error: corrupt", "{}", outcome.text());
    let older = "read-stream 3 bytes ";
    assert!(outcome.lines[4].starts_with(older), "{}", outcome.text());
}

/// An invalid record must not end the task.
#[test]
fn a_record_too_large_for_memory_is_damage() {
    let place = Place::on(Host::Composed);
    place.run("write=one").printed(["write 2"]);
    let record = place.store().join("log/09223372036854775805");
    let file = fs::File::create(record).unwrap();
    file.set_len(6 << 30).unwrap();
    place
        .run("resume read")
        .printed(["resume fell-back 2 past 3", "read \"one\""]);
}

#[test]
fn checkpoints_are_stored_in_a_bucket_that_the_task_cannot_see() {
    let server = Server::start();
    let place = Place::new();
    let run = |host, verbs: &str| -> Outcome {
        let cli = Cli::on_s3(host, "s3://bucket/task", &server).dir(&place.work(), "/data");
        let cli = match host {
            Host::Native => cli,
            Host::Composed => cli
                .dir(&place.store(), "/scratch")
                .variable("CHECKPOINT_SCRATCH", "/scratch"),
        };
        cli.verbs(verbs).outcome()
    };
    fs::create_dir(place.store()).unwrap();
    let saved = run(Host::Composed, "resume write-random=40000000 read");
    assert_eq!(saved.code, Some(0), "{}", saved.text());
    run(Host::Native, "read files=/data/m=100 save=/data/m").printed([
        saved.lines[2].as_str(),
        "files made",
        "save 4",
    ]);
    run(
        Host::Composed,
        "restore=/data/again environment directories",
    )
    .printed(["restore 4", "environment", "directories /data"]);
    assert_eq!(
        tree(&place.work().join("again")),
        tree(&place.work().join("m"))
    );
    let streamed = run(Host::Composed, "stream=20000000 read-stream");
    assert_eq!(streamed.code, Some(0), "{}", streamed.text());
    run(Host::Native, "read-stream").printed(&streamed.lines[1..]);
    assert!(
        tree(&place.store()).is_empty(),
        "streams left files in the scratch directory"
    );
}

#[test]
fn either_host_finishes_a_composed_training_that_was_killed() {
    let place = Place::new();
    let store = |training: u64| {
        let store = place.work().join(training.to_string());
        fs::create_dir_all(&store).unwrap();
        store
    };
    let native = |training| Cli::on(Host::Native, &store(training));
    let composed = |training| Cli::on(Host::Composed, &store(training));
    survives_kills(composed, native, kills() / 2);
    let place = Place::new();
    let store = |training: u64| {
        let store = place.work().join(training.to_string());
        fs::create_dir_all(&store).unwrap();
        store
    };
    let either = |training: u64| {
        let host = [Host::Native, Host::Composed][training as usize % 2];
        Cli::on(host, &store(training))
    };
    survives_kills(either, either, kills() / 2);
}

#[test]
fn either_host_finishes_a_composed_training_that_was_killed_on_s3() {
    let server = Server::start();
    let url = |training: u64| format!("s3://bucket/{training}");
    let native = |training| Cli::on_s3(Host::Native, &url(training), &server);
    let composed = |training| Cli::on_s3(Host::Composed, &url(training), &server);
    survives_kills(composed, native, kills() / 2);
}

#[test]
fn an_earlier_location_is_searched() {
    let place = Place::on(Host::Composed);
    place.run("write=one").printed(["write 2"]);
    let next = Place::on(Host::Composed);
    let after = |verbs: &str| {
        let cli = next.cli().dir(&place.store(), "/prev");
        let cli = cli.variable("CHECKPOINT_PREV", "/prev");
        cli.verbs(verbs).outcome()
    };
    after("directories trap").trapped();
    after("read directories").printed(["read \"one\"", "directories /data"]);
    // The other host cannot open that directory. It reports an error and does not start fresh.
    let next = next.across();
    let error = next.run("read").failed(78);
    assert!(error.contains("dir:///prev"), "{error}");
    let store = place.store();
    let named = next.cli().options(["--prev".as_ref(), store.as_os_str()]);
    named.verbs("read").outcome().printed(["read \"one\""]);
}

#[test]
fn errors_name_the_environment_variable_that_is_wrong() {
    let place = Place::on(Host::Composed);
    for (name, value, says) in [
        ("CHECKPOINT_KEEP", "0", "CHECKPOINT_KEEP=0"),
        ("CHECKPOINT_QUOTA", "1GB", "CHECKPOINT_QUOTA=1GB"),
        ("CHECKPOINT_STORE", "ftp://x/y", "\"ftp://x/y\""),
        ("CHECKPOINT_STORE", "s3://bucket/task", "--s3"),
        ("CHECKPOINT_STORE", "/nowhere", "\"/nowhere\""),
        ("CHECKPOINT_PREV", "/nowhere", "\"/nowhere\""),
        ("CHECKPOINT_SCRATCH", "/nowhere", "\"/nowhere\""),
    ] {
        let cli = place.cli().variable(name, value);
        let outcome = cli.verbs("stream=3 directories").outcome();
        assert!(
            outcome.lines[0].starts_with("error: "),
            "{}",
            outcome.text()
        );
        assert!(outcome.stderr.contains(says), "{}", outcome.text());
        // If a variable names no preopened directory, or nothing that can be understood, the host hides all of them.
        let sees = outcome
            .lines
            .last()
            .is_some_and(|line| line == "directories");
        let hides = matches!(value, "/nowhere" | "ftp://x/y");
        assert_eq!(sees, hides, "{}", outcome.text());
    }
}

/// Asserts that `compose` refuses a task with this exit code. Returns the error message.
#[track_caller]
pub(crate) fn refused(task: &Path, code: i32) -> String {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app.wasm");
    let line = [
        "compose".as_ref(),
        task.as_os_str(),
        "-o".as_ref(),
        app.as_os_str(),
    ];
    let error = Cli::new(line).outcome().failed(code);
    assert!(error.contains(task.to_str().unwrap()), "{error}");
    assert!(!app.exists());
    error
}

#[test]
fn a_component_that_cannot_be_composed_is_refused_with_a_reason() {
    const NO_COMPONENT: i32 = 121;
    const UNKNOWN_IMPORT: i32 = 122;
    let dir = tempfile::tempdir().unwrap();
    let made = |text: &str| {
        let path = dir.path().join("task.wasm");
        fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        path
    };
    refused(&dir.path().join("missing.wasm"), NO_COMPONENT);
    refused(&made("(module)"), NO_COMPONENT);
    let error = refused(&made("(component)"), UNKNOWN_IMPORT);
    assert!(error.contains("nothing from task:checkpoint"), "{error}");
    let error = refused(&guest("unknown_import"), UNKNOWN_IMPORT);
    assert!(error.contains("nothing from task:checkpoint"), "{error}");
    let open = [
        // A different version of the package.
        r#"(import "task:checkpoint/checkpointer@9.0.0" (instance))"#,
        r#"(import "task:checkpoint/types@0.2.0" (instance)) (import "my:own/thing" (instance))"#,
    ];
    for imports in open {
        let error = refused(&made(&format!("(component {imports})")), UNKNOWN_IMPORT);
        assert!(error.contains("neither the plugged component"), "{error}");
    }
    let seeing = r#"(component
        (import "task:checkpoint/types@0.2.0" (instance))
        (import "wasi:filesystem/preopens@0.4.0" (instance)))"#;
    let error = refused(&made(seeing), UNKNOWN_IMPORT);
    assert!(error.contains("could see"), "{error}");
}
