//! A host in 40 lines, not counting imports: runs a task, with its checkpoints in a directory.

use std::sync::Arc;

use checkpoint_storage::{Attempt, AttemptSettings, OpenLocation};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView, CheckpointView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2};

struct State {
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let engine = Engine::default();
    let mut linker = Linker::<State>::new(&engine);
    p2::add_to_linker_async(&mut linker)?;
    wasmtime_checkpoint::add_to_linker(&mut linker)?;
    let task = Component::from_file(&engine, &args[1])?;
    let location = OpenLocation::parse(&args[2])?;
    let attempt = Arc::new(Attempt::begin(location, AttemptSettings::default()).await?);
    let wasi = WasiCtx::builder().inherit_stdio().build();
    let (table, checkpoint) = (ResourceTable::new(), CheckpointCtx::new(attempt));
    let mut store = Store::new(
        &engine,
        State {
            wasi,
            table,
            checkpoint,
        },
    );
    let task = p2::bindings::Command::instantiate_async(&mut store, &task, &linker).await?;
    task.wasi_cli_run()
        .call_run(&mut store)
        .await?
        .map_err(|()| "the task failed".into())
}
