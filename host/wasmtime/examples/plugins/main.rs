//! A plugin host. It runs every component in a directory concurrently on one engine, each with its own
//! checkpoints, quota and time limit. A plugin that traps, never returns or stores too much does not
//! disturb the others, and is retried from its last checkpoint.
//!
//! ```text
//! cargo run -p wasmtime-checkpoint --example plugins -- PLUGINS STATE
//! ```
//!
//! Each file `PLUGINS/<name>.wasm` is a component of the world in `plugin.wit`, next to this file. Its
//! checkpoints are stored in `STATE/<name>`, where later runs of the host find them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_checkpoint::storage::{Attempt, AttemptSettings, Limits, Location};
use wasmtime_checkpoint::{
    CheckpointCtx, CheckpointCtxView, CheckpointView, GuestLimits, limit_store,
};

/// What one plugin may make this host hold. A plugin without WASI has no files, and so no resources.
pub(crate) fn guest_limits() -> GuestLimits {
    GuestLimits::default()
        .memory_bytes(MEMORY_BYTES)
        .instance_bytes(1 << 20)
        .handles(0)
}

/// What one plugin may store, and how much of it this host holds in memory.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.stored_bytes = STORED_BYTES;
    limits.checkpoint_bytes = STORED_BYTES;
    limits.read_bytes = STORED_BYTES;
    limits.background_bytes = STORED_BYTES;
    // It saves only bytes, which are a tree of one entry.
    limits.tree_bytes = 1 << 10;
    // Each save writes to the disk that all plugins share.
    limits.saves_per_minute = SAVES_PER_MINUTE;
    limits
}

/// Maximum number of attempts per plugin, including the first.
const ATTEMPTS: u32 = 3;

/// Maximum time per attempt. Includes the time in which other plugins use the processors.
pub(crate) const TIME: Duration = Duration::from_secs(5);

/// Interval at which a plugin that only computes yields to the others.
const TICK: Duration = Duration::from_millis(20);

/// Maximum memory per plugin: all its memories and tables together.
const MEMORY_BYTES: usize = 16 << 20;

/// Maximum size of what a plugin stores, including its older checkpoints.
const STORED_BYTES: u64 = 4 << 20;

/// Maximum number of saves per minute and plugin.
const SAVES_PER_MINUTE: u32 = 120;

/// Maximum time to wait for background saves at the end of an attempt.
const FLUSH: Duration = Duration::from_secs(10);

/// The data in a plugin's store.
struct Plugin {
    checkpoint: CheckpointCtx,
    // Without WASI there are no resources, and the table stays empty.
    table: ResourceTable,
}

impl CheckpointView for Plugin {
    fn checkpoint(&mut self) -> CheckpointCtxView<'_> {
        CheckpointCtxView {
            ctx: &mut self.checkpoint,
            table: &mut self.table,
        }
    }
}

/// The outcome of a plugin.
#[derive(Debug)]
pub(crate) struct Report {
    /// The name of its file.
    pub(crate) name: String,
    /// Number of attempts.
    pub(crate) attempts: u32,
    /// What it returned, or why its last attempt failed.
    pub(crate) result: Result<String, String>,
}

/// What all plugins share. It holds no data of any plugin.
#[derive(Clone)]
struct Host {
    engine: Engine,
    linker: Arc<Linker<Plugin>>,
    /// Maximum time per attempt.
    time: Duration,
}

impl Host {
    fn new(time: Duration) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        // Makes it possible to stop a plugin that never returns.
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_checkpoint::add_checkpointer_to_linker(&mut linker)?;
        let linker = Arc::new(linker);
        Ok(Self {
            engine,
            linker,
            time,
        })
    }

    /// Runs a plugin until it returns or has used up its attempts.
    async fn run(self, file: PathBuf, state: PathBuf) -> Report {
        let name = file.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let state = state.join(&name);
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            match self.attempt(&file, &state, &name, attempts - 1).await {
                Ok(result) => break result,
                Err(error) if attempts == ATTEMPTS => break Err(format!("{error:#}")),
                Err(_) => {}
            }
        };
        Report {
            name,
            attempts,
            result,
        }
    }

    /// Runs a plugin once.
    async fn attempt(
        &self,
        file: &Path,
        state: &Path,
        name: &str,
        number: u32,
    ) -> wasmtime::Result<Result<String, String>> {
        let bounds = guest_limits();
        // Compiling takes a while and would block the other plugins.
        let (engine, path) = (self.engine.clone(), file.to_owned());
        let compiling = tokio::task::spawn_blocking(move || {
            let component = std::fs::read(path)?;
            bounds.check(&component)?;
            Component::from_binary(&engine, &component)
        });
        let component = compiling.await??;

        // Fences an older attempt of this plugin, in case one is still running.
        let location = Location::from_path(state).open()?;
        let settings = AttemptSettings::default().number(number).limits(limits());
        let attempt = Arc::new(Attempt::begin(location, settings).await?);

        let checkpoint = CheckpointCtx::new(attempt).limits(bounds);
        let mut store = Store::new(
            &self.engine,
            Plugin {
                checkpoint,
                table: ResourceTable::new(),
            },
        );
        limit_store(&mut store);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);

        let running = async {
            let plugin = self
                .linker
                .instantiate_async(&mut store, &component)
                .await?;
            let run =
                plugin.get_typed_func::<(&str,), (Result<String, String>,)>(&mut store, "run")?;
            let (result,) = run.call_async(&mut store, (name,)).await?;
            Ok(result)
        };
        let result = match tokio::time::timeout(self.time, running).await {
            Ok(result) => result,
            Err(_) => Err(wasmtime::Error::msg("the attempt exceeded its time limit")),
        };
        // Commits the staged saves, however the attempt ended.
        let outcome = store.data().checkpoint.finish(FLUSH).await;
        match outcome.lost {
            // A plugin that succeeded counts on what it has staged.
            Some(lost) if matches!(result, Ok(Ok(_))) => Err(wasmtime::Error::new(lost)),
            _ => result,
        }
    }
}

/// Runs all plugins of a directory, each attempt for at most `time`. Returns their reports in the order of their
/// names.
pub(crate) async fn run_all(
    plugins: &Path,
    state: &Path,
    time: Duration,
) -> wasmtime::Result<Vec<Report>> {
    let host = Host::new(time)?;
    // Uses a thread, because a plugin that never yields would keep a Tokio task from running. The thread
    // ends with the engine.
    let engine = host.engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    let mut running = JoinSet::new();
    for entry in std::fs::read_dir(plugins)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            running.spawn(host.clone().run(file, state.to_owned()));
        }
    }
    let mut reports = running.join_all().await;
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(reports)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests include this file and call `run_all`")]
async fn main() -> wasmtime::Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(plugins), Some(state)) = (args.next(), args.next()) else {
        return Err(wasmtime::Error::msg("usage: plugins PLUGINS STATE"));
    };
    for report in run_all(&plugins, &state, TIME).await? {
        let Report {
            name,
            attempts,
            result,
        } = report;
        println!("{name}: {result:?} after {attempts} attempts");
    }
    Ok(())
}
