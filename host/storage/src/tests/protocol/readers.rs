//! Readers that list the log while its owner commits and prunes.

use object_store::ObjectStoreExt;

use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::paths;
use crate::tests::faulty_store::FaultyStore;
use crate::tests::forge::claim;
use crate::tests::{at, begin, begin_keeping, checkpoints, dir_tree, large, memory};
use crate::tree::target::Existing;

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

/// Found by the simulation: the newest records are listed first, and had been pruned when the oldest were listed. A
/// reader beside a busy owner gave up.
#[tokio::test]
async fn a_list_of_several_pages_ends_with_the_newest_records() {
    let (inner, location) = memory();
    for _ in 0..5 {
        begin(&location).await;
    }
    let owner = begin_keeping(&location, 1).await;
    owner.write("one".into()).await.unwrap();
    let store = FaultyStore::new(inner);
    // Its pages have three names.
    let reader = at(store.clone()).with_environment(Environment::simulated());
    assert_eq!(checkpoints(&reader).await, [7]);
    let requests = store.operations();
    store.freeze_list().await;
    owner.write("two".into()).await.unwrap();
    owner.settle().await;
    assert_eq!(checkpoints(&reader).await, [8]);
    // It needs no second round. The old list does not count.
    assert_eq!(store.operations(), 2 * requests - 1);
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

#[tokio::test]
async fn what_a_running_attempt_prunes_is_not_taken_for_damage() {
    let (_, location) = memory();
    let owner = begin_keeping(&location, 1).await;
    owner.write(large(1)).await.unwrap();
    let mut found = location.resumable().await.unwrap();
    let [pruned] = &found.checkpoints[..] else {
        panic!("one checkpoint is expected");
    };
    let pruned = pruned.clone();
    owner.write(large(2)).await.unwrap();
    owner.settle().await;
    // Whoever asks for this one is told to try again.
    let read = pruned.read(&Limits::default()).await.unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Unavailable, "{read}");
    assert_eq!(
        pruned.verify().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    // Whoever asks for the newest gets it.
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("target");
    let limits = Limits::default();
    let restored = found.restore(dir_tree(&target), Existing::Refuse, &limits);
    assert_eq!(restored.await.unwrap().unwrap().info().sequence, 3);
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    assert!(std::fs::read(target).unwrap() == large(2));
}
