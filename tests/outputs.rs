//! Streams that are closed or full, the report, and what reaches a terminal.

use std::fs::{self, File};
use std::io::{Read, pipe};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::cli::{Cli, Host, Outcome};
use crate::support::s3::Server;
use crate::support::{Place, record_name, tree};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn closed() -> Stdio {
    pipe().unwrap().1.into()
}

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_stderr_that_takes_nothing_changes_no_exit_code_and_drops_no_retries() {
    let streams: [fn() -> Stdio; 2] = [|| full().into(), closed];
    for stderr in streams {
        let code = |cli: Cli| {
            let mut command = cli.into_command();
            let command = command.stdout(Stdio::null()).stderr(stderr());
            command.status().unwrap().code()
        };
        let place = Place::new();
        let retried = || place.cli().options(["--retries", "2"]);
        assert_eq!(code(place.cli().verbs("write=one eprint=x")), Some(0));
        assert_eq!(code(place.cli().verbs("trap")), Some(134));
        assert_eq!(code(retried().verbs("fail-once=/data/tried")), Some(0));
        let store = place.store();
        let on = |verb: &str| Cli::new([verb.as_ref(), store.as_os_str()]);
        assert_eq!(code(on("ls")), Some(0));
        assert_eq!(code(on("verify")), Some(0));
        assert_eq!(code(on("prune").options(["--keep", "1"])), Some(0));
        assert_eq!(code(Cli::new(["ls", "/no/such/location"])), Some(66));
        assert_eq!(code(Cli::new(["ls", "--no-such-option"])), Some(2));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    place.run("files=/data/many=3000 save=/data/many");
    let store = place.store();
    let exported = place.work().join("exported");
    let exported = exported.to_str().unwrap();
    for (verb, more) in [
        ("show", &[][..]),
        ("show", &["--json"]),
        ("ls", &[]),
        ("ls", &["--json"]),
        ("verify", &[]),
        ("verify", &["--json"]),
        ("doctor", &[]),
        ("export", &[exported, "--json"]),
        ("prune", &["--keep", "1", "--json"]),
    ] {
        let cli = Cli::new([verb.as_ref(), store.as_os_str()]).options(more);
        let output = cli.into_command().stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{verb}: {output:?}");
        assert!(output.stderr.is_empty(), "{verb}: {output:?}");
    }
    let show = Cli::new(["show".as_ref(), store.as_os_str()]).into_command();
    let program = show.get_program().to_str().unwrap();
    let line = format!(
        "set -o pipefail; {program} show {} | head -1",
        store.display()
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    place.run("write=one");
    for args in [
        &["ls"][..],
        &["ls", "--json"],
        &["show"],
        &["verify", "--json"],
    ] {
        let cli = Cli::new(args).options([place.store()]);
        let output = cli.into_command().stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot write to stdout"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

fn reported(place: &Place, report: &Path, verbs: &str) -> Outcome {
    let cli = place
        .cli()
        .options(["--report".as_ref(), report.as_os_str()]);
    cli.verbs(verbs).outcome()
}

#[test]
fn a_report_that_cannot_be_written_is_wrong_usage_and_claims_nothing() {
    let place = Place::new();
    for report in [place.work(), place.work().join("missing/report")] {
        let error = reported(&place, &report, "write=one").failed(2);
        assert!(error.contains("--report"), "{error}");
        assert!(!place.store().exists());
    }
}

#[test]
fn a_report_among_checkpoints_is_refused_and_claims_nothing() {
    let (place, previous) = (Place::new(), Place::new());
    place.run("write=one");
    previous.run("write=old");
    let state = place.work().join("state");
    let link = place.work().join("link");
    symlink(place.store(), &link).unwrap();
    let record = format!("log/{}", record_name(2));
    let before = [tree(&place.store()), tree(&previous.store())];
    for report in [
        place.store().join(&record),
        place.store().join("report"),
        place.work().join("../store/log/report"),
        link.join(&record),
        previous.store().join(&record),
        state.join("wasm-checkpoint/other/log/1"),
    ] {
        let cli = place.cli().envs([("XDG_STATE_HOME", &state)]);
        let cli = cli.options(["--prev".as_ref(), previous.store().as_os_str()]);
        let cli = cli.options(["--report".as_ref(), report.as_os_str()]);
        let error = cli.verbs("read").outcome().failed(2);
        assert!(error.contains("--report"), "{error}");
        let after = [tree(&place.store()), tree(&previous.store())];
        assert!(before == after, "{}", report.display());
    }
}

#[test]
fn a_report_that_cannot_be_written_after_all_changes_no_exit_code() {
    let place = Place::new();
    for (verbs, code) in [
        ("write=one", 0),
        ("write=one trap", 134),
        ("write=one exit=1", 1),
    ] {
        fs::create_dir(place.work().join("out")).unwrap();
        let report = place.work().join("out/report");
        let outcome = reported(&place, &report, &format!("remove=/data/out {verbs}"));
        assert_eq!(outcome.code, Some(code), "{}", outcome.text());
        let warning = "warning: cannot write the report";
        assert!(outcome.stderr.contains(warning), "{}", outcome.text());
    }
}

#[test]
fn a_report_follows_no_link() {
    let place = Place::new();
    let victim = place.store().with_file_name("victim");
    fs::write(&victim, "precious").unwrap();
    let report = place.work().join("report");
    symlink(&victim, &report).unwrap();
    assert_eq!(reported(&place, &report, "write=one").code, Some(0));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(!report.is_symlink());
    assert_eq!(json(&report)["saves"], 1);
    let names: Vec<_> = fs::read_dir(place.work()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_report_goes_to_stdout_or_into_a_pipe() {
    let place = Place::new();
    for stdout in ["/dev/stdout", "/proc/self/fd/1"] {
        let outcome = reported(&place, Path::new(stdout), "write=one");
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        let report: serde_json::Value =
            serde_json::from_str(&outcome.lines[1..].join("\n")).unwrap();
        assert_eq!(report["saves"], 1);
    }
    // Behind what the task has printed, if stdout is a file.
    let file = place.work().join("stdout");
    let cli = place
        .cli()
        .options(["--report", "/dev/stdout"])
        .verbs("write=one");
    let mut command = cli.into_command();
    let status = command
        .stdout(File::create(&file).unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let printed = fs::read_to_string(&file).unwrap();
    assert!(
        printed.starts_with("write ") && printed.contains("\"saves\": 1"),
        "{printed}"
    );

    let pipe = place.work().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut reader = File::options().read(true).write(true).open(&pipe).unwrap();
    assert_eq!(reported(&place, &pipe, "write=one").code, Some(0));
    let mut report = [0; 4096];
    let count = reader.read(&mut report).unwrap();
    assert!(String::from_utf8_lossy(&report[..count]).contains("\"saves\": 1"));
}

#[test]
fn a_report_is_written_whatever_the_run_came_to() {
    let place = Place::new();
    let report = place.work().join("report");
    let cli = place.cli().options(["--retries", "1", "--report"]);
    cli.options([&report]).verbs("trap").outcome().failed(134);
    assert_eq!(json(&report)["attempts"], 2);
}

#[test]
fn escapes_reach_no_terminal() {
    let place = Place::new();
    let component = wat::parse_str("(component (import \"\\1b[31m\\c2\\9b2J\" (func)))").unwrap();
    let task = place.work().join("task.wasm");
    fs::write(&task, component).unwrap();
    let refused = place.cli().task(&task, [""; 0]).outcome();
    assert!(
        refused.code == Some(121) || refused.code == Some(122),
        "{}",
        refused.text()
    );

    place.run("annotate=\u{1b}[31m\u{202e}=\u{9b}2J write=one");
    let store = place.store();
    let on = |args: &[&str]| Cli::new(args).options([&store]).outcome();
    let outcomes = [
        refused,
        on(&["ls"]),
        on(&["ls", "--json"]),
        on(&["show"]),
        on(&["show", "--json"]),
        on(&["verify", "--json"]),
        Cli::new(["ls", "/no/such/\u{1b}[31m\u{202e}"]).outcome(),
        Cli::new(["ls", "/no/such/\u{1b}[31m\u{202e}", "--json"]).outcome(),
        Cli::new(["import", "/no/such/\u{1b}[31m", store.to_str().unwrap()]).outcome(),
    ];
    for outcome in outcomes {
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!outcome.text().contains(acts), "{:?}", outcome.text());
    }
    let shown = on(&["show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.lines.join("\n")).unwrap();
    assert_eq!(shown["annotations"]["\u{1b}[31m\u{202e}"], "\u{9b}2J");
}

#[test]
fn a_task_is_called_by_its_files_name() {
    let place = Place::new();
    let outcome = place.run("argument-zero");
    outcome.printed(["argument-zero verbs.wasm"]);
}

#[test]
fn events_are_printed_as_the_option_or_the_variable_says() {
    let place = Place::new();
    let claims = |cli: Cli| {
        let outcome = cli.verbs("read").outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        outcome.stderr.contains("claimed the location")
    };
    assert!(!claims(place.cli()));
    assert!(claims(place.cli().options(["--log", "info"])));
    let variable = [("RUST_LOG", "checkpoint_storage=info")];
    assert!(claims(place.cli().envs(variable)));
    // The option counts.
    assert!(!claims(
        place.cli().options(["--log", "off"]).envs(variable)
    ));
    for value in ["", " ", "checkpoint_storage=loud"] {
        assert!(
            !claims(place.cli().envs([("RUST_LOG", value)])),
            "{value:?}"
        );
    }
    let unknown = place.cli().options(["--log", "loud"]).verbs("read");
    assert_eq!(unknown.outcome().code, Some(2));
}

#[test]
fn the_causes_of_a_tasks_errors_are_printed_but_not_told_to_the_task() {
    let server = Server::start();
    let cli = Cli::on_s3(Host::Native, "s3://bucket/task", &server);
    let outcome = cli
        .options(["--log", "trace"])
        .verbs("write=one read")
        .outcome();
    outcome.printed(["write 2", "read \"one\""]);
    for (name, value) in server.env() {
        if name.contains("SECRET") {
            assert!(!outcome.stderr.contains(&value), "{name} was printed");
        }
    }
}

#[test]
fn a_second_component_at_one_location_is_warned_about() {
    let place = Place::new();
    assert_eq!(
        place
            .run("write=one")
            .stderr
            .matches("another component")
            .count(),
        0
    );
    assert_eq!(
        place
            .run("write=two")
            .stderr
            .matches("another component")
            .count(),
        0
    );
    let hostile = place.cli().guest("hostile", ["paths"]).outcome();
    assert_eq!(
        hostile.stderr.matches("another component").count(),
        1,
        "{}",
        hostile.text()
    );
}
