//! Compares the time that a guest waits for a call with the same work in the host.
//!
//! The guest is the tests' `verbs`. It receives the contents as an argument, and prints a line before and
//! after each call, from which the call is timed.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::cli::{Cli, Host};
use crate::embedded::{Embedder, begin};
use crate::measure::{MIB, ROUNDS, Target, in_turn, ratio, row, time};
use crate::noise::noise;

const LARGEST: usize = 256 * MIB;

/// The sizes to write, and the number of rounds. Small writes need more rounds, because their times are noisy.
const WRITES: [(&str, usize, usize, Target); 4] = [
    ("1 KiB", 1024, 100, Target::Nothing),
    ("1 MiB", MIB, 50, Target::AtMost(1.1)),
    ("64 MiB", 64 * MIB, 2 * ROUNDS, Target::AtMost(1.05)),
    ("256 MiB", LARGEST, ROUNDS, Target::AtMost(1.05)),
];

/// Compares a background save with a memcpy, because it returns once the host has its own copy.
pub(crate) async fn background() {
    let contents = text();
    let host = Embedder::new();
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        // Copies into fresh memory, as the host does. Without zeroing, the allocator would reuse memory.
        let copy = time(async {
            let mut copy = vec![0; contents.len()];
            copy.copy_from_slice(contents.as_bytes());
            copy
        });
        let wait = wait_for(&host, "write-in-background", &contents);
        let ((copy, _), wait) = in_turn(round, copy, wait).await;
        waits.push(ratio(wait, copy));
    }
    let what = "background save of 256 MiB: time in a guest / one memcpy";
    row(what, waits, Target::AtMost(1.3));
}

pub(crate) async fn write() {
    let contents = text();
    let host = Embedder::new();
    for (name, size, rounds, target) in WRITES {
        let contents = &contents[..size];
        let bytes = Bytes::from(contents.to_owned());
        let mut waits = Vec::new();
        for round in 0..rounds {
            let native = async {
                let dir = tempfile::tempdir().unwrap();
                let attempt = begin(dir.path()).await;
                time(attempt.write(bytes.clone()).into_future()).await.0
            };
            let wait = wait_for(&host, "write", contents);
            let (native, wait) = in_turn(round, native, wait).await;
            waits.push(ratio(wait, native));
        }
        let what = format!("write of {name}: time in a guest / in the host");
        row(&what, waits, target);
    }
}

/// Compares what a guest waits until a save of version 0.3 is under way with a background save of version 0.2. The
/// guest measures both, one after the other.
pub(crate) async fn asynchronous() {
    let dir = tempfile::tempdir().unwrap();
    let guest = Path::new(env!("GUESTS")).join("examples/concurrent.wasm");
    let cli = Cli::on(Host::Native, &dir.path().join("store")).options(["-S", "p3"]);
    let outcome = cli
        .task(&guest, [format!("waits={LARGEST}={ROUNDS}")])
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    let micros: Vec<f64> = outcome.lines[0]
        .split(' ')
        .skip(1)
        .map(|word| word.parse().unwrap())
        .collect();
    let waits = micros.chunks(2).map(|pair| pair[1] / pair[0]);
    let what = "save of 256 MiB under way: time in a 0.3 guest / 0.2's background";
    row(what, waits.collect(), Target::AtMost(1.1));
}

/// Returns incompressible text, because an argument must be text.
fn text() -> String {
    let bytes = noise(0, LARGEST);
    bytes.iter().map(|b| char::from(b'0' + b % 64)).collect()
}

/// Measures how long a guest waits for this call on a fresh location.
async fn wait_for(host: &Embedder, call: &str, contents: &str) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let stamps = Stamps::default();
    let mut wasi = WasiCtx::builder();
    // Without `strict`, an error would look like a short wait.
    wasi.stdout(stamps.clone())
        .args(&["verbs", "strict", "flush"])
        .arg(format!("{call}={contents}"))
        .arg("flush");
    let attempt = begin(dir.path()).await;
    host.run(wasi.build(), attempt, 2 * LARGEST).await;
    let lines = stamps.0.lock().unwrap();
    assert_eq!(lines.len(), 3);
    lines[1] - lines[0]
}

/// A stdout that records only the time of each line.
#[derive(Clone, Default)]
struct Stamps(Arc<Mutex<Vec<Instant>>>);

impl IsTerminal for Stamps {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stamps {
    // For WASI 0.3, which the guest does not use.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Stamps {
    async fn ready(&mut self) {}
}

impl OutputStream for Stamps {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let now = Instant::now();
        let lines = bytes.iter().filter(|byte| **byte == b'\n');
        self.0.lock().unwrap().extend(lines.map(|_| now));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(1 << 16)
    }
}
