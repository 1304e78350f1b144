//! What the simulation has found, each as a test of its own.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use object_store::ObjectStoreExt;

use super::faulty_store::{Fault, FaultyStore};
use super::{at, begin, keep, memory, noise, text};
use crate::contents::read::list_objects;
use crate::error::{ErrorKind, Result};
use crate::metadata::Metadata;
use crate::paths;
use crate::{Attempt, Saved};

/// A newcomer was told that the storage cannot be reached, because a busy owner had pruned the commit with
/// which its claim collided before it could be read.
#[tokio::test]
async fn a_claim_that_collides_with_what_is_pruned_at_once_is_made_again() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner.clone());
    let location = at(store.clone());
    let owner = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    owner.write("one".into()).await.unwrap();
    store.freeze_list().await;
    let taken = paths::record(location.prefix(), 3);
    let path = taken.to_string();
    store.plan(move |op| {
        if op.verb == "get" && op.path == path {
            inner.delete(&taken).now_or_never().unwrap().unwrap();
        }
        (op.verb == "delete").then_some(Fault::Fails)
    });
    owner.write("two".into()).await.unwrap();
    owner.write("three".into()).await.unwrap();
    let newcomer = begin(&location).await;
    assert_eq!(text(&newcomer).await.as_deref(), Some("three"));
}

/// A newcomer whose claim lay in a pruned slot was told that the storage ignores conditions, because a
/// deletion of what lay there before was delivered once more.
#[tokio::test]
async fn a_deletion_that_is_delivered_twice_does_not_slander_the_storage() {
    let (inner, location) = memory();
    let owner = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner.clone());
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.write("three".into()).await.unwrap();
    owner.settle().await;
    let pruned = paths::record(location.prefix(), 3);
    let mut puts = 0;
    store.plan(move |op| {
        puts += u32::from(op.verb == "put");
        if op.verb == "put" && puts == 2 {
            inner.delete(&pruned).now_or_never().unwrap().unwrap();
        }
        None
    });
    let newcomer = begin(&at(store)).await;
    assert_eq!(text(&newcomer).await.as_deref(), Some("three"));
}

async fn save_as_a_stream(attempt: &Arc<Attempt>, contents: Bytes) -> Result<Saved> {
    let mut stream = attempt.write_stream(Metadata::default()).await?;
    stream.write(contents).await?;
    stream.commit().await
}

/// It was told that what is stored is damaged, and so was whoever pruned with it after that.
#[tokio::test]
async fn a_stream_of_a_fenced_attempt_is_fenced_although_what_it_reuses_is_deleted() {
    let (_, location) = memory();
    let stale = Arc::new(Attempt::begin(location.clone(), keep(1)).await.unwrap());
    let contents = Bytes::from(noise(1, 8 << 20));
    stale.write(contents.clone()).await.unwrap();
    let newer = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    newer.write("newer".into()).await.unwrap();
    newer.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
    // So little of it that it is to be copied from the object that is gone.
    let saved = save_as_a_stream(&stale, contents.slice(..3 << 20)).await;
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(stale.prune().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(text(&newer).await.as_deref(), Some("newer"));
}

/// Every stream failed for ever, because each used the same damaged chunks again.
#[tokio::test]
async fn a_stream_that_meets_damage_says_to_save_again_and_then_relies_on_nothing() {
    let (inner, location) = memory();
    let attempt = Arc::new(Attempt::begin(location.clone(), keep(1)).await.unwrap());
    let contents = Bytes::from(noise(1, 8 << 20));
    attempt.write(contents.clone()).await.unwrap();
    let (name, size_bytes) = list_objects(&location).await.unwrap()[0];
    let path = paths::object(location.prefix(), name);
    let damaged = vec![0; size_bytes as usize];
    inner.put(&path, damaged.into()).await.unwrap();
    let part = contents.slice(..3 << 20);
    let saved = save_as_a_stream(&attempt, part.clone()).await;
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Unavailable);
    save_as_a_stream(&attempt, part.clone()).await.unwrap();
    assert_eq!(attempt.read().await.unwrap(), Some(part));
}
