//! Background saves, and their order relative to other calls.

use std::time::Duration;

use checkpoint_storage::{AttemptSettings, DirTree, ErrorKind, Limits};

use super::{Place, noise, text};
use crate::GuestError;

const SLOW: Duration = Duration::from_secs(1);

/// The storage quota in the tests of failing saves.
const QUOTA_BYTES: u64 = 10_000;

fn small_quota() -> AttemptSettings {
    let mut limits = Limits::default();
    limits.stored_bytes = QUOTA_BYTES;
    AttemptSettings::default().limits(limits)
}

#[tokio::test]
async fn a_read_sees_a_save_in_the_background() {
    let session = Place::new().begin().await;
    let staged = session.write_in_background("one".into(), vec![]).await;
    staged.unwrap();
    assert!(session.prev_exists().await.unwrap());
    session
        .write_in_background("two".into(), vec![])
        .await
        .unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("two"));
}

#[tokio::test]
async fn flushed_saves_are_committed() {
    let place = Place::new();
    let session = place.begin().await;
    assert_eq!(session.flush().await.unwrap(), None);
    session
        .write_in_background("one".into(), vec![])
        .await
        .unwrap();
    let saved = session.flush().await.unwrap().unwrap();
    assert_eq!((saved.sequence, saved.logical_bytes), (2, 3));
    assert_eq!(session.flush().await.unwrap(), None, "it is returned once");
    assert_eq!(place.found().await.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_newer_save_replaces_the_one_that_waits() {
    let place = Place::new();
    let session = place.begin().await;
    place.slow_puts(SLOW);
    for n in 0..1000 {
        let contents = n.to_string().into();
        session.write_in_background(contents, vec![]).await.unwrap();
    }
    session.flush().await.unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("999"));
    let totals = session.attempt().totals();
    assert!(totals.saves < 10, "{totals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_save_in_the_foreground_supersedes_those_in_the_background() {
    let place = Place::new();
    let session = place.begin().await;
    place.slow_puts(SLOW);
    session
        .write_in_background("made".into(), vec![])
        .await
        .unwrap();
    tokio::task::yield_now().await;
    session
        .write_in_background("waits".into(), vec![])
        .await
        .unwrap();
    session.write("newest".into(), vec![]).await.unwrap();
    assert_eq!(session.attempt().totals().saves, 2);
    session.flush().await.unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("newest"));
}

#[tokio::test]
async fn the_next_call_reports_a_failed_save_once() {
    let session = Place::new().begin_with(small_quota()).await;
    session.write("kept".into(), vec![]).await.unwrap();
    let staged = session
        .write_in_background(noise(200_000).into(), vec![])
        .await;
    staged.unwrap();
    let failed = session.read().await.unwrap_err();
    assert!(matches!(failed, GuestError::QuotaExceeded(_)), "{failed:?}");
    let kind = session.last_failure().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::QuotaExceeded));
    assert_eq!(text(&session).await.as_deref(), Some("kept"));
    assert!(session.last_failure().is_none());
}

#[tokio::test]
async fn a_directory_may_change_once_its_save_is_staged() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("weights");
    std::fs::write(&file, "old").unwrap();
    let session = Place::new().begin().await;
    let source = DirTree::ambient(temp.path());
    session.save_in_background(source, vec![]).await.unwrap();
    std::fs::write(&file, "new").unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("old"));
}
