//! The speed table: each row against raw `object_store` calls for the same bytes, in turn, in one run.
//!
//! `cargo bench -p checkpoint-storage` prints medians of ratios. Absolute times say little: they are of
//! whatever machine this runs on.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use checkpoint_storage::{Attempt, AttemptSettings, BeneathDir, Existing, Location};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

const MIB: usize = 1 << 20;
const ROUNDS: usize = 5;

/// What a raw client would put in one object, and how many of them at once.
const OBJECT: usize = 16 * MIB;
const AT_ONCE: usize = 4;

#[tokio::main]
async fn main() {
    let size = 1024 * MIB;
    let mut contents = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut contents);
    let contents = Bytes::from(contents);

    let (mut saves, mut restores) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let raw = Arc::new(
            LocalFileSystem::new_with_prefix(dir.path())
                .unwrap()
                .with_fsync(true),
        );
        let raw_put = time(raw_put(&*raw, &contents)).await;
        let raw_get = time(raw_get(&*raw, &dir.path().join("raw-file"), size)).await;

        let dir = tempfile::tempdir().unwrap();
        let attempt = begin(&dir.path().join("location")).await;
        let save = time(async { attempt.write(contents.clone()).await.unwrap() }).await;
        let target = BeneathDir::ambient(&dir.path().join("file")).unwrap();
        let restore = time(async {
            attempt.restore(target, Existing::Refuse).await.unwrap();
        });
        let restore = restore.await;
        saves.push(ratio(raw_put, save));
        restores.push(ratio(raw_get, restore));
    }
    row("save 1 GiB of new bytes: speed / raw puts", saves);
    row("restore 1 GiB to a file: speed / raw gets", restores);
    change(&contents).await;
    small().await;
}

async fn begin(location: &Path) -> Attempt {
    let location = Location::parse(location.to_str().unwrap()).unwrap();
    Attempt::begin(location, AttemptSettings::default())
        .await
        .unwrap()
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

/// A contiguous hundredth is changed.
async fn change(contents: &Bytes) {
    let dir = tempfile::tempdir().unwrap();
    let attempt = begin(dir.path()).await;
    attempt.write(contents.clone()).await.unwrap();
    let changed = contents.len() / 100;
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let mut next = contents.to_vec();
        let start = round * contents.len() / (ROUNDS + 2);
        let mut noise = blake3::Hasher::new().update(&[round as u8]).finalize_xof();
        noise.fill(&mut next[start..start + changed]);
        let saved = attempt.write(next.into()).await.unwrap();
        // Back to the first contents, most of which is stored still.
        attempt.write(contents.clone()).await.unwrap();
        ratios.push(saved.uploaded_bytes as f64 / changed as f64);
    }
    row(
        "save again after 1 % changed: bytes uploaded / changed",
        ratios,
    );
}

async fn small() {
    let dir = tempfile::tempdir().unwrap();
    let raw = LocalFileSystem::new_with_prefix(dir.path())
        .unwrap()
        .with_fsync(true);
    let attempt = begin(&dir.path().join("location")).await;
    let contents = Bytes::from(vec![7; 1024]);
    let mut ratios = Vec::new();
    for n in 0..200 {
        let put = time(async {
            let options = PutOptions::from(PutMode::Create);
            raw.put_opts(&name(n), contents.clone().into(), options)
                .await
                .unwrap();
        });
        let put = put.await;
        let write = time(async { attempt.write(contents.clone()).await.unwrap() }).await;
        ratios.push(ratio(write, put));
    }
    row("write 1 KiB: time / one raw put", ratios);
}

fn name(n: usize) -> ObjectPath {
    ObjectPath::from(format!("raw/{n}"))
}

async fn time<T>(work: impl Future<Output = T>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn row(what: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    let median = ratios[ratios.len() / 2];
    println!(
        "{what:<56} {median:>6.2}  ({least:.2} to {most:.2}, {} rounds)",
        ratios.len()
    );
}
