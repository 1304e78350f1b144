//! Compiles a task, and runs one attempt of it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Mutex, oneshot};
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
#[cfg(feature = "cache")]
use wasmtime::{Cache, CacheConfig};
use wasmtime::{Config, Engine, Store, Trap};
use wasmtime_checkpoint::{
    CheckpointCtx, CheckpointCtxView, CheckpointView, GuestLimits, limit_store,
};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::command::Command;
use crate::exit::{Code, Failure, failure};
use crate::file::{self, TaskFile};
use crate::imports;

/// How often a computing guest yields: short compared with a timeout, long compared with the cost of yielding.
const TICK: Duration = Duration::from_millis(50);

/// How long an attempt may take to stop once it is cut off. It stops within a tick, unless WASI blocks its thread in
/// a system call.
const LATE: Duration = Duration::from_secs(1);

/// A component that is ready to run. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Task {
    engine: Engine,
    command: Command,
    limits: GuestLimits,
    /// Held by the attempt whose guest is in memory.
    in_memory: Arc<Mutex<()>>,
    /// The BLAKE3 hash of the file.
    pub(crate) digest: [u8; 32],
}

/// What a task may be, and may make this host hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadOptions {
    pub(crate) limits: GuestLimits,
    /// Whether to load compiled code too.
    pub(crate) allow_precompiled: bool,
    /// Whether to provide WASI 0.3 besides 0.2.
    pub(crate) p3: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    /// The task exited with this code, which is not 0.
    Exit(u8),
    Trap(String),
    /// This host failed for this reason, which is not the task's fault.
    Failed(String),
    Timeout,
    /// The task did not stop within the grace period.
    Stopped,
}

/// The state of a task's store.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    checkpoint: CheckpointCtx,
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

impl Task {
    /// Compiles a component, or loads it from wasmtime's cache, and checks its imports.
    pub(crate) fn load(path: &Path, options: LoadOptions) -> anyhow::Result<Self> {
        let name = path.display();
        let engine = engine()?;
        let (bytes, component) = match file::open(path)? {
            TaskFile::Component(bytes) => {
                let component = compile(&engine, &bytes, options);
                (bytes, component.with_context(|| name.to_string())?)
            }
            TaskFile::Compiled(bytes) if options.allow_precompiled => {
                let component = deserialize(&engine, &bytes);
                (bytes, component.with_context(|| name.to_string())?)
            }
            TaskFile::Compiled(_) => {
                let what = format!(
                    "{name}: this is compiled code, which is not sandboxed: it can do whatever you can do; if you \
                     trust it, run it with --allow-precompiled"
                );
                return Err(failure(Code::NotComponent, what));
            }
        };
        prepare_memory(|| component.initialize_copy_on_write_image());
        let instance = link(&engine, &component, options.p3).with_context(|| Failure {
            code: Code::UnknownImport,
            message: format!("{name}: it imports something that wasm-checkpoint does not provide"),
        })?;
        let command = Command::find(instance, options.p3).ok_or_else(|| {
            let what = format!("{name}: {}", no_command(&engine, &component));
            failure(Code::NotComponent, what)
        })?;
        Ok(Self {
            engine,
            command,
            limits: options.limits,
            in_memory: Arc::default(),
            digest: blake3::hash(&bytes).into(),
        })
    }

    /// Runs one attempt until it ends, or until `cut` resolves to how it ends. Waits first until no other attempt's
    /// guest is in memory.
    pub(crate) async fn run(
        &self,
        wasi: WasiCtx,
        checkpoint: CheckpointCtx,
        cut: impl Future<Output = End>,
    ) -> End {
        let mut cut = pin!(cut);
        // An attempt that was cut off may still be blocked in a system call. With many retries, the guests of such
        // attempts would fill the memory.
        let alone = tokio::select! {
            alone = self.in_memory.clone().lock_owned() => alone,
            end = &mut cut => return end,
        };
        let state = State {
            wasi,
            table: ResourceTable::new(),
            checkpoint: checkpoint.limits(self.limits),
        };
        let task = self.clone();
        let (sender, receiver) = oneshot::channel();
        let running = blocking(async move {
            let end = task.attempt(state, receiver).await;
            drop(alone);
            end
        });
        let mut running = pin!(running);
        let end = tokio::select! {
            ended = &mut running => return ended,
            end = &mut cut => end,
        };
        // Sending fails if the attempt has just ended.
        let _ = sender.send(end.clone());
        match tokio::time::timeout(LATE, running).await {
            Ok(ended) => ended,
            // WASI blocks its thread in a system call, such as a write to a pipe that nobody reads, and nothing can
            // interrupt that. Nothing else keeps a thread: the calls of `task:checkpoint` wait without blocking, and
            // what they began on other threads is cancelled with them. Once the system call returns, the attempt
            // ends when the task next yields. It can save and restore nothing any more: its session is finished, and
            // the next attempt fences it.
            Err(_) => end,
        }
    }

    async fn attempt(&self, state: State, cut: oneshot::Receiver<End>) -> End {
        let mut store = Store::new(&self.engine, state);
        limit_store(&mut store);
        // A guest that only computes yields every tick, so that it can time out.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let ticker = Ticker::start(self.engine.clone());
        let end = tokio::select! {
            // Look at the cut first: a task that is cut off must not run for another tick.
            biased;
            Ok(end) = cut => end,
            end = self.call(&mut store) => end,
        };
        drop(ticker);
        end
    }

    /// Returns why an attempt trapped, and the option that may cure it.
    fn explain(&self, error: &wasmtime::Error, state: &State) -> String {
        let why = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => root_cause(error),
        };
        if state.checkpoint.memory_was_refused() {
            let most = self.limits.memory_bytes;
            return format!(
                "{why}; before, it asked for more than the {most} bytes of memory that it may use; \
                 --max-memory raises the limit"
            );
        }
        // Wasmtime has no types for these.
        if why.contains("resource table has no free keys") || why.contains("handle limit") {
            let most = self.limits.handles;
            return format!(
                "{why}: it may hold {most} files, streams and other resources; --max-handles raises the limit"
            );
        }
        why
    }

    async fn call(&self, store: &mut Store<State>) -> End {
        match self.command.run(store).await {
            Ok(Ok(())) => End::Success,
            Ok(Err(())) => End::Exit(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(0)) => End::Success,
                Some(I32Exit(code)) => End::Exit(u8::try_from(*code).unwrap_or(1)),
                // Such as memory that the system refuses to an instance of the component.
                None if of_system(&error).is_some() => End::Failed(root_cause(&error)),
                None => End::Trap(self.explain(&error, store.data())),
            },
        }
    }
}

/// Returns the directory of compiled tasks. Whoever writes to it chooses what this program runs.
#[cfg(feature = "cache")]
pub(crate) fn compiled_tasks() -> Option<PathBuf> {
    cache().map(|cache| cache.directory().clone())
}

/// Without the feature, nothing reads such a directory.
#[cfg(not(feature = "cache"))]
pub(crate) fn compiled_tasks() -> Option<PathBuf> {
    None
}

#[cfg(feature = "cache")]
fn cache() -> Option<Cache> {
    Cache::new(CacheConfig::new()).ok()
}

fn engine() -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // Without a cache directory, every run compiles again. That is no reason to fail.
    #[cfg(feature = "cache")]
    config.cache(cache());
    Engine::new(&config)
        .map_err(anyhow_of)
        .context("cannot start wasmtime")
}

fn compile(engine: &Engine, bytes: &[u8], options: LoadOptions) -> anyhow::Result<Component> {
    options.limits.check(bytes).map_err(|e| {
        let what = format!("{e}; --max-instances raises the limit");
        failure(Code::NotComponent, what)
    })?;
    imports::check(bytes, options.p3)?;
    Component::new(engine, bytes).map_err(|e| {
        let what = format!("not a component that can run: {e:#}");
        failure(Code::NotComponent, what)
    })
}

/// The version of wasmtime whose compiled code this program loads.
const WASMTIME: &str = "48";

/// Loads compiled code. The limits on what a component declares are not checked: they would bound nothing, because
/// the code need not be what wasmtime compiled.
fn deserialize(engine: &Engine, bytes: &[u8]) -> anyhow::Result<Component> {
    // SAFETY: whoever passed --allow-precompiled trusts the file. Wasmtime checks that this version made it.
    unsafe { Component::deserialize(engine, bytes) }.map_err(|e| {
        let what = format!(
            "cannot load the compiled code: {e:#}; compile it again with \
             `wasmtime compile -W epoch-interruption=y,gc-support=n,threads=n` of wasmtime {WASMTIME}, or run the \
             component itself"
        );
        failure(Code::NotComponent, what)
    })
}

/// How many times to try to prepare memory. Linux waits up to 150 ms each time.
const PREPARATIONS: u32 = 10;

/// Prepares what a component's memories contain at first, with `image`. Wasmtime seals a file of it, which Linux
/// refuses for as long as something else uses one of its pages: it moves pages now and then.
///
/// Any other failure is left to the attempt, which prepares what is missing, and may be retried.
fn prepare_memory(image: impl Fn() -> wasmtime::Result<()>) {
    let busy = |error: &wasmtime::Error| of_system(error) == Some(io::ErrorKind::ResourceBusy);
    for _ in 0..PREPARATIONS {
        if !image().is_err_and(|error| busy(&error)) {
            return;
        }
    }
}

/// Says why a component cannot be run as a command.
fn no_command(engine: &Engine, component: &Component) -> String {
    const RUN: &str = "wasi:cli/run";
    let world = component.component_type();
    let mut names = world.exports(engine).map(|(name, _)| name);
    match names.find(|name| name.starts_with(RUN)) {
        Some(name) if cfg!(feature = "p3") && name.starts_with("wasi:cli/run@0.3") => {
            format!(
                "it exports `{name}`; to run it, add `-S p3`, which is experimental, or build it for WASI 0.2"
            )
        }
        Some(name) => format!(
            "it exports `{name}`, but this program only runs `{RUN}@0.2`; build it for WASI 0.2 (it may use the async ABI)"
        ),
        None => format!("it does not export `{RUN}`; build it as a command, not as a library"),
    }
}

fn link(engine: &Engine, component: &Component, p3: bool) -> anyhow::Result<InstancePre<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_checkpoint::add_wasi_to_linker(&mut linker).map_err(anyhow_of)?;
    wasmtime_checkpoint::add_to_linker(&mut linker).map_err(anyhow_of)?;
    #[cfg(feature = "p3")]
    if p3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker).map_err(anyhow_of)?;
        wasmtime_checkpoint::p3::add_to_linker(&mut linker).map_err(anyhow_of)?;
    }
    let _ = p3;
    linker.instantiate_pre(component).map_err(anyhow_of)
}

fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Returns the kind of the system's error that caused this one; `None` if the system did not cause it.
fn of_system(error: &wasmtime::Error) -> Option<io::ErrorKind> {
    let cause = error.root_cause();
    // Wasmtime reserves memory by the functions of rustix.
    #[cfg(unix)]
    if let Some(errno) = cause.downcast_ref::<rustix::io::Errno>() {
        return Some(errno.kind());
    }
    if cause.is::<wasmtime::OutOfMemory>() {
        return Some(io::ErrorKind::OutOfMemory);
    }
    cause.downcast_ref().map(io::Error::kind)
}

fn anyhow_of(error: wasmtime::Error) -> anyhow::Error {
    error.into()
}

/// Runs `work` on a separate thread, where it can be abandoned. Some host calls block, such as a write to a pipe that
/// nobody reads, and no timer could interrupt those on our own thread.
async fn blocking<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Handle::current();
    match tokio::task::spawn_blocking(move || runtime.block_on(work)).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Increments the engine's epoch every tick until it is dropped.
struct Ticker(tokio::task::JoinHandle<()>);

impl Ticker {
    fn start(engine: Engine) -> Self {
        Self(tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            loop {
                interval.tick().await;
                engine.increment_epoch();
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Prepares memory that fails so many times first. Returns how often it was tried.
    fn tries(failures: u32, kind: io::ErrorKind) -> u32 {
        let calls = Cell::new(0);
        prepare_memory(|| {
            calls.set(calls.get() + 1);
            match calls.get() > failures {
                true => Ok(()),
                false => Err(wasmtime::Error::from(io::Error::from(kind)).context("sealing")),
            }
        });
        calls.get()
    }

    #[test]
    fn memory_whose_pages_are_busy_is_prepared_again_for_a_while() {
        assert_eq!(tries(0, io::ErrorKind::ResourceBusy), 1);
        assert_eq!(tries(3, io::ErrorKind::ResourceBusy), 4);
        assert_eq!(tries(u32::MAX, io::ErrorKind::ResourceBusy), PREPARATIONS);
    }

    #[test]
    fn another_failure_to_prepare_memory_is_left_to_the_attempt() {
        assert_eq!(tries(u32::MAX, io::ErrorKind::OutOfMemory), 1);
    }
}
