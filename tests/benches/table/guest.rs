//! Compares the time that a guest waits for a call with the same work in the host.
//!
//! The guest is the tests' `verbs`. It receives the contents as an argument, and prints a line before and
//! after each call, from which the call is timed.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use checkpoint_storage::{Attempt, AttemptSettings, OpenLocation};
use tokio::io::AsyncWrite;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView, CheckpointView};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::measure::{MIB, ROUNDS, Target, in_turn, noise, ratio, row, time};

const LARGEST: usize = 256 * MIB;

/// The sizes to write, and the number of rounds. Small writes need more rounds, because their times are noisy.
const WRITES: [(&str, usize, usize, Target); 4] = [
    ("1 KiB", 1024, 100, Target::Nothing),
    ("1 MiB", MIB, 50, Target::AtMost(1.1)),
    ("64 MiB", 64 * MIB, 2 * ROUNDS, Target::AtMost(1.1)),
    ("256 MiB", LARGEST, ROUNDS, Target::AtMost(1.1)),
];

/// Compares a background save with a memcpy, because it returns once the host has its own copy.
pub(crate) async fn background() {
    let contents = text();
    let host = Host::new();
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        // Copies into fresh memory, as the host does. Without zeroing, the allocator would reuse memory.
        let copy = time(async {
            let mut copy = vec![0; contents.len()];
            copy.copy_from_slice(contents.as_bytes());
            copy
        });
        let wait = host.wait_for("write-in-background", &contents);
        let ((copy, _), wait) = in_turn(round, copy, wait).await;
        waits.push(ratio(wait, copy));
    }
    let what = "background save of 256 MiB: time in a guest / one memcpy";
    row(what, waits, Target::AtMost(2.0));
}

pub(crate) async fn write() {
    let contents = text();
    let host = Host::new();
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
            let wait = host.wait_for("write", contents);
            let (native, wait) = in_turn(round, native, wait).await;
            waits.push(ratio(wait, native));
        }
        let what = format!("write of {name}: time in a guest / in the host");
        row(&what, waits, target);
    }
}

/// Returns incompressible text, because an argument must be text.
fn text() -> String {
    let mut bytes = vec![0; LARGEST];
    noise(0, &mut bytes);
    bytes.iter().map(|b| char::from(b'0' + b % 64)).collect()
}

async fn begin(dir: &Path) -> Arc<Attempt> {
    let location = OpenLocation::parse(dir.to_str().unwrap()).unwrap();
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    Arc::new(attempt.unwrap())
}

struct Host {
    component: Component,
    linker: Linker<State>,
}

impl Host {
    fn new() -> Self {
        let engine = Engine::default();
        let verbs = Path::new(env!("GUESTS")).join("verbs.wasm");
        let component = Component::from_file(&engine, verbs).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_checkpoint::add_to_linker(&mut linker).unwrap();
        Self { component, linker }
    }

    /// How long a guest waits for this call, on a fresh location.
    async fn wait_for(&self, call: &str, contents: &str) -> Duration {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::default();
        let mut wasi = WasiCtx::builder();
        // `strict`, or an error would pass for a short wait.
        wasi.stdout(stamps.clone())
            .args(&["verbs", "strict", "flush"])
            .arg(format!("{call}={contents}"))
            .arg("flush");
        let state = State {
            wasi: wasi.build(),
            checkpoint: CheckpointCtx::new(begin(dir.path()).await),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(self.component.engine(), state);
        store.set_hostcall_fuel(2 * LARGEST);
        let command = Command::instantiate_async(&mut store, &self.component, &self.linker);
        let command = command.await.unwrap();
        let end = command.wasi_cli_run().call_run(&mut store).await;
        assert_eq!(end.unwrap(), Ok(()));
        let lines = stamps.0.lock().unwrap();
        assert_eq!(lines.len(), 3);
        lines[1] - lines[0]
    }
}

struct State {
    wasi: WasiCtx,
    checkpoint: CheckpointCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl CheckpointView for State {
    fn checkpoint(&mut self) -> CheckpointCtxView<'_> {
        CheckpointCtxView {
            ctx: &mut self.checkpoint,
            table: &mut self.table,
        }
    }
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
