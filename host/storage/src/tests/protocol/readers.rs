//! Readers that list the log while its owner commits and prunes.

use object_store::ObjectStoreExt;

use crate::paths;
use crate::tests::faulty_store::FaultyStore;
use crate::tests::forge::claim;
use crate::tests::{at, begin_keeping, checkpoints, memory};

#[tokio::test]
async fn a_reader_beside_a_pruning_owner_always_finds_a_checkpoint() {
    let (inner, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner);
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.settle().await;
    // The reader sees the old list. Of its records, only the claim is left.
    assert_eq!(checkpoints(&at(store)).await, [3]);
}

/// Found by the model: the reader lists a slot that holds a commit, and finds a claim when it reads it.
#[tokio::test]
async fn a_late_claim_does_not_hide_a_commit_from_a_reader() {
    let (inner, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner.clone());
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.settle().await;
    let pruned = paths::record(location.prefix(), 2);
    inner.put(&pruned, claim(2).into()).await.unwrap();
    assert_eq!(checkpoints(&at(store)).await, [3]);
}
