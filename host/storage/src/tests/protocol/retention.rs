//! What is kept, what is deleted, and when.

use std::sync::Arc;

use object_store::ObjectStoreExt;

use crate::contents::read::list_objects;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::log::slot;
use crate::metadata::Metadata;
use crate::tests::faulty_store::Fault;
use crate::tests::{begin, begin_keeping, checkpoints, faulty, large, memory, prune, text};
use crate::{Attempt, AttemptSettings};

#[tokio::test]
async fn only_the_newest_checkpoints_are_kept_and_no_data_is_orphaned() {
    let (_, location) = memory();
    let attempt = begin_keeping(&location, 2).await;
    for seed in 0..6 {
        attempt.write(large(seed)).await.unwrap();
    }
    attempt.settle().await;
    assert_eq!(checkpoints(&location).await, [7, 6]);
    assert_eq!(slot::list(&location).await.unwrap(), [1, 6, 7]);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
}

#[tokio::test]
async fn claims_and_the_last_record_before_each_claim_are_kept() {
    let (_, location) = memory();
    for _ in 0..3 {
        let attempt = begin_keeping(&location, 1).await;
        for seed in 0..3 {
            attempt.write(large(seed)).await.unwrap();
        }
        attempt.settle().await;
    }
    let sequences = slot::list(&location).await.unwrap();
    // Three times: a claim, and the last of its three commits.
    assert_eq!(sequences, [1, 4, 5, 8, 9, 12]);
    // Only the newest data is kept.
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_next_claim_sweeps_orphaned_data() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    attempt.write(large(1)).await.unwrap();
    store.fail_puts("/log/", Fault::Fails);
    attempt.write(large(2)).await.unwrap_err();
    store.recover();
    drop(attempt);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
    let next = begin(&location).await;
    next.settle().await;
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
    assert_eq!(next.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn the_next_claim_sweeps_records_that_a_dead_attempt_failed_to_delete() {
    let (store, location) = faulty();
    let attempt = begin_keeping(&location, 1).await;
    store.plan(|op| (op.verb == "delete").then_some(Fault::Fails));
    for seed in 0..4 {
        attempt.write(large(seed)).await.unwrap();
    }
    attempt.settle().await;
    store.recover();
    assert_eq!(slot::list(&location).await.unwrap(), [1, 2, 3, 4, 5]);
    begin(&location).await.settle().await;
    assert_eq!(slot::list(&location).await.unwrap(), [1, 5, 6]);
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
}

#[tokio::test]
async fn failed_saves_do_not_accumulate_data() {
    let (_, location) = memory();
    let limits = Limits {
        checkpoint_bytes: 40 << 20,
        saves_per_minute: 7,
        ..Limits::default()
    };
    let settings = AttemptSettings::default().limits(limits);
    let attempt = Attempt::begin(location.clone(), settings).await.unwrap();
    attempt.write("kept".into()).await.unwrap();
    let attempt = Arc::new(attempt);
    for _ in 0..6 {
        let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
        let written = async {
            for seed in 0..30 {
                stream.write(large(seed)).await?;
            }
            stream.commit().await
        };
        assert_eq!(written.await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    }
    attempt.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
    let refused = attempt.write("too soon".into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(text(&attempt).await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn data_in_use_by_a_read_or_a_save_is_not_deleted() {
    let (_, location) = memory();
    let attempt = begin_keeping(&location, 1).await;
    let attempt = Arc::new(attempt);
    attempt.write(large(1)).await.unwrap();
    let mut reading = attempt.read_stream().await.unwrap().unwrap();
    let mut saving = attempt.write_stream(Metadata::default()).await.unwrap();
    saving.write(large(1)).await.unwrap();
    for seed in 2..5 {
        attempt.write(large(seed)).await.unwrap();
    }
    attempt.settle().await;
    let mut read = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, large(1));
    drop(reading);
    let saved = saving.commit().await.unwrap();
    assert!(saved.uploaded_bytes < 10_000, "the data is reused");
    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
    attempt.write("small".into()).await.unwrap();
    attempt.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
}

#[tokio::test]
async fn pruning_keeps_the_newest_checkpoints_and_fences_the_running_attempt() {
    let (_, location) = memory();
    let running = begin_keeping(&location, 5).await;
    for seed in 0..5 {
        running.write(large(seed)).await.unwrap();
    }
    let operator = begin(&location).await;
    prune(&operator, 2).await.unwrap();
    assert_eq!(location.checkpoints().await.unwrap().len(), 2);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
    let error = running.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let next = begin(&location).await;
    assert_eq!(next.read().await.unwrap(), Some(large(4)));
    assert!(location.verify().await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn the_location_remembers_how_many_checkpoints_to_keep() {
    let (_, location) = memory();
    let attempt = begin_keeping(&location, 5).await;
    for n in 0..7 {
        attempt.write(n.to_string().into()).await.unwrap();
    }
    // Neither an attempt that does not say nor pruning changes it.
    begin(&location).await.write("7".into()).await.unwrap();
    assert_eq!(checkpoints(&location).await.len(), 5);
    prune(&begin(&location).await, 2).await.unwrap();
    assert_eq!(checkpoints(&location).await.len(), 2);
    let attempt = begin(&location).await;
    for n in 0..7 {
        attempt.write(n.to_string().into()).await.unwrap();
    }
    assert_eq!(checkpoints(&location).await.len(), 5);
    // An attempt that says so changes it, even if it saves nothing.
    begin_keeping(&location, 2).await;
    begin(&location).await.write("last".into()).await.unwrap();
    assert_eq!(checkpoints(&location).await.len(), 2);
}

#[tokio::test]
async fn a_new_location_keeps_three_checkpoints() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    for n in 0..7 {
        attempt.write(n.to_string().into()).await.unwrap();
    }
    assert_eq!(checkpoints(&location).await.len(), 3);
}

#[tokio::test]
async fn nothing_is_pruned_where_no_record_says_how_many_to_keep() {
    let (store, location) = memory();
    let path = crate::paths::record(location.prefix(), 1);
    store.put(&path, "damaged".into()).await.unwrap();
    let attempt = begin(&location).await;
    for n in 0..7 {
        attempt.write(n.to_string().into()).await.unwrap();
    }
    assert_eq!(checkpoints(&location).await.len(), 7);
}

#[tokio::test]
async fn pruning_an_empty_location_is_a_no_op() {
    let (_, location) = memory();
    assert_eq!(prune(&begin(&location).await, 1).await.unwrap(), None);
}
