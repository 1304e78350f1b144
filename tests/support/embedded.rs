//! A host that embeds the import and runs the guest `verbs`. The tests and the benchmarks share it.

use std::path::Path;
use std::sync::Arc;

use checkpoint_storage::{Attempt, AttemptSettings, Location};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView, CheckpointView};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) checkpoint: CheckpointCtx,
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

/// An engine and a linker that can run any number of guests.
#[derive(Clone)]
pub(crate) struct Embedder {
    component: Component,
    linker: Linker<State>,
}

impl Embedder {
    pub(crate) fn new() -> Self {
        let engine = Engine::default();
        let verbs = Path::new(env!("GUESTS")).join("verbs.wasm");
        let component = Component::from_file(&engine, verbs).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_checkpoint::add_to_linker(&mut linker).unwrap();
        Self { component, linker }
    }

    /// Runs a guest to its end. The guest may pass at most `max_call_bytes` to the host in one call.
    pub(crate) async fn run(
        &self,
        wasi: WasiCtx,
        attempt: Arc<Attempt>,
        max_call_bytes: usize,
    ) -> Store<State> {
        let state = State {
            wasi,
            checkpoint: CheckpointCtx::new(attempt),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(self.component.engine(), state);
        store.set_hostcall_fuel(max_call_bytes);
        let command = Command::instantiate_async(&mut store, &self.component, &self.linker);
        let command = command.await.unwrap();
        let end = command.wasi_cli_run().call_run(&mut store).await;
        assert_eq!(end.unwrap(), Ok(()));
        store
    }
}

/// Begins an attempt on the location in this directory.
pub(crate) async fn begin(location: &Path) -> Arc<Attempt> {
    let location = Location::from_path(location).open().unwrap();
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    Arc::new(attempt.unwrap())
}
