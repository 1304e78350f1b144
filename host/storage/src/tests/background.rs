//! Background saves, against a store that is slow or fails.

use std::sync::Arc;

use super::faulty_store::Fault;
use super::{begin, faulty, large, text};
use crate::Attempt;
use crate::BackgroundSaves;
use crate::error::ErrorKind;
use crate::metadata::Metadata;

async fn write(
    saves: &BackgroundSaves,
    attempt: &Arc<Attempt>,
    text: &str,
) -> crate::error::Result<()> {
    let contents = text.to_owned().into();
    saves.write(attempt, contents, Metadata::default()).await
}

#[tokio::test]
async fn a_flushed_save_is_committed() {
    let (_, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    assert_eq!(saves.flush().await.unwrap(), None);
    write(&saves, &attempt, "one").await.unwrap();
    let saved = saves.flush().await.unwrap().unwrap();
    assert_eq!((saved.sequence, saved.logical_bytes), (2, 3));
    assert_eq!(
        saves.flush().await.unwrap(),
        None,
        "a result is reported once"
    );
    assert_eq!(text(&begin(&location).await).await.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_newer_save_replaces_the_queued_one() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    store.fail_puts("", Fault::Slow);
    for n in 0..10_000 {
        write(&saves, &attempt, &format!("{n}")).await.unwrap();
    }
    assert!(saves.is_busy().await);
    saves.flush().await.unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("9999"));
    assert!(attempt.totals().saves < 10, "{:?}", attempt.totals());
}

#[tokio::test]
async fn a_failure_is_reported_once_by_the_next_call() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    attempt.write("kept".into()).await.unwrap();
    let saves = BackgroundSaves::default();
    store.fail_puts("", Fault::Fails);
    write(&saves, &attempt, "lost").await.unwrap();
    let failed = saves.flush().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(saves.flush().await.unwrap(), None);
    store.recover();
    write(&saves, &attempt, "later").await.unwrap();
    saves.flush().await.unwrap().unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("later"));
}

#[tokio::test(start_paused = true)]
async fn a_foreground_save_supersedes_all_background_saves() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    let saves = BackgroundSaves::default();
    store.fail_puts("", Fault::Slow);
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
async fn a_directory_may_change_once_the_call_returns() {
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
