//! Compares operations on the local disk with raw puts and gets of the same bytes by the same client.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use checkpoint_storage::{Attempt, AttemptSettings, DirTree, Existing, OpenLocation};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::counting::Counting;
use crate::measure::{MIB, ROUNDS, Target, in_turn, note, ratio, row, time};
use crate::noise::noise;

const GIB: usize = 1024 * MIB;

/// The size of a raw object, and the number of concurrent requests of the raw client.
const OBJECT: usize = 16 * MIB;
const AT_ONCE: usize = 4;

type Disk = Counting<LocalFileSystem>;

/// Opens a fresh directory as a store.
fn disk(dir: &Path) -> Arc<Disk> {
    let disk = LocalFileSystem::new_with_prefix(dir).unwrap();
    // The options with which the storage crate opens locations on disk.
    Counting::new(disk.with_fsync(true))
}

async fn begin(disk: &Arc<Disk>) -> Attempt {
    let location = OpenLocation::new(disk.clone(), ObjectPath::from("location"), "the disk");
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    disk.take(1);
    attempt.unwrap()
}

/// The time and the requests of a save and of a restore.
struct Measured {
    save: (Duration, String),
    restore: (Duration, String),
}

/// Saves and restores a large checkpoint.
pub(crate) async fn gib() {
    let contents = Bytes::from(noise(0, GIB));
    let (mut saves, mut restores) = (Vec::new(), Vec::new());
    let mut last = None;
    for round in 0..ROUNDS {
        let (raw, ours) = in_turn(round, raw_gib(&contents), our_gib(&contents)).await;
        saves.push(ratio(raw.save.0, ours.save.0));
        restores.push(ratio(raw.restore.0, ours.restore.0));
        last = Some((raw, ours));
    }
    let (raw, ours) = last.unwrap();
    let target = Target::AtLeast(1.0);
    row("save 1 GiB of new bytes: speed / raw puts", saves, target);
    note(&format!("{}; raw {}", ours.save.1, raw.save.1));
    row(
        "restore 1 GiB to a file: speed / raw gets",
        restores,
        target,
    );
    note(&format!("{}; raw {}", ours.restore.1, raw.restore.1));
}

async fn raw_gib(contents: &Bytes) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let save = time(raw_put(&*disk, contents)).await.0;
    let save = (save, disk.take(1));
    let target = dir.path().join("file");
    let restore = time(raw_get(&*disk, &target, contents.len())).await.0;
    let restore = (restore, disk.take(1));
    Measured { save, restore }
}

async fn our_gib(contents: &Bytes) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let attempt = begin(&disk).await;
    let (save, saved) = time(attempt.write(contents.clone()).into_future()).await;
    saved.unwrap();
    let save = (save, disk.take(1));
    let target = DirTree::ambient(&dir.path().join("file")).unwrap();
    let (restore, restored) = time(attempt.restore(target, Existing::Refuse)).await;
    restored.unwrap();
    let restore = (restore, disk.take(1));
    Measured { save, restore }
}

async fn raw_put(store: &dyn ObjectStore, contents: &Bytes) {
    let objects =
        (0..contents.len() / OBJECT).map(|n| (n, contents.slice(n * OBJECT..(n + 1) * OBJECT)));
    stream::iter(objects)
        .map(|(n, bytes)| async move { store.put(&name(n), bytes.into()).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
}

async fn raw_get(store: &dyn ObjectStore, target: &Path, size: usize) {
    let mut objects = stream::iter(0..size / OBJECT)
        .map(|n| async move { store.get(&name(n)).await?.bytes().await })
        .buffered(AT_ONCE);
    let mut file = File::create(target).unwrap();
    while let Some(bytes) = objects.try_next().await.unwrap() {
        file = tokio::task::spawn_blocking(move || file.write_all(&bytes).map(|()| file))
            .await
            .unwrap()
            .unwrap();
    }
    tokio::task::spawn_blocking(move || file.sync_all())
        .await
        .unwrap()
        .unwrap();
}

/// Saves again after 1 % of the contents has changed, in one range.
pub(crate) async fn change() {
    let contents = Bytes::from(noise(0, GIB));
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let attempt = begin(&disk).await;
    attempt.write(contents.clone()).await.unwrap();
    let changed = GIB / 100;
    let mut ratios = Vec::new();
    let mut asked = String::new();
    for round in 1..=ROUNDS {
        let mut next = contents.to_vec();
        let start = round * GIB / (ROUNDS + 2);
        next[start..start + changed].copy_from_slice(&noise(round as u64, changed));
        attempt.settle().await;
        disk.take(1);
        let saved = attempt.write(next.into()).await.unwrap();
        asked = disk.take(1);
        // Goes back to the original contents, most of which is still stored.
        attempt.write(contents.clone()).await.unwrap();
        ratios.push(saved.uploaded_bytes as f64 / changed as f64);
    }
    row(
        "save again after 1 % changed: bytes uploaded / changed",
        ratios,
        // Each round but the first also copies what is left in objects of which most is garbage.
        Target::AtMost(2.0),
    );
    note(&asked);
}

/// Writes small contents, which takes one request.
pub(crate) async fn small() {
    const WRITES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let raw = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let raw = raw.with_fsync(true);
    let attempt = begin(&disk).await;
    let contents = Bytes::from(vec![7; 1024]);
    let mut ratios = Vec::new();
    for round in 0..WRITES {
        let path = name(round);
        let options = PutOptions::from(PutMode::Create);
        let put = time(raw.put_opts(&path, contents.clone().into(), options));
        let write = time(attempt.write(contents.clone()).into_future());
        let ((put, raw), (write, ours)) = in_turn(round, put, write).await;
        raw.unwrap();
        ours.unwrap();
        ratios.push(ratio(write, put));
        // A write deletes what it replaces after returning. That must not happen while a raw put is timed.
        attempt.settle().await;
    }
    row(
        "write 1 KiB: time / one raw put",
        ratios,
        Target::AtMost(1.1),
    );
    let each = disk.take(WRITES as u64);
    note(&format!(
        "each {each}; deletes happen after the write has returned"
    ));
}

fn name(n: usize) -> ObjectPath {
    ObjectPath::from(format!("raw/{n}"))
}
