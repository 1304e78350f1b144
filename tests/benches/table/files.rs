//! Compares saving and restoring a directory of many files on S3 with flytekit's `SyncCheckpoint` on the
//! same server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, DirTree, Existing, OpenLocation};
use object_store::path::Path as ObjectPath;
use tempfile::TempDir;

use crate::counting::Counting;
use crate::measure::{ROUNDS, Target, human_size, in_turn, note, ratio, row, skipped, time};
use crate::noise::noise;
use crate::s3::{Fate, Server};

const FILES: usize = 5000;
const FILE: usize = 16 << 10;

const SAVE: &str = "save 5,000 files x 16 KiB to S3: speed / flytekit";
const RESTORE: &str = "restore 5,000 files x 16 KiB from S3: speed / flytekit";

/// The times of a save and a restore, their total number of requests, and what was restored.
struct Measured {
    save: Duration,
    restore: Duration,
    requests: u64,
    moved: String,
    /// Deleted after the last round: ext4 takes several times as long to create files beside others that were deleted in
    /// the minutes before, because it looks at each of their inodes so as not to use it again.
    _restored: TempDir,
}

pub(crate) async fn files() {
    let Some(python) = python() else {
        let missing = "a Python with flytekit; set FLYTEKIT_PYTHON to its path";
        skipped(SAVE, missing);
        skipped(RESTORE, missing);
        return;
    };
    let source = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        let contents = noise(n as u64, FILE);
        std::fs::write(source.path().join(format!("{n:05}")), contents).unwrap();
    }
    let (mut saves, mut restores) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let theirs = flytekit(&python, source.path());
        let (theirs, ours) = in_turn(round, theirs, ours(source.path())).await;
        saves.push(ratio(theirs.save, ours.save));
        restores.push(ratio(theirs.restore, ours.restore));
        all.push((theirs, ours));
    }
    let (theirs, ours) = all.last().unwrap();
    row(SAVE, saves, Target::AtLeast(20.0));
    row(RESTORE, restores, Target::AtLeast(20.0));
    for (name, by) in [("ours", ours), ("flytekit", theirs)] {
        let Measured {
            save,
            restore,
            requests,
            moved,
            ..
        } = by;
        note(&format!(
            "{name}: {requests} requests, {moved}; last round: save {save:.2?}, restore {restore:.2?}"
        ));
    }
}

async fn ours(source: &Path) -> Measured {
    let server = Server::start();
    server.on_request(|_| Fate::Served);
    let bucket = Counting::new(server.client("bucket"));
    let location = OpenLocation::new(bucket.clone(), ObjectPath::from("task"), "s3://bucket/task");
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    let attempt = attempt.unwrap();
    let source = DirTree::ambient(source).unwrap();
    let (save, saved) = time(attempt.save(source).into_future()).await;
    saved.unwrap();
    let target = TempDir::new().unwrap();
    let into = DirTree::ambient(target.path()).unwrap();
    let (restore, restored) = time(attempt.restore(into, Existing::Refuse)).await;
    restored.unwrap();
    assert_eq!(count(target.path()), FILES);
    Measured {
        save,
        restore,
        requests: server.requests(),
        moved: bucket.take(1),
        _restored: target,
    }
}

async fn flytekit(python: &str, source: &Path) -> Measured {
    let server = Server::start();
    // The client of flytekit creates the bucket first. On this server every bucket exists already.
    server.on_request(|seen| match (seen.method, seen.path) {
        ("PUT", "/bucket" | "/bucket/") => Fate::Failed(200),
        _ => Fate::Served,
    });
    let env = server.env();
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let target = TempDir::new().unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/table/flytekit_files.py"
    );
    let child = Command::new(python)
        .arg(script)
        .arg("s3://bucket/task")
        .args([source, target.path()])
        .env("FLYTE_AWS_ENDPOINT", env("AWS_ENDPOINT"))
        .env("FLYTE_AWS_ACCESS_KEY_ID", env("AWS_ACCESS_KEY_ID"))
        .env("FLYTE_AWS_SECRET_ACCESS_KEY", env("AWS_SECRET_ACCESS_KEY"))
        .env("AWS_DEFAULT_REGION", env("AWS_REGION"))
        .stdout(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    assert!(
        ended.status.success(),
        "flytekit failed; see its output above"
    );
    assert_eq!(count(target.path()), FILES);
    let printed = String::from_utf8(ended.stdout).unwrap();
    let mut seconds = printed
        .split_whitespace()
        .map(|word| Duration::from_secs_f64(word.parse().unwrap()));
    // The contents of the bucket were uploaded once and downloaded once.
    let stored = human_size((FILES * FILE) as u64);
    Measured {
        save: seconds.next().unwrap(),
        restore: seconds.next().unwrap(),
        requests: server.requests(),
        moved: format!("{stored} up, {stored} down"),
        _restored: target,
    }
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Returns the path of a Python that has flytekit, if there is one.
fn python() -> Option<String> {
    let python = std::env::var("FLYTEKIT_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(&python);
    command.args(["-c", "import flytekit, s3fs"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status
        .is_ok_and(|status| status.success())
        .then_some(python)
}
