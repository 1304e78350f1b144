//! A host that embeds the import and runs several guests in one process.

use std::sync::Arc;
use std::time::Duration;

use checkpoint_storage::{Attempt, ErrorKind};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::support::Place;
use crate::support::embedded::{Embedder, begin};

/// The maximum number of bytes that a guest may pass to the host in one call.
const MAX_CALL_BYTES: usize = 1 << 20;

/// Runs the guest `verbs`. Returns its output and the error kind of its last failed call.
async fn run(
    host: &Embedder,
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
    let running = host.run(wasi.build(), attempt.clone(), MAX_CALL_BYTES);
    let store = running.await;
    let printed = String::from_utf8(stdout.contents().to_vec()).unwrap();
    let ending = store.data().checkpoint.finish(Duration::from_secs(10));
    let outcome = ending.await;
    assert!(outcome.lost.is_none());
    let failure = outcome.failure.map(|e| e.kind());
    (printed.lines().map(str::to_owned).collect(), failure)
}

#[tokio::test]
async fn guests_with_separate_locations_do_not_see_each_others_checkpoints() {
    let host = Embedder::new();
    let (a, b) = (Place::new(), Place::new());
    let (of_a, of_b) = (begin(&a.store()).await, begin(&b.store()).await);
    let (left, right) = tokio::join!(
        run(&host, &of_a, &a, FsPerms::ReadWrite, "read write=a read"),
        run(&host, &of_b, &b, FsPerms::ReadWrite, "read write=b read"),
    );
    assert_eq!(left.0, ["read none", "write 2", "read \"a\""]);
    assert_eq!(right.0, ["read none", "write 2", "read \"b\""]);
    assert_eq!((left.1, right.1), (None, None));
    assert_eq!(of_a.totals().saves, 1);
}

#[tokio::test]
async fn the_older_of_two_live_guests_on_one_location_is_fenced() {
    let host = Embedder::new();
    let place = Place::new();
    let older = begin(&place.store()).await;
    let newer = begin(&place.store()).await;
    let perms = FsPerms::ReadWrite;
    let (printed, failure) = run(&host, &older, &place, perms, "write=older").await;
    assert_eq!(printed, ["error: fenced"]);
    assert_eq!(failure, Some(ErrorKind::Fenced));
    let (printed, _) = run(&host, &newer, &place, perms, "read write=newer read").await;
    assert_eq!(printed, ["read none", "write 3", "read \"newer\""]);
}

#[tokio::test]
async fn a_read_only_directory_can_be_saved_but_not_restored_to() {
    let host = Embedder::new();
    let place = Place::new();
    std::fs::write(place.work().join("a"), "contents").unwrap();
    let attempt = begin(&place.store()).await;
    let verbs = "save=/data/a restore=/data/b";
    let (printed, failure) = run(&host, &attempt, &place, FsPerms::ReadOnly, verbs).await;
    assert_eq!(printed, ["save 2", "error: read-only"]);
    assert_eq!(failure, Some(ErrorKind::ReadOnly));
    assert!(!place.work().join("b").exists());
}
