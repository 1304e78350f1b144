//! Whatever waits ends at a signal or a timeout.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::cli::{Cli, Host, Outcome, Running, Signal, guest};
use crate::support::noise::noise;
use crate::support::s3::{Fate, Server, environment};
use crate::support::{Place, on_each_host};

on_each_host![
    a_record_that_is_no_file_keeps_no_attempt_waiting,
    a_link_that_leads_nowhere_keeps_no_attempt_from_its_location,
];

/// Asserts that a run ended at this signal, and said so.
#[track_caller]
fn said_stopped(outcome: &Outcome, code: i32, name: &str) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.text());
    let said = format!("wasm-checkpoint: stopped by {name}");
    assert!(outcome.stderr.contains(&said), "{}", outcome.text());
}

/// Like [`said_stopped`], and its task printed nothing.
#[track_caller]
fn stopped(outcome: &Outcome, code: i32, name: &str) {
    said_stopped(outcome, code, name);
    assert!(outcome.lines.is_empty(), "{}", outcome.text());
}

/// A server that never answers the puts of commits.
fn without_commits() -> Server {
    let server = Server::start();
    server.on_request(|seen| match seen.method {
        "PUT" if seen.path.ends_with("/log/09223372036854775806") => Fate::Held,
        _ => Fate::Served,
    });
    server
}

/// A run on `server`. A client gives up a request after half a minute; whatever ends earlier did not wait for that.
fn on_server(server: &Server, options: &[&str]) -> Cli {
    let cli = Cli::run(["--store", "s3://bucket/task"]);
    cli.options(options).envs(server.env())
}

const BEFORE_THE_CLIENT_GIVES_UP: Duration = Duration::from_secs(20);

#[test]
fn a_background_save_without_an_answer_ends_with_the_grace_period() {
    for (verbs, options, code) in [
        ("write-in-background=x", &[][..], 69),
        ("write-in-background=x loop", &["--timeout", "300ms"], 124),
        ("write-in-background=x trap", &[], 134),
    ] {
        let server = without_commits();
        let begun = Instant::now();
        let cli = on_server(&server, &["--grace", "300ms"]).options(options);
        let outcome = cli.verbs(verbs).outcome();
        assert_eq!(outcome.code, Some(code), "{}", outcome.text());
        assert!(begun.elapsed() < BEFORE_THE_CLIENT_GIVES_UP, "{verbs}");
    }
}

#[test]
fn a_signal_while_the_saves_of_a_failed_attempt_are_committed_ends_its_retries() {
    let server = without_commits();
    let cli = on_server(&server, &["--grace", "1s", "--retries", "3"]);
    let mut running = cli.verbs("write-in-background=x trap").start();
    assert!(running.until(|| server.take_held()));
    assert!(running.until_said("wasm trap") || running.until_said("abort"));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    said_stopped(&outcome, 143, "SIGTERM");
    assert_eq!(outcome.lines.len(), 1, "{}", outcome.text());
}

#[test]
fn a_second_signal_ends_a_run_that_commits_its_saves_at_once() {
    let server = without_commits();
    let cli = on_server(&server, &["--grace", "1h"]);
    let mut running = cli.verbs("write-in-background=x").start();
    assert!(running.until(|| server.take_held()));
    running.signal(Signal::TERM);
    // Two signals of one kind that arrive together count as one.
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code, Some(143));
}

#[test]
fn a_save_without_an_answer_ends_at_a_timeout_or_after_a_signal() {
    let server = without_commits();
    let begun = Instant::now();
    let cli = on_server(&server, &["--timeout", "500ms"]);
    cli.verbs("write=x").outcome().failed(124);
    let cli = on_server(&server, &["--grace", "300ms"]);
    let server = without_commits();
    let mut running = cli.envs(server.env()).verbs("write=x").start();
    assert!(running.until(|| server.take_held()));
    running.signal(Signal::TERM);
    stopped(&running.finish(), 143, "SIGTERM");
    assert!(begun.elapsed() < BEFORE_THE_CLIENT_GIVES_UP);
}

#[test]
fn a_signal_ends_an_attempt_that_waits_for_its_predecessor() {
    let server = Server::start();
    server.on_request(|seen| match seen.path {
        path if path.contains("previous") => Fate::Held,
        _ => Fate::Served,
    });
    let cli = on_server(&server, &["--prev", "s3://previous/task", "--retries", "2"]);
    let mut running = cli.verbs("write=x").start();
    assert!(running.until(|| server.take_held()));
    running.signal(Signal::INT);
    stopped(&running.finish(), 130, "SIGINT");
}

#[test]
fn deletions_without_an_answer_keep_no_run_from_its_end() {
    let server = Server::start();
    server.on_request(|seen| match seen.method {
        "POST" | "DELETE" => Fate::Held,
        _ => Fate::Served,
    });
    let begun = Instant::now();
    let cli = on_server(&server, &["--keep", "1", "--grace", "300ms"]);
    cli.verbs("write=1 write=2")
        .outcome()
        .printed(["write 2", "write 3"]);
    assert!(begun.elapsed() < BEFORE_THE_CLIENT_GIVES_UP);
}

#[test]
fn a_signal_ends_a_run_whose_task_is_a_pipe_that_nobody_writes() {
    let place = Place::new();
    let pipe = place.work().join("task.wasm");
    make_pipe(&pipe);
    let report = place.work().join("report");
    let cli = Cli::run(["--store".as_ref(), place.store().as_os_str()]);
    let cli = cli.options(["--report".as_ref(), report.as_os_str()]);
    let mut running = cli.task(&pipe, [""; 0]).start();
    let temporary = |entry: &fs::DirEntry| entry.file_name() != "task.wasm";
    let opened = || {
        fs::read_dir(place.work())
            .unwrap()
            .flatten()
            .any(|e| temporary(&e))
    };
    assert!(running.until(opened), "the report is opened first");
    // It listens just after that.
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::TERM);
    stopped(&running.finish(), 143, "SIGTERM");
    assert!(!opened(), "the temporary file of the report is left");
    assert!(!place.store().exists());
}

#[test]
fn a_signal_ends_an_attempt_that_waits_to_begin() {
    for (signal, code, name) in [(Signal::TERM, 143, "SIGTERM"), (Signal::INT, 130, "SIGINT")] {
        let server = Server::start();
        server.on_request(|_| Fate::Held);
        let cli = Cli::run(["--store", "s3://bucket/task", "--retries", "3"]);
        let mut running = cli.envs(server.env()).verbs("write=one").start();
        assert!(running.until(|| server.take_held()));
        running.signal(signal);
        stopped(&running.finish(), code, name);
    }
}

#[test]
fn a_signal_ends_retries_of_a_refused_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let cli = Cli::run(["--store", "s3://bucket/task", "--retries", "3"]);
    let running = cli.envs(environment(address)).verbs("write=one").start();
    // The first connection is cut, all others are refused.
    drop(listener.accept().unwrap());
    drop(listener);
    running.signal(Signal::TERM);
    stopped(&running.finish(), 143, "SIGTERM");
}

#[test]
fn a_signal_ends_the_delay_between_attempts() {
    let place = Place::new();
    let store = place.store();
    let start = || -> Running {
        Cli::new(["run", "--retries", "3", "--retry-delay", "1h", "--store"])
            .options([&store])
            .verbs("trap")
            .start()
    };
    for (signal, code, name) in [(Signal::TERM, 143, "SIGTERM"), (Signal::INT, 130, "SIGINT")] {
        let mut running = start();
        assert!(running.until_said("retrying in"));
        running.signal(signal);
        stopped(&running.finish(), code, name);
    }
}

#[test]
fn a_timeout_ends_an_attempt_that_waits_to_begin() {
    let server = Server::start();
    server.on_request(|_| Fate::Held);
    let options = [
        "--store",
        "s3://bucket/task",
        "--timeout",
        "300ms",
        "--retries",
        "1",
    ];
    let cli = Cli::run(options).envs(server.env());
    let outcome = cli.verbs("write=one").outcome();
    outcome.failed(124);
    assert!(
        outcome.stderr.contains("attempt 0 cannot begin"),
        "{}",
        outcome.text()
    );
}

#[test]
fn attempts_are_apart() {
    let place = Place::new();
    let store = place.store();
    let begun = Instant::now();
    let line = ["run", "--retries", "2", "--retry-delay", "400ms", "--store"];
    let cli = Cli::new(line).options([&store]).verbs("trap");
    cli.outcome().failed(134);
    // Half of 400 ms and half of 800 ms at least.
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn the_storage_is_read_while_the_task_is_loaded_and_claimed_after() {
    let place = Place::new();
    let task = place.work().join("task.wasm");
    make_pipe(&task);
    let is_loaded = Arc::new(AtomicBool::new(false));
    let claimed_early = Arc::new(AtomicBool::new(false));
    let server = Server::start();
    server.on_request({
        let (is_loaded, claimed_early) = (is_loaded.clone(), claimed_early.clone());
        move |seen| {
            if seen.method == "PUT" && !is_loaded.load(Relaxed) {
                claimed_early.store(true, Relaxed);
            }
            Fate::Served
        }
    });
    let cli = on_server(&server, &[]);
    let mut running = cli.task(&task, ["resume", "write=one"]).start();
    let begun = Instant::now();
    let is_late = || begun.elapsed() > BEFORE_THE_CLIENT_GIVES_UP;
    assert!(running.until(|| server.requests() > 0 || is_late()));
    assert!(server.requests() > 0, "the storage was not read");
    is_loaded.store(true, Relaxed);
    fs::write(&task, fs::read(guest("verbs")).unwrap()).unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(!claimed_early.load(Relaxed));
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts something else in the place of a file, each kind by turns, and asserts that this does not keep `look`.
fn replaced_by_what_is_no_file(path: &Path, look: impl Fn(&str)) {
    let file = fs::read(path).unwrap();
    for kind in ["pipe", "socket", "device", "directory"] {
        fs::remove_file(path).unwrap();
        match kind {
            "pipe" => make_pipe(path),
            // Its name has to be short, and stays after it is closed.
            "socket" => {
                let dir = tempfile::tempdir().unwrap();
                let short = dir.path().join("s");
                drop(UnixListener::bind(&short).unwrap());
                fs::rename(short, path).unwrap();
            }
            "device" => symlink("/dev/zero", path).unwrap(),
            _ => fs::create_dir(path).unwrap(),
        }
        look(kind);
        match kind {
            "directory" => fs::remove_dir(path).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
        fs::write(path, &file).unwrap();
    }
}

fn newest(dir: PathBuf) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap()
}

#[test]
fn a_record_that_is_no_file_is_damage_and_keeps_nobody_waiting() {
    let place = Place::new();
    place.run("write=one write=two");
    let store = place.store();
    let record = place.record(3);
    let record = if record.exists() {
        record
    } else {
        newest(store.join("log"))
    };
    replaced_by_what_is_no_file(&record, |kind| {
        let listed = Cli::new(["ls".as_ref(), store.as_os_str()]).outcome();
        assert_eq!(listed.code, Some(0), "{kind}: {}", listed.text());
        // A directory is no object, as on S3: the record counts as deleted.
        let code = if kind == "directory" { 0 } else { 65 };
        let verified = Cli::new(["verify".as_ref(), store.as_os_str()]).outcome();
        assert_eq!(verified.code, Some(code), "{kind}: {}", verified.text());
    });
}

fn a_record_that_is_no_file_keeps_no_attempt_waiting(host: Host) {
    let place = Place::on(host);
    place.run("write=one write=two");
    let record = place.record(3);
    replaced_by_what_is_no_file(&record, |kind| {
        let outcome = place.run("read");
        assert_eq!(
            outcome.lines,
            ["read \"one\""],
            "{kind}: {}",
            outcome.text()
        );
    });
}

/// A name among the data objects that no object has ever had.
fn a_link_that_leads_nowhere_keeps_no_attempt_from_its_location(host: Host) {
    let place = Place::on(host);
    place.run("write-random=100000");
    let data = place.store().join("data");
    for target in ["loop", "missing", "/etc"] {
        let link = data.join("loop");
        symlink(target, &link).unwrap();
        let outcome = place.run("prev-exists write-random=100000");
        assert_eq!(
            outcome.lines[0],
            "prev-exists true",
            "{target}: {}",
            outcome.text()
        );
        assert!(
            outcome.lines[1].starts_with("write-random "),
            "{}",
            outcome.text()
        );
        let verified = Cli::new(["verify".as_ref(), place.store().as_os_str()]).outcome();
        assert_eq!(verified.code, Some(0), "{target}: {}", verified.text());
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn a_data_object_that_is_no_file_is_damage_and_keeps_nobody_waiting() {
    let place = Place::new();
    let file = place.work().join("file");
    fs::write(&file, noise(1, 100_000)).unwrap();
    let store = place.store();
    let line = ["import".as_ref(), file.as_os_str(), store.as_os_str()];
    assert_eq!(Cli::new(line).outcome().code, Some(0));
    let target = place.work().join("target");
    replaced_by_what_is_no_file(&newest(store.join("data")), |kind| {
        let line = ["export".as_ref(), store.as_os_str(), target.as_os_str()];
        Cli::new(line).outcome().failed(65);
        place.run("strict read").failed(65);
        let verified = Cli::new(["verify".as_ref(), store.as_os_str()]).outcome();
        assert_eq!(verified.code, Some(65), "{kind}: {}", verified.text());
    });
}
