//! Pruning where something is damaged: it looks before it deletes, and an operator can give up what is damaged.

use std::num::NonZeroUsize;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::damage::{flip, objects};
use super::{begin, begin_keeping, checkpoints, large, memory, prune};
use crate::error::{ErrorKind, Result};
use crate::format::{MAX_GIVEN_UP, Record};
use crate::location::OpenLocation;
use crate::log::slot;
use crate::{Examine, OnDamage, PrunePlan};

async fn plan(
    location: &OpenLocation,
    keep: usize,
    examine: Examine,
    on_damage: OnDamage,
) -> Result<PrunePlan> {
    let keep = NonZeroUsize::new(keep).unwrap();
    location.plan_prune(keep, examine, on_damage).await
}

/// A location with four checkpoints, in slots 2 to 5, each with a data object of its own.
async fn four() -> (std::sync::Arc<InMemory>, OpenLocation) {
    let (store, location) = memory();
    let attempt = begin_keeping(&location, 4).await;
    for seed in 2..6 {
        attempt.write(large(seed)).await.unwrap();
    }
    (store, location)
}

/// The data object that the n-th save made.
async fn data(store: &InMemory, n: usize) -> Path {
    objects(store, "data").await[n].clone()
}

async fn give_up(location: &OpenLocation, keep: usize) -> PrunePlan {
    let plan = plan(location, keep, Examine::Kept, OnDamage::GiveUp);
    let plan = plan.await.unwrap();
    begin(location).await.prune(&plan).await.unwrap();
    plan
}

#[tokio::test]
async fn pruning_deletes_nothing_if_the_newest_checkpoint_is_damaged() {
    let (store, location) = four().await;
    flip(&store, &data(&store, 3).await, 100).await;
    let before = objects(&store, "").await;
    let refused = prune(&begin(&location).await, 1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("checkpoint 5"), "{refused}");
    assert!(refused.to_string().contains("--give-up"), "{refused}");
    let after = objects(&store, "").await;
    assert!(before.iter().all(|path| after.contains(path)));
}

#[tokio::test]
async fn giving_up_a_damaged_checkpoint_keeps_the_newest_whole_ones() {
    let (store, location) = four().await;
    flip(&store, &data(&store, 3).await, 100).await;
    let plan = give_up(&location, 2).await;
    assert_eq!((plan.kept, plan.deleted), (vec![4, 3], vec![5, 2]));
    let read = begin(&location).await.read().await.unwrap();
    assert_eq!(read, Some(large(4)));
    let report = location.verify().await.unwrap();
    assert_eq!((report.findings, report.objects), (vec![], 2));
}

#[tokio::test]
async fn a_damaged_record_is_reported_until_it_is_given_up_and_never_deleted() {
    let (store, location) = four().await;
    let record = objects(&store, "log").await.remove(0);
    flip(&store, &record, 40).await;
    assert_eq!(location.verify().await.unwrap().findings.len(), 1);
    // Pruning without the option changes nothing.
    let refused = plan(&location, 1, Examine::Newest, OnDamage::Refuse).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    let plan = give_up(&location, 9).await;
    assert_eq!((plan.given_up, plan.kept), (vec![5], vec![4, 3, 2]));
    assert!(
        store.get(&record).await.is_ok(),
        "a slot must never be free again"
    );
    let report = location.verify().await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // The data that only the damaged commit needed is gone.
    assert_eq!(report.objects, 3);
    // Later commits repeat it.
    begin(&location).await.write("more".into()).await.unwrap();
    assert!(location.verify().await.unwrap().findings.is_empty());
    assert!(location.resumable().await.unwrap().damaged.is_empty());
}

#[tokio::test]
async fn a_damaged_claim_below_the_newest_commit_can_be_given_up() {
    let (store, location) = four().await;
    let claim = objects(&store, "log").await.pop().unwrap();
    flip(&store, &claim, 20).await;
    assert_eq!(location.verify().await.unwrap().findings.len(), 1);
    assert_eq!(give_up(&location, 9).await.given_up, [1]);
    assert!(location.verify().await.unwrap().findings.is_empty());
    assert!(store.get(&claim).await.is_ok());
}

#[tokio::test]
async fn reading_all_finds_damage_in_older_checkpoints() {
    let (store, location) = four().await;
    flip(&store, &data(&store, 2).await, 100).await;
    let newest = plan(&location, 2, Examine::Newest, OnDamage::Refuse);
    assert_eq!(newest.await.unwrap().kept, [5, 4]);
    let all = plan(&location, 2, Examine::Kept, OnDamage::Refuse);
    assert_eq!(all.await.unwrap().kept, [5, 3]);
}

#[tokio::test]
async fn a_plan_is_refused_if_the_location_has_changed() {
    let (_, location) = four().await;
    let plan = plan(&location, 1, Examine::Newest, OnDamage::Refuse);
    let plan = plan.await.unwrap();
    begin(&location).await.write("later".into()).await.unwrap();
    let refused = begin(&location).await.prune(&plan).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Other);
    assert_eq!(checkpoints(&location).await, [7, 5, 4, 3]);
}

#[tokio::test]
async fn pruning_keeps_what_its_plan_says_even_if_the_location_keeps_fewer() {
    let (_, location) = four().await;
    begin_keeping(&location, 1).await;
    let plan = plan(&location, 3, Examine::Newest, OnDamage::Refuse);
    let plan = plan.await.unwrap();
    begin(&location).await.prune(&plan).await.unwrap();
    assert_eq!(checkpoints(&location).await, [8, 4, 3]);
}

#[tokio::test]
async fn a_location_whose_checkpoints_are_all_damaged_is_not_pruned() {
    let (store, location) = four().await;
    for object in objects(&store, "data").await {
        flip(&store, &object, 100).await;
    }
    let refused = plan(&location, 4, Examine::Kept, OnDamage::GiveUp).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn no_commit_gives_up_more_slots_than_a_reader_accepts() {
    let (_, location) = four().await;
    let mut commit = match slot::read(&location, 5).await.unwrap() {
        Some(Record::Commit(commit)) => *commit,
        other => panic!("{other:?}"),
    };
    commit.retains = vec![20_000];
    for (count, is_read) in [(MAX_GIVEN_UP, true), (MAX_GIVEN_UP + 1, false)] {
        commit.given_up = (1..=count as u64).collect();
        let bytes = Record::Commit(commit.clone().into()).encode().unwrap();
        assert_eq!(Record::decode(&bytes).is_ok(), is_read, "{count}");
    }
}
