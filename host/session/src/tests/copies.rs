//! The host's copies of what it saves in the background, and the limits on them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use checkpoint_storage::{
    AttemptSettings, Cancel, DirTree, Error, ErrorKind, Existing, Limits, Result, TreeReader,
    TreeSource,
};

use super::{Place, noise, text};
use crate::{Answer, GuestError, Session};

const SLOW: Duration = Duration::from_secs(1);

/// Begins with other limits.
async fn limited(place: &Place, set: impl FnOnce(&mut Limits)) -> Session {
    let mut limits = Limits::default();
    set(&mut limits);
    let settings = AttemptSettings::default().limits(limits);
    place.begin_with(settings).await
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(answer: Answer<T>) {
    let told = answer.unwrap_err();
    assert!(matches!(told, GuestError::QuotaExceeded(_)), "{told:?}");
}

async fn stage(session: &Session, contents: &str) {
    let contents = contents.to_owned().into();
    let staged = session.write_in_background(contents, vec![]).await;
    staged.unwrap();
    // Let the save begin.
    tokio::task::yield_now().await;
}

async fn save(session: &Session, path: &Path) -> Answer<()> {
    let source = DirTree::ambient(path);
    session.save_in_background(source, vec![]).await
}

fn committed(session: &Session) -> u64 {
    session.attempt().totals().saves
}

/// A source that must not be read.
struct Untouchable;

impl TreeSource for Untouchable {
    fn reader(&self, _limits: &Limits, _cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        Err(Error::new(ErrorKind::Other, "it was read"))
    }
}

#[tokio::test]
async fn a_save_over_the_rate_is_refused_before_anything_is_copied() {
    let place = Place::new();
    let session = limited(&place, |limits| limits.saves_per_minute = 2).await;
    // Each counts once.
    for contents in ["one", "two"] {
        stage(&session, contents).await;
        session.flush().await.unwrap();
    }
    is_refused(session.save_in_background(Ok(Untouchable), vec![]).await);
    is_refused(session.write_in_background("three".into(), vec![]).await);
    is_refused(session.write_borrowed_in_background(b"three", vec![]).await);
    assert_eq!(text(&session).await.as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_save_that_a_newer_one_replaces_does_not_count() {
    let place = Place::new();
    let session = limited(&place, |limits| limits.saves_per_minute = 3).await;
    place.slow_puts(SLOW);
    for n in 0..100 {
        stage(&session, &n.to_string()).await;
    }
    assert_eq!(text(&session).await.as_deref(), Some("99"));
    assert_eq!(committed(&session), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_waits_for_the_save_in_flight_if_both_exceed_the_memory() {
    let place = Place::new();
    let session = limited(&place, |limits| limits.background_bytes = 10).await;
    is_refused(
        session
            .write_in_background("12345678901".into(), vec![])
            .await,
    );
    place.slow_puts(SLOW);
    stage(&session, "in flight").await;
    assert_eq!(committed(&session), 0);
    let next = session.write_borrowed_in_background(b"next", vec![]).await;
    next.unwrap();
    assert_eq!(committed(&session), 1, "it has waited");
    session.flush().await.unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("next"));
}

#[tokio::test(start_paused = true)]
async fn a_write_takes_the_memory_of_the_queued_one_that_it_replaces() {
    let place = Place::new();
    let session = limited(&place, |limits| limits.background_bytes = 10).await;
    place.slow_puts(SLOW);
    for contents in ["four", "queued", "newest"] {
        stage(&session, contents).await;
    }
    assert_eq!(committed(&session), 0, "none has waited");
    session.flush().await.unwrap();
    assert_eq!(text(&session).await.as_deref(), Some("newest"));
    assert_eq!(committed(&session), 2);
}

#[tokio::test]
async fn a_copy_larger_than_the_disk_space_is_refused_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), noise(10_000)).unwrap();
    let place = Place::new();
    let session = limited(&place, |limits| limits.spool_bytes = 8192).await;
    session.write("kept".into(), vec![]).await.unwrap();
    is_refused(save(&session, temp.path()).await);
    assert_eq!(text(&session).await.as_deref(), Some("kept"));
    // Its space has been given back.
    fs::write(temp.path().join("a"), noise(8192)).unwrap();
    save(&session, &temp.path().join("a")).await.unwrap();
    assert!(session.flush().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_copy_waits_for_the_save_in_flight_if_both_exceed_the_disk_space() {
    let temp = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| temp.path().join(name));
    fs::write(&a, noise(600_000)).unwrap();
    fs::write(&b, noise(700_000)).unwrap();
    let place = Place::new();
    let session = limited(&place, |limits| limits.spool_bytes = 1_000_000).await;
    place.slow_puts(SLOW);
    save(&session, &a).await.unwrap();
    assert_eq!(committed(&session), 0);
    save(&session, &b).await.unwrap();
    assert_eq!(committed(&session), 1, "it has waited");
    session.flush().await.unwrap();
    let read = session.read().await.unwrap().unwrap();
    assert_eq!(read.bytes, noise(700_000));
}

#[tokio::test]
async fn holes_are_copied_without_taking_space_and_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a"), "not aligned").unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    for (position, contents) in [(0, "begins"), (20 << 20, "middle"), (40_000_003, "end")] {
        sparse.write_all_at(contents.as_bytes(), position).unwrap();
    }
    sparse.set_len(48 << 20).unwrap();
    fs::write(from.join("zeros"), vec![0; 1 << 20]).unwrap();
    let place = Place::new();
    let session = limited(&place, |limits| limits.spool_bytes = 64 << 10).await;
    save(&session, &from).await.unwrap();
    assert!(session.flush().await.unwrap().is_some());
    let target = DirTree::ambient(&to);
    session.restore(target, Existing::Refuse).await.unwrap();
    for name in ["a", "sparse", "zeros"] {
        let [from, to] = [&from, &to].map(|dir| fs::read(dir.join(name)).unwrap());
        assert!(from == to, "{name}");
    }
}

#[tokio::test]
async fn a_sparse_file_over_the_limit_is_refused_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let huge = File::create(temp.path().join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let session = Place::new().begin().await;
    is_refused(save(&session, temp.path()).await);
}
