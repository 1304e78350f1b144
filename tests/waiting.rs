//! Whatever waits ends at a signal or a timeout.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::Place;
use crate::support::cli::{Cli, Outcome, Running, Signal};
use crate::support::noise::noise;
use crate::support::s3::{Fate, Server, environment};

/// Asserts that a run ended at this signal, and said so.
#[track_caller]
fn stopped(outcome: &Outcome, code: i32, name: &str) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.text());
    let said = format!("wasm-checkpoint: stopped by {name}");
    assert!(outcome.stderr.contains(&said), "{}", outcome.text());
    assert!(outcome.lines.is_empty(), "{}", outcome.text());
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

/// Puts something else in the place of a file, each kind by turns, and asserts that this does not keep `look`.
fn replaced_by_what_is_no_file(path: &Path, look: impl Fn(&str)) {
    let file = fs::read(path).unwrap();
    for kind in ["pipe", "socket", "device", "directory"] {
        fs::remove_file(path).unwrap();
        match kind {
            "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
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
    let record = store.join("log").join(format!("{:020}", 3));
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
    let pipe = newest(store.join("log"));
    fs::remove_file(&pipe).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    place.run("read").printed(["read \"one\""]);
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
