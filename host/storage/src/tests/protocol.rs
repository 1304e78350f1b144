//! The lines of the protocol, one after the other.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use object_store::ObjectStoreExt;

use super::faulty_store::{Fault, FaultyStore};
use super::{at, begin, keep, large, memory, text};
use crate::contents::read::list_objects;
use crate::error::ErrorKind;
use crate::format::{Claim, Record, WriteId};
use crate::limits::Limits;
use crate::location::{Location, OpenLocation};
use crate::log::slot;
use crate::metadata::Metadata;
use crate::paths;
use crate::{Attempt, AttemptSettings, ResumePoint};

#[tokio::test]
async fn nothing_at_all_is_fresh() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    assert!(!attempt.prev_exists().await.unwrap());
    assert_eq!(attempt.read().await.unwrap(), None);
    assert_eq!(attempt.resume_point().await.unwrap(), ResumePoint::Fresh);
}

#[tokio::test]
async fn a_new_attempt_goes_on_from_the_newest_commit() {
    let (_, location) = memory();
    let first = begin(&location).await;
    first.write("one".into()).await.unwrap();
    let saved = first.write("two".into()).await.unwrap();
    let second = begin(&location).await;
    assert_eq!(text(&second).await.as_deref(), Some("two"));
    let ResumePoint::Resumed(checkpoint) = second.resume_point().await.unwrap() else {
        panic!("not resumed");
    };
    assert_eq!(checkpoint.sequence, saved.sequence);
    second.write("three".into()).await.unwrap();
    assert_eq!(text(&second).await.as_deref(), Some("three"));
}

#[tokio::test]
async fn a_claim_fences_every_earlier_attempt() {
    let (_, location) = memory();
    let first = begin(&location).await;
    first.write("first".into()).await.unwrap();
    let second = begin(&location).await;
    let third = begin(&location).await;
    for stale in [&first, &second] {
        for _ in 0..2 {
            let error = stale.write("stale".into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fenced);
        }
    }
    assert_eq!(text(&third).await.as_deref(), Some("first"));
    third.write("third".into()).await.unwrap();
}

#[tokio::test]
async fn a_stale_writer_is_caught_even_after_pruning() {
    let (_, location) = memory();
    let first = begin(&location).await;
    first.write("first".into()).await.unwrap();
    let second = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    for n in 0..5 {
        second.write(format!("second {n}").into()).await.unwrap();
    }
    second.settle().await;
    let error = first.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(text(&second).await.as_deref(), Some("second 4"));
}

#[tokio::test]
async fn racing_claims_have_one_owner() {
    let (_, location) = memory();
    let attempts = futures::future::join_all((0..8).map(|_| begin(&location))).await;
    let mut owners = 0;
    for attempt in attempts {
        match attempt.write("mine".into()).await {
            Ok(_) => owners += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced),
        }
    }
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn a_claim_that_lands_in_a_pruned_slot_is_made_again() {
    let (inner, location) = memory();
    let owner = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner);
    // The newcomer lists here. By the time of its claim, slot 3 is filled, pruned and empty again.
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    let newest = owner.write(large(3)).await.unwrap();
    owner.settle().await;
    assert!(slot::read(&location, 3).await.unwrap().is_none());

    let newcomer = begin(&at(store)).await;
    assert_eq!(newcomer.read().await.unwrap(), Some(large(3)));
    let error = owner.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(newcomer.write("new".into()).await.unwrap().sequence > newest.sequence);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_stands() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let attempt = begin(&at(store.clone())).await;
    store.plan(|op| (op.verb == "put").then_some(Fault::AnswerIsLost));
    let saved = attempt.write("once".into()).await.unwrap();
    assert_eq!(saved.sequence, 2);
    assert_eq!(text(&attempt).await.as_deref(), Some("once"));
}

#[tokio::test]
async fn a_commit_that_lands_late_is_stepped_past() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let attempt = begin(&location).await;
    store.plan(|op| (op.verb == "put" && op.path.contains("/log/")).then_some(Fault::Withheld));
    let error = attempt.write(large(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.plan(|_| None);
    store.release().await;
    let saved = attempt.write(large(2)).await.unwrap();
    assert_eq!(saved.sequence, 3, "the slot after the late one");
    assert_eq!(attempt.read().await.unwrap(), Some(large(2)));
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(2)));
}

#[tokio::test]
async fn the_data_of_an_undecided_commit_outlives_later_failures() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let attempt = begin(&location).await;
    store.plan(|op| (op.verb == "put" && op.path.contains("/log/")).then_some(Fault::Withheld));
    attempt.write(large(1)).await.unwrap_err();
    store.plan(|op| (op.verb == "put" && op.path.contains("/data/")).then_some(Fault::Fails));
    attempt.write(large(2)).await.unwrap_err();
    // The process dies here; the first commit arrives after that.
    drop(attempt);
    store.plan(|_| None);
    store.release().await;
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn a_commit_never_lands_over_a_later_save() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let attempt = begin(&location).await;
    store.plan(|op| (op.verb == "put" && op.path.contains("/log/")).then_some(Fault::Withheld));
    attempt.write(large(1)).await.unwrap_err();
    store.plan(|_| None);
    attempt.write(large(2)).await.unwrap();
    store.release().await;
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(2)));
}

#[tokio::test]
async fn only_the_newest_are_kept_and_nothing_is_orphaned() {
    let (_, location) = memory();
    let attempt = Attempt::begin(location.clone(), keep(2)).await.unwrap();
    for seed in 0..6 {
        attempt.write(large(seed)).await.unwrap();
    }
    attempt.settle().await;
    let kept: Vec<_> = location.checkpoints().await.unwrap();
    let kept: Vec<_> = kept.iter().map(|c| c.info().sequence).collect();
    assert_eq!(kept, [7, 6]);
    assert_eq!(slot::list(&location).await.unwrap(), [1, 6, 7]);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
}

#[tokio::test]
async fn claims_and_the_last_record_before_a_claim_stay() {
    let (_, location) = memory();
    for _ in 0..3 {
        let attempt = Attempt::begin(location.clone(), keep(1)).await.unwrap();
        for seed in 0..3 {
            attempt.write(large(seed)).await.unwrap();
        }
        attempt.settle().await;
    }
    let sequences = slot::list(&location).await.unwrap();
    // Three times a claim and the last of three commits.
    assert_eq!(sequences, [1, 4, 5, 8, 9, 12]);
    // Their data does not.
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_dead_attempt_left_is_swept_by_the_next_claim() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let attempt = begin(&location).await;
    attempt.write(large(1)).await.unwrap();
    store.plan(|op| (op.verb == "put" && op.path.contains("/log/")).then_some(Fault::Fails));
    attempt.write(large(2)).await.unwrap_err();
    store.plan(|_| None);
    drop(attempt);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
    let next = begin(&location).await;
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
    assert_eq!(next.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn the_records_that_a_dead_attempt_would_have_deleted_are_swept_by_the_next_claim() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let attempt = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    store.plan(|op| (op.verb == "delete").then_some(Fault::Fails));
    for seed in 0..4 {
        attempt.write(large(seed)).await.unwrap();
    }
    attempt.settle().await;
    store.plan(|_| None);
    assert_eq!(slot::list(&location).await.unwrap(), [1, 2, 3, 4, 5]);
    begin(&location).await;
    assert_eq!(slot::list(&location).await.unwrap(), [1, 5, 6]);
    assert_eq!(list_objects(&location).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_failed_saves_have_stored_does_not_pile_up() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
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
async fn what_is_being_read_or_used_again_is_not_deleted() {
    let (_, location) = memory();
    let attempt = Attempt::begin(location.clone(), keep(1)).await.unwrap();
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
    assert!(saved.uploaded_bytes < 10_000, "nothing is stored again");
    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
    attempt.write("small".into()).await.unwrap();
    attempt.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_that_is_dropped_has_saved_nothing() {
    let (_, location) = memory();
    let attempt = Arc::new(begin(&location).await);
    attempt.write("kept".into()).await.unwrap();
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    for seed in 0..20 {
        stream.write(large(seed)).await.unwrap();
    }
    drop(stream);
    assert_eq!(text(&attempt).await.as_deref(), Some("kept"));
    assert_eq!(slot::list(&location).await.unwrap(), [1, 2]);
}

fn opened(url: &str) -> OpenLocation {
    url.parse::<Location>().unwrap().open().unwrap()
}

#[tokio::test]
async fn predecessors_that_saved_nothing_are_looked_through() {
    let [a, b, c] =
        ["a", "b", "c"].map(|name| opened(&format!("memory:///protocol/predecessors/{name}")));
    begin(&a).await.write("from a".into()).await.unwrap();
    let after = |previous: &OpenLocation| AttemptSettings::default().previous(previous.clone());
    // The attempt at b dies before its first save, and the one at c is told of b only.
    Attempt::begin(b.clone(), after(&a)).await.unwrap();
    let third = Attempt::begin(c.clone(), after(&b)).await.unwrap();
    assert_eq!(text(&third).await.as_deref(), Some("from a"));
    // Run again without the option, the claim still knows.
    let again = begin(&c).await;
    assert_eq!(text(&again).await.as_deref(), Some("from a"));
    again.write("from c".into()).await.unwrap();
    let own = Attempt::begin(c, after(&a)).await.unwrap();
    assert_eq!(text(&own).await.as_deref(), Some("from c"));
}

#[tokio::test]
async fn a_record_cannot_name_a_predecessor_in_another_storage() {
    let location = opened("memory:///forged-predecessor");
    let claim = Claim {
        epoch: 1,
        write_id: WriteId([0; 16]),
        attempt: 0,
        component: None,
        inherits: Some("s3://somebody-elses/secrets".to_owned()),
    };
    let path = paths::record(location.prefix(), 1);
    let bytes = Record::Claim(claim).encode().unwrap();
    location.store().put(&path, bytes.into()).await.unwrap();
    let refused = Attempt::begin(location, AttemptSettings::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidLocation);
}

#[tokio::test]
async fn a_circle_of_predecessors_ends() {
    let [a, b] = ["a", "b"].map(|name| opened(&format!("memory:///protocol/circle/{name}")));
    let after = |previous: &OpenLocation| AttemptSettings::default().previous(previous.clone());
    Attempt::begin(a.clone(), after(&b)).await.unwrap();
    let attempt = Attempt::begin(b, after(&a)).await.unwrap();
    assert!(!attempt.prev_exists().await.unwrap());
}

#[tokio::test]
async fn a_small_save_is_one_request() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let attempt = begin(&at(store.clone())).await;
    store.plan(|_| None);
    attempt.write(vec![7; 1024].into()).await.unwrap();
    assert_eq!(store.operations(), 1);
}

#[tokio::test]
async fn a_claim_says_whose_it_is() {
    let (inner, location) = memory();
    let settings = AttemptSettings::default().number(4).component([9; 32]);
    Attempt::begin(location.clone(), settings).await.unwrap();
    let path = paths::record(location.prefix(), 1);
    let bytes = inner.get(&path).await.unwrap().bytes().await.unwrap();
    let Record::Claim(claim) = Record::decode(&bytes).unwrap() else {
        panic!("not a claim");
    };
    assert_eq!((claim.attempt, claim.component), (4, Some([9; 32])));
}

#[tokio::test]
async fn pruning_keeps_the_newest_and_fences_whoever_runs() {
    let (_, location) = memory();
    let running = Attempt::begin(location.clone(), keep(5)).await.unwrap();
    for seed in 0..5 {
        running.write(large(seed)).await.unwrap();
    }
    let operator = Attempt::begin(location.clone(), keep(2)).await.unwrap();
    operator.prune().await.unwrap();
    assert_eq!(location.checkpoints().await.unwrap().len(), 2);
    assert_eq!(list_objects(&location).await.unwrap().len(), 2);
    let error = running.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let next = begin(&location).await;
    assert_eq!(next.read().await.unwrap(), Some(large(4)));
    assert!(location.verify().await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn pruning_nothing_is_nothing() {
    let (_, location) = memory();
    assert_eq!(begin(&location).await.prune().await.unwrap(), None);
}

#[tokio::test]
async fn doctor_finds_a_storage_that_ignores_conditions() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let faults = |probes: Vec<crate::inspect::doctor::Probe>| {
        probes.into_iter().filter(|p| p.fault.is_some())
    };
    assert_eq!(faults(location.doctor().await.unwrap()).count(), 0);
    store.ignore_conditions();
    let names: Vec<_> = faults(location.doctor().await.unwrap())
        .map(|p| p.name)
        .collect();
    assert_eq!(names, ["only one of several writers creates an object"]);
}

#[tokio::test]
async fn a_log_without_a_next_slot_is_damage() {
    let (inner, location) = memory();
    let last = paths::record(location.prefix(), u64::MAX);
    inner.put(&last, "not ours".into()).await.unwrap();
    let begun = Attempt::begin(location, AttemptSettings::default()).await;
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_storage_that_ignores_conditions_is_refused_for_writing() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    store.ignore_conditions();
    let refused = Attempt::begin(at(store), AttemptSettings::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidLocation);
}

#[tokio::test]
async fn a_reader_beside_a_pruning_owner_never_finds_nothing() {
    let (inner, location) = memory();
    let owner = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner);
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.settle().await;
    // It lists what was there before, none of which but the claim is left.
    let found = at(store).checkpoints().await.unwrap();
    let found: Vec<_> = found.iter().map(|c| c.info().sequence).collect();
    assert_eq!(found, [3]);
}

/// Found by the model: the slot that the reader has listed as a commit's holds a claim when it reads.
#[tokio::test]
async fn a_claim_that_came_late_does_not_hide_a_commit_from_a_reader() {
    let (inner, location) = memory();
    let owner = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner.clone());
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.settle().await;
    let late = Claim {
        epoch: 2,
        write_id: WriteId::random().unwrap(),
        attempt: 1,
        component: None,
        inherits: None,
    };
    let late = Record::Claim(late).encode().unwrap();
    let pruned = paths::record(location.prefix(), 2);
    inner.put(&pruned, late.into()).await.unwrap();
    let found = at(store).checkpoints().await.unwrap();
    let found: Vec<_> = found.iter().map(|c| c.info().sequence).collect();
    assert_eq!(found, [3]);
}

#[tokio::test]
async fn a_stream_that_has_failed_fails_again_and_does_not_hang() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let attempt = Arc::new(begin(&at(store.clone())).await);
    store.plan(|op| op.path.contains("/data/").then_some(Fault::Fails));
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    // The storage fails some pieces later, when data objects are full.
    let mut seed = 0;
    while stream
        .write(super::noise(seed, 8 << 20).into())
        .await
        .is_ok()
    {
        seed += 1;
        assert!(seed < 50, "it never fails");
    }
    stream.write(large(1)).await.unwrap_err();
    stream.commit().await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_nobody_waits_for_holds_up_no_other_call() {
    let (_, location) = memory();
    let first = Arc::new(begin(&location).await);
    first.write(large(1)).await.unwrap();
    let mut stream = first.read_stream().await.unwrap().unwrap();
    // A newer attempt sweeps what is being read, which is looked into at the end of it.
    let second = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    second.write("instead".into()).await.unwrap();
    second.settle().await;
    let mut reading = Box::pin(async {
        while stream.next().await?.is_some() {}
        Ok::<_, crate::error::Error>(())
    });
    let failed = loop {
        if let Some(read) = reading.as_mut().now_or_never() {
            break read.unwrap_err();
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), first.prev_exists());
        answer.await.expect("it is not held up").unwrap();
        tokio::task::yield_now().await;
    };
    assert_eq!(failed.kind(), ErrorKind::Fenced);
}
