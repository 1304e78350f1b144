//! A host that embeds the import: several guests alive in one process.

use std::sync::Arc;

use checkpoint_storage::{Attempt, AttemptSettings, ErrorKind, Location};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView, CheckpointView};
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::support::{Place, cli::guest};

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

/// One host for all guests.
#[derive(Clone)]
struct Host {
    component: Component,
    linker: Linker<State>,
}

impl Host {
    fn new() -> Self {
        let engine = Engine::default();
        let component = Component::from_file(&engine, guest("verbs")).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_checkpoint::add_to_linker(&mut linker).unwrap();
        Self { component, linker }
    }

    /// Runs a guest to its end. Gives what it printed, and the kind of its last failed call.
    async fn run(
        &self,
        attempt: &Arc<Attempt>,
        place: &Place,
        perms: FsPerms,
        verbs: &str,
    ) -> (Vec<String>, Option<ErrorKind>) {
        let stdout = MemoryOutputPipe::new(1 << 20);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stdout.clone())
            .arg("verbs")
            .args(&verbs.split(' ').collect::<Vec<_>>())
            .preopened_dir(place.work(), "/data", perms)
            .unwrap();
        let state = State {
            wasi: wasi.build(),
            checkpoint: CheckpointCtx::new(attempt.clone()),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(self.component.engine(), state);
        let command = Command::instantiate_async(&mut store, &self.component, &self.linker)
            .await
            .unwrap();
        let end = command.wasi_cli_run().call_run(&mut store).await;
        assert_eq!(end.unwrap(), Ok(()));
        let printed = String::from_utf8(stdout.contents().to_vec()).unwrap();
        let failure = store.data_mut().checkpoint.take_failure().map(|e| e.kind());
        (printed.lines().map(str::to_owned).collect(), failure)
    }
}

async fn begin(place: &Place) -> Arc<Attempt> {
    let location = Location::from_path(place.store()).open().unwrap();
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    Arc::new(attempt.unwrap())
}

#[tokio::test]
async fn guests_with_locations_of_their_own_do_not_see_each_others_checkpoints() {
    let host = Host::new();
    let (a, b) = (Place::new(), Place::new());
    let (of_a, of_b) = (begin(&a).await, begin(&b).await);
    let (left, right) = tokio::join!(
        host.run(&of_a, &a, FsPerms::ReadWrite, "read write=a read"),
        host.run(&of_b, &b, FsPerms::ReadWrite, "read write=b read"),
    );
    assert_eq!(left.0, ["read none", "write 2", "read \"a\""]);
    assert_eq!(right.0, ["read none", "write 2", "read \"b\""]);
    assert_eq!((left.1, right.1), (None, None));
    assert_eq!(of_a.totals().saves, 1);
}

#[tokio::test]
async fn of_two_live_guests_of_one_task_the_older_one_is_fenced() {
    let host = Host::new();
    let place = Place::new();
    let older = begin(&place).await;
    let newer = begin(&place).await;
    let (printed, failure) = host
        .run(&older, &place, FsPerms::ReadWrite, "write=older")
        .await;
    assert_eq!(printed, ["error: fenced"]);
    assert_eq!(failure, Some(ErrorKind::Fenced));
    let (printed, _) = host
        .run(&newer, &place, FsPerms::ReadWrite, "read write=newer read")
        .await;
    assert_eq!(printed, ["read none", "write 3", "read \"newer\""]);
}

#[tokio::test]
async fn a_directory_lent_for_reading_can_be_saved_and_not_restored_to() {
    let host = Host::new();
    let place = Place::new();
    std::fs::write(place.work().join("a"), "contents").unwrap();
    let attempt = begin(&place).await;
    let (printed, failure) = host
        .run(
            &attempt,
            &place,
            FsPerms::ReadOnly,
            "save=/data/a restore=/data/b",
        )
        .await;
    assert_eq!(printed, ["save 2", "error: read-only"]);
    assert_eq!(failure, Some(ErrorKind::ReadOnly));
    assert!(!place.work().join("b").exists());
}
