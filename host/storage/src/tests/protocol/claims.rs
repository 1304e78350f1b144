//! How attempts begin and fence each other.

use object_store::ObjectStoreExt;

use crate::error::ErrorKind;
use crate::format::Record;
use crate::log::slot;
use crate::paths;
use crate::tests::faulty_store::FaultyStore;
use crate::tests::{at, begin, begin_keeping, faulty, large, memory, text};
use crate::{Attempt, AttemptSettings, Lookahead, ResumePoint};

#[tokio::test]
async fn an_empty_location_is_fresh() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    assert!(!attempt.prev_exists().await.unwrap());
    assert_eq!(attempt.read().await.unwrap(), None);
    assert_eq!(attempt.resume_point().await.unwrap(), ResumePoint::Fresh);
}

#[tokio::test]
async fn a_new_attempt_resumes_from_the_newest_commit() {
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
async fn an_attempt_that_looked_ahead_fences_whoever_claimed_meanwhile() {
    let (_, location) = memory();
    begin(&location).await.write("first".into()).await.unwrap();
    let ahead = Lookahead::read(location.clone()).await.unwrap();
    let meanwhile = begin(&location).await;
    meanwhile.write("meanwhile".into()).await.unwrap();
    let settings = AttemptSettings::default();
    let attempt = Attempt::begin_after(ahead, settings).await.unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("meanwhile"));
    attempt.write("last".into()).await.unwrap();
    let error = meanwhile.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn an_attempt_that_looked_ahead_claims_above_what_was_saved_and_pruned_meanwhile() {
    let (_, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    owner.write("seen".into()).await.unwrap();
    let ahead = Lookahead::read(location.clone()).await.unwrap();
    // The slot above the newest record that was seen is filled, and freed again.
    for save in ["two", "three", "four"] {
        owner.write(save.into()).await.unwrap();
    }
    owner.settle().await;
    let settings = AttemptSettings::default();
    let attempt = Attempt::begin_after(ahead, settings).await.unwrap();
    assert_eq!(text(&attempt).await.as_deref(), Some("four"));
    attempt.write("last".into()).await.unwrap();
    let error = owner.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(text(&begin(&location).await).await.as_deref(), Some("last"));
}

#[tokio::test]
async fn a_stale_writer_is_fenced_even_after_pruning() {
    let (_, location) = memory();
    let first = begin(&location).await;
    first.write("first".into()).await.unwrap();
    let second = begin_keeping(&location, 1).await;
    for n in 0..5 {
        second.write(format!("second {n}").into()).await.unwrap();
    }
    second.settle().await;
    let error = first.write("stale".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(text(&second).await.as_deref(), Some("second 4"));
}

#[tokio::test]
async fn racing_claims_have_exactly_one_owner() {
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
async fn a_claim_that_lands_in_a_pruned_slot_is_retried() {
    let (inner, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner);
    // The newcomer sees this list. By the time it claims, slot 3 has been filled and pruned.
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
async fn a_claim_records_its_attempt_and_component() {
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
async fn a_foreign_object_in_the_last_slot_is_damage() {
    let (inner, location) = memory();
    let last = paths::record(location.prefix(), (1 << 63) - 1);
    inner.put(&last, "not ours".into()).await.unwrap();
    let begun = Attempt::begin(location, AttemptSettings::default()).await;
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn foreign_objects_beside_the_slots_are_ignored() {
    let (inner, location) = memory();
    for sequence in [0, 1 << 63, u64::MAX] {
        let foreign = paths::record(location.prefix(), sequence);
        inner.put(&foreign, "not ours".into()).await.unwrap();
    }
    let attempt = begin(&location).await;
    assert!(!attempt.prev_exists().await.unwrap());
    assert_eq!(attempt.write("one".into()).await.unwrap().sequence, 2);
    assert_eq!(text(&begin(&location).await).await.as_deref(), Some("one"));
}

#[tokio::test]
async fn storage_that_ignores_conditional_puts_is_refused_for_writing() {
    let (store, location) = faulty();
    store.ignore_conditions();
    let refused = Attempt::begin(location, AttemptSettings::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidLocation);
}

#[tokio::test]
async fn doctor_detects_storage_that_ignores_conditional_puts() {
    let (store, location) = faulty();
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
