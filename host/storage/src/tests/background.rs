//! Saves that go on while the task computes, against a store that fails and hangs.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::faulty_store::{Fault, FaultyStore};
use super::{at, begin, large, text};
use crate::Attempt;
use crate::BackgroundSaves;
use crate::error::ErrorKind;
use crate::location::OpenLocation;
use crate::metadata::Metadata;

fn faulty() -> (Arc<FaultyStore>, OpenLocation) {
    let store = FaultyStore::new(Arc::new(InMemory::new()));
    let location = at(store.clone());
    (store, location)
}

async fn write(
    saves: &BackgroundSaves,
    attempt: &Arc<Attempt>,
    text: &str,
) -> crate::error::Result<()> {
    let contents = text.to_owned().into();
    saves.write(attempt, contents, Metadata::default()).await
}

#[tokio::test]
async fn what_was_flushed_is_committed() {
    let (_, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    assert_eq!(saves.flush().await.unwrap(), None);
    write(&saves, &attempt, "one").await.unwrap();
    let saved = saves.flush().await.unwrap().unwrap();
    assert_eq!((saved.sequence, saved.logical_bytes), (2, 3));
    assert_eq!(saves.flush().await.unwrap(), None, "it is told once");
    assert_eq!(text(&begin(&location).await).await.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_newer_save_replaces_the_one_that_waits() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    store.plan(|op| (op.verb == "put").then_some(Fault::Slow));
    for n in 0..10_000 {
        write(&saves, &attempt, &format!("{n}")).await.unwrap();
    }
    assert!(saves.is_busy().await);
    saves.flush().await.unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("9999"));
    assert!(attempt.totals().saves < 10, "{:?}", attempt.totals());
}

#[tokio::test]
async fn an_error_is_told_by_the_next_call_and_once() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    attempt.write("kept".into()).await.unwrap();
    let saves = BackgroundSaves::default();
    store.plan(|op| (op.verb == "put").then_some(Fault::Fails));
    write(&saves, &attempt, "lost").await.unwrap();
    let failed = saves.flush().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(saves.flush().await.unwrap(), None);
    store.plan(|_| None);
    write(&saves, &attempt, "later").await.unwrap();
    saves.flush().await.unwrap().unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("later"));
}

#[tokio::test(start_paused = true)]
async fn a_save_in_the_foreground_is_newer_than_all_in_the_background() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    store.plan(|op| (op.verb == "put").then_some(Fault::Slow));
    write(&saves, &attempt, "first").await.unwrap();
    tokio::task::yield_now().await;
    write(&saves, &attempt, "waits").await.unwrap();
    saves.supersede().await.unwrap();
    attempt.write("newest".into()).await.unwrap();
    saves.flush().await.unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("newest"));
    assert!(attempt.totals().saves <= 2);
}

#[tokio::test]
async fn a_directory_may_change_when_the_call_returns() {
    use crate::tree::dir::DirTree;

    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("weights"), large(1)).unwrap();
    let (_, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    let source = DirTree::ambient(&dir).unwrap();
    saves
        .save(&attempt, source, Metadata::default())
        .await
        .unwrap();
    std::fs::write(dir.join("weights"), "changed").unwrap();
    saves.flush().await.unwrap().unwrap();
    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
}
