//! Kills tasks with SIGKILL at pseudorandom moments, which are the same in every run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::cli::{Cli, Outcome, Signal};
use crate::support::noise::noise;
use crate::support::s3::{Fate, Server};
use crate::support::{Place, Random, tree};

/// Large enough that twenty attempts, all killed early, do not finish the training.
const EPOCHS: &str = "200";
const KILLS: u64 = 20;

/// The command that runs the example `digits`, which learns to read digits.
pub(crate) fn digits(cli: Cli, work: &Path) -> Cli {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let csv = here.join("../guest/rust/examples/digits");
    cli.dir(&csv, "/csv").dir(work, "/data").program(
        Path::new(env!("DIGITS")),
        ["/csv/digits.csv", "/data/model", EPOCHS],
    )
}

fn model(place: &Place) -> Vec<u8> {
    fs::read(place.work().join("model")).unwrap()
}

/// Returns the model that the example learns when nothing interrupts it.
fn undisturbed() -> Vec<u8> {
    let place = Place::new();
    let store = place.store();
    let cli = Cli::run(["--store".as_ref(), store.as_os_str()]);
    let outcome = digits(cli, &place.work()).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    model(&place)
}

/// Asserts that an attempt resumed from the last epoch that an earlier attempt reported as saved, or from a
/// later one. Returns the last epoch that this attempt reported as saved.
#[track_caller]
fn check_progress(outcome: &Outcome, saved: u32) -> u32 {
    let numbers = |prefix: &str| -> Vec<u32> {
        let rests = outcome.lines.iter().filter_map(|l| l.strip_prefix(prefix));
        let numbers = rests.filter_map(|rest| rest.split(':').next()?.parse().ok());
        numbers.collect()
    };
    let resumed = numbers("resumed after epoch ").first().copied();
    let epochs = numbers("epoch ");
    let Some(last) = epochs.last().copied().or(resumed) else {
        return saved;
    };
    let from = resumed.unwrap_or(0);
    assert!(from >= saved, "epoch {saved} is lost: {}", outcome.text());
    last
}

/// Runs [`survives_kills`] with the native command line, on locations below this one.
pub(crate) fn resumes_after_kills(store: &str, env: &[(&'static str, String)], kills: u64) {
    let cli = |training: u64| {
        let store = format!("{store}/{training}");
        Cli::run(["--store", &store]).envs(env.iter().cloned())
    };
    survives_kills(cli, cli, kills);
}

/// Kills the example `kills` times, usually with SIGKILL and sometimes with SIGTERM, and lets `last` finish
/// it. Asserts that no epoch reported as saved is lost and that the model is the undisturbed one. Each training
/// has its own location.
pub(crate) fn survives_kills(cli: impl Fn(u64) -> Cli, last: impl Fn(u64) -> Cli, kills: u64) {
    let undisturbed = undisturbed();
    let place = Place::new();
    let mut random = Random::new(1);
    let mut training = 0;
    let mut saved = 0;
    for kill in 0..kills {
        let mut running = digits(cli(training), &place.work()).start();
        let lines = random.below(6);
        let gentle = random.below(4) == 0;
        while (running.lines() as u64) < lines && running.line().is_some() {}
        std::thread::sleep(Duration::from_micros(random.below(5000)));
        let outcome = match gentle {
            true => {
                running.signal(Signal::TERM);
                running.finish()
            }
            false => running.kill(),
        };
        saved = check_progress(&outcome, saved);
        match outcome.code {
            None | Some(143) => {}
            // The training finished before the kill. The next one starts fresh in a new location.
            Some(0) => {
                assert_eq!(model(&place), undisturbed);
                training += 1;
                saved = 0;
            }
            // SIGTERM arrived before the task could handle it.
            _ => assert!(gentle, "{kill}: {}", outcome.text()),
        }
    }
    let outcome = digits(last(training), &place.work()).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    check_progress(&outcome, saved);
    assert_eq!(model(&place), undisturbed);
}

/// The number of kills. `CHECKPOINT_KILLS` sets a larger number than a normal test run has time for.
pub(crate) fn kills() -> u64 {
    let asked = std::env::var("CHECKPOINT_KILLS").ok();
    asked.map_or(KILLS, |count| count.parse().unwrap())
}

#[test]
fn repeated_kills_on_local_disk_do_not_change_the_result() {
    let place = Place::new();
    resumes_after_kills(place.store().to_str().unwrap(), &[], kills());
}

#[test]
fn repeated_kills_on_s3_do_not_change_the_result() {
    let server = Server::start();
    resumes_after_kills("s3://bucket/training", &server.env(), kills());
}

#[test]
fn a_kill_at_any_request_to_s3_does_not_change_the_result() {
    let place = Place::new();
    let server = Server::start();
    let start = || {
        let cli = Cli::run(["--store", "s3://bucket/training"]);
        digits(cli.envs(server.env()), &place.work())
    };
    let mut random = Random::new(2);
    let mut saved = 0;
    for kill in 0..KILLS {
        let last = random.below(30);
        let fate = [Fate::Held, Fate::AnswerHeld][random.below(2) as usize];
        server.on_request(move |seen| match seen.number == last {
            true => fate,
            false => Fate::Served,
        });
        let mut running = start().start();
        let held = running.until(|| server.take_held());
        let outcome = running.kill();
        assert!(
            held,
            "kill {kill} at request {last} did not happen: {}",
            outcome.text()
        );
        saved = check_progress(&outcome, saved);
    }
    server.on_request(|_| Fate::Served);
    let outcome = start().outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(saved > 0);
    check_progress(&outcome, saved);
    assert_eq!(model(&place), undisturbed());
}

#[test]
fn a_kill_at_any_request_of_a_save_leaves_the_old_or_the_new_checkpoint() {
    let place = Place::new();
    let server = Server::start();
    let (old, new) = (place.work().join("old"), place.work().join("new"));
    let mut random = Random::new(3);
    for (dir, count, size) in [(&old, 3, 100), (&new, 300, 65_536)] {
        fs::create_dir(dir).unwrap();
        for number in 0..count {
            fs::write(dir.join(number.to_string()), noise(random.next(), size)).unwrap();
        }
    }
    let (old, new) = (tree(&old), tree(&new));

    let mut found = Vec::new();
    for point in 0.. {
        // Each request is held twice: once before it takes effect and once after.
        let fate = [Fate::Held, Fate::AnswerHeld][point % 2];
        let last = (point / 2) as u64;
        let location = format!("s3://bucket/{point}");
        let run = |verbs: &str| {
            Cli::run(["--store", &location])
                .dir(&place.work(), "/data")
                .envs(server.env())
                .verbs(verbs)
        };
        server.on_request(|_| Fate::Served);
        run("save=/data/old").outcome().printed(["save 2"]);

        server.on_request(move |seen| match seen.number == last {
            true => fate,
            false => Fate::Served,
        });
        let mut saving = run("save=/data/new").start();
        if !saving.until(|| server.take_held()) {
            saving.finish().printed(["save 4"]);
            break;
        }
        saving.kill();

        server.on_request(|_| Fate::Served);
        let target = place.work().join("target");
        let outcome = run("restore=/data/target").outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        let restored = tree(&target);
        fs::remove_dir_all(&target).unwrap();
        assert!(restored == old || restored == new, "{}", outcome.text());
        found.push(restored == new);
    }
    // Kills before the commit leave the old checkpoint, later kills leave the new one.
    assert!(found.is_sorted(), "{found:?}");
    assert!(found.contains(&false) && found.contains(&true), "{found:?}");
}

#[test]
fn a_killed_first_save_leaves_no_checkpoint() {
    let place = Place::new();
    let server = Server::start();
    let run = |verbs: &str| {
        Cli::run(["--store", "s3://bucket/task"])
            .dir(&place.work(), "/data")
            .envs(server.env())
            .verbs(verbs)
    };
    // The first put below log/ is the claim, the second is the commit.
    let mut puts = 0;
    server.on_request(move |seen| {
        let put = seen.method == "PUT" && seen.path.contains("/log/");
        puts += u64::from(put);
        match put && puts == 2 {
            true => Fate::Held,
            false => Fate::Served,
        }
    });
    let mut saving = run("files=/data/model=600 save=/data/model").start();
    assert!(saving.until(|| server.take_held()));
    saving.kill();
    server.on_request(|_| Fate::Served);
    let outcome = run("prev-exists resume restore=/data/target").outcome();
    outcome.printed(["prev-exists false", "resume fresh", "restore none"]);
    assert!(!place.work().join("target").exists());
    // The next attempt swept the orphaned data.
    let keys = server.keys("bucket");
    assert!(
        keys.iter().all(|key| key.starts_with("task/log/")),
        "{keys:?}"
    );
}

#[test]
fn a_kill_while_overwriting_a_large_file_leaves_the_old_or_the_new_one() {
    let place = Place::new();
    let whole = {
        let place = Place::new();
        place.run("write-random=20000000 read").lines.remove(1)
    };
    let mut random = Random::new(4);
    for _ in 0..10 {
        place.run("write=old").code.unwrap();
        let mut saving = place.cli().verbs("resume write-random=20000000").start();
        saving.line();
        std::thread::sleep(Duration::from_millis(random.below(150)));
        saving.kill();
        let read = place.run("read").lines.remove(0);
        assert!(read == "read \"old\"" || read == whole, "{read}");
    }
    place.run("write=last").code.unwrap();
    // No partial file is left.
    let data = fs::read_dir(place.store().join("data"))
        .into_iter()
        .flatten();
    let names: Vec<_> = data.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains('#')),
        "{names:?}"
    );
}
