//! Faults that the simulation has found, one test each.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use object_store::ObjectStoreExt;

use super::faulty_store::{Fault, FaultyStore};
use super::noise::noise;
use super::{at, begin, begin_keeping, checkpoints, memory, prune, text};
use crate::contents::read::list_objects;
use crate::error::{ErrorKind, Result};
use crate::location::OpenLocation;
use crate::metadata::Metadata;
use crate::paths;
use crate::{Attempt, Saved};

/// A new attempt failed as `Unavailable`: its claim conflicted with a commit, and the busy owner pruned that
/// commit before the attempt could read it.
#[tokio::test]
async fn a_claim_that_conflicts_with_a_commit_pruned_at_once_is_retried() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner.clone());
    let location = at(store.clone());
    let owner = begin_keeping(&location, 1).await;
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

/// A new attempt failed because the storage seemed to ignore conditional puts: its claim was in a pruned slot,
/// and the deletion of the earlier record in that slot was delivered again.
#[tokio::test]
async fn a_deletion_delivered_twice_is_not_taken_for_ignored_conditions() {
    let (inner, location) = memory();
    let owner = begin_keeping(&location, 1).await;
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

/// Lets an owner that keeps one checkpoint save so many times, each time when a record is read, and prune the one before.
async fn disturb(store: &FaultyStore, location: &OpenLocation, owner: &Attempt, times: usize) {
    let inner = location.store();
    let mut records = VecDeque::new();
    for _ in 0..=times {
        let saved = owner.write("contents".into()).await.unwrap();
        let path = paths::record(location.prefix(), saved.sequence);
        let record = inner.get(&path).await.unwrap();
        records.push_back((path, record.bytes().await.unwrap()));
    }
    owner.settle().await;
    let ((first, record), (last, _)) = (&records[0], &records[times]);
    inner.put(first, record.clone().into()).await.unwrap();
    inner.delete(last).await.unwrap();
    let location = location.clone();
    store.plan(move |op| {
        if op.verb == "get"
            && records.len() > 1
            && let Some((pruned, _)) = records.pop_front()
        {
            let (saved, record) = &records[0];
            let put = location.store().put(saved, record.clone().into());
            put.now_or_never().unwrap().unwrap();
            let delete = location.store().delete(&pruned);
            delete.now_or_never().unwrap().unwrap();
        }
        None
    });
}

/// A reader gave up after 16 reads.
#[tokio::test]
async fn a_reader_outlasts_an_owner_that_prunes_what_it_has_listed() {
    let (inner, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    let store = FaultyStore::new(inner);
    disturb(&store, &location, &owner, 40).await;
    assert_eq!(checkpoints(&at(store)).await, [42]);
}

/// Its first save failed as `Unavailable`: it read the location for as long as the newer attempt pruned what it had listed.
#[tokio::test]
async fn a_fenced_attempt_is_told_so_beside_a_newer_one_that_saves_all_the_time() {
    let (inner, location) = memory();
    let store = FaultyStore::new(inner);
    // So that the first save reads what the location holds.
    store.plan(|op| (op.verb == "list" && op.path.contains("data")).then_some(Fault::Fails));
    let stale = begin(&at(store.clone())).await;
    let newer = begin_keeping(&location, 1).await;
    disturb(&store, &location, &newer, 200).await;
    let refused = stale.write("stale".into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
}

async fn save_as_a_stream(attempt: &Arc<Attempt>, contents: Bytes) -> Result<Saved> {
    let mut stream = attempt.write_stream(Metadata::default()).await?;
    stream.write(contents).await?;
    stream.commit().await
}

/// The stream failed as `Corrupt`, and so did pruning with its attempt.
#[tokio::test]
async fn a_stream_of_a_fenced_attempt_fails_as_fenced_even_if_its_reused_data_is_deleted() {
    let (_, location) = memory();
    let stale = Arc::new(begin_keeping(&location, 1).await);
    let contents = Bytes::from(noise(1, 8 << 20));
    stale.write(contents.clone()).await.unwrap();
    let newer = begin_keeping(&location, 1).await;
    newer.write("newer".into()).await.unwrap();
    newer.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
    // So little is needed that it would be copied out of the deleted object.
    let saved = save_as_a_stream(&stale, contents.slice(..3 << 20)).await;
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(
        prune(&stale, 1).await.unwrap_err().kind(),
        ErrorKind::Fenced
    );
    assert_eq!(text(&newer).await.as_deref(), Some("newer"));
}

/// Every stream failed for ever, because each reused the same damaged chunks.
#[tokio::test]
async fn a_stream_that_meets_damage_asks_for_a_retry_which_reuses_nothing() {
    let (inner, location) = memory();
    let attempt = Arc::new(begin_keeping(&location, 1).await);
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
