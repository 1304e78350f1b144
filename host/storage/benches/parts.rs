//! Benchmarks the steps of saves and restores, with contents that stress one step each.
//!
//! `cargo bench -p checkpoint-storage` prints median speeds relative to BLAKE3 of the same bytes on one thread,
//! measured alternately in one run: no save can be faster than BLAKE3 times the number of threads. The
//! storage is memory, so this is the cost of the engine without the storage. The speed table is in `tests/benches`.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use checkpoint_storage::{Attempt, AttemptSettings, OpenLocation};
use object_store::memory::InMemory;
use object_store::path::Path;

#[path = "../src/tests/noise.rs"]
mod noise;

use noise::noise;

const SIZE: usize = 256 << 20;
const ROUNDS: usize = 7;

#[tokio::main]
async fn main() {
    let noise = noise(0, SIZE);
    // Like text and numbers: a part of every eight bytes repeats.
    let mut numbers = noise.clone();
    for number in numbers.chunks_mut(8) {
        number[3..].fill(0);
    }
    let repeated = noise[..16 << 20].repeat(SIZE / (16 << 20));
    measure("incompressible: cut, hash", noise.into()).await;
    measure("compressible: cut, hash, compress", numbers.into()).await;
    measure("16 MiB again and again: cut, hash, find", repeated.into()).await;
}

async fn measure(what: &str, contents: Bytes) {
    let (mut saves, mut again, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    let mut uploaded = 0;
    for _ in 0..ROUNDS {
        let hash = time(async {
            for part in contents.chunks(1 << 20) {
                std::hint::black_box(blake3::hash(part));
            }
        });
        let hash = hash.await;
        let store = Arc::new(InMemory::new());
        let location = OpenLocation::new(store, Path::from("location"), "memory");
        let attempt = Attempt::begin(location, AttemptSettings::default()).await;
        let attempt = attempt.unwrap();
        let save = time(async { uploaded = write(&attempt, &contents).await });
        saves.push(ratio(hash, save.await));
        let same = time(write(&attempt, &contents));
        again.push(ratio(hash, same.await));
        let read = time(async { assert!(attempt.read().await.unwrap().unwrap() == contents) });
        reads.push(ratio(hash, read.await));
    }
    let stored = uploaded as f64 / contents.len() as f64;
    println!("{what}; stored {stored:.2} of it");
    row("save: speed / BLAKE3", saves);
    row("save it again, unchanged", again);
    row("read it into memory, and compare", reads);
}

async fn write(attempt: &Attempt, contents: &Bytes) -> u64 {
    let saved = attempt.write(contents.clone()).await;
    saved.unwrap().uploaded_bytes
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
    println!("    {what:<40} {median:>6.2}  ({least:.2} to {most:.2}, {ROUNDS} rounds)");
}
