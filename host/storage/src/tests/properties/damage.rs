//! After damage to any objects, a reader gets an intact checkpoint or an error.

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use proptest::sample::Index;

use super::histories::{World, on_disk, steps};
use super::{block_on, config};
use crate::ResumePoint;
use crate::checkpoint::Checkpoint;
use crate::error::ErrorKind;
use crate::tests::{begin, dir_tree};
use crate::tree::target::Existing;

/// Damage to an object of a location.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index),
    Cut(Index),
    Append(Vec<u8>),
    Delete,
    /// Swaps its contents with those of another object.
    Swap(Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<Index>().prop_map(Harm::Flip),
        any::<Index>().prop_map(Harm::Cut),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(Harm::Append),
        Just(Harm::Delete),
        any::<Index>().prop_map(Harm::Swap),
    ]
}

/// Does the damage and returns the paths of the objects that changed, if any.
async fn damage(store: &InMemory, victim: Index, harm: &Harm) -> Vec<ObjectPath> {
    let metas: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = metas.into_iter().map(|meta| meta.location).collect();
    paths.sort();
    let path = victim.get(&paths);
    let read = async |path| store.get(path).await.unwrap().bytes().await.unwrap();
    let whole = read(path).await;
    let mut bytes = whole.to_vec();
    match harm {
        Harm::Flip(bit) => {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Harm::Cut(length) => bytes.truncate(length.index(bytes.len())),
        Harm::Append(more) => bytes.extend(more),
        Harm::Delete => {
            store.delete(path).await.unwrap();
            return vec![path.clone()];
        }
        Harm::Swap(other) => {
            let other = other.get(&paths);
            let others = read(other).await;
            if others == whole {
                return Vec::new();
            }
            store.put(path, others.into()).await.unwrap();
            store.put(other, whole.into()).await.unwrap();
            return vec![path.clone(), other.clone()];
        }
    }
    store.put(path, bytes.into()).await.unwrap();
    vec![path.clone()]
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_read_of_a_damaged_location_gives_a_whole_checkpoint_or_reports_the_damage(
        steps in steps(8),
        victim in any::<Index>(),
        harm in harm(),
    ) {
        block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.take(step).await;
            }
            let retained = world.location.checkpoints().await.unwrap();
            let changed = damage(&world.store, victim, &harm).await;
            world.assert_reported(&changed, &harm, retained).await;
        });
    }
}

impl World {
    /// Asserts that damage to these objects is reported, and that reads give intact checkpoints.
    async fn assert_reported(
        &self,
        changed: &[ObjectPath],
        harm: &Harm,
        retained: Vec<Checkpoint>,
    ) {
        let records = changed
            .iter()
            .filter(|path| path.as_ref().contains("/log/"));
        let records = records.count();
        // A missing newest record looks the same as one that was never put.
        let deleted = matches!(harm, Harm::Delete) && records > 0;
        let report = self.location.verify().await.unwrap();
        if !changed.is_empty() && !deleted {
            assert!(!report.findings.is_empty(), "verify found nothing");
        }
        let attempt = begin(&self.location).await;
        let target = self.temp.path().join("after");
        let restored = attempt.restore(dir_tree(&target), Existing::Refuse).await;
        match &restored {
            Ok(Some(_)) => {
                let content = on_disk(&target);
                assert!(
                    self.ever.contains(&content),
                    "restored contents that were never committed"
                );
                let newest = retained.first().map(|c| c.sequence);
                let lost = |s: u64| report.findings.iter().any(|f| f.costs.contains(&s));
                if !deleted && !newest.is_none_or(lost) {
                    assert!(
                        self.model.last() == Some(&content),
                        "fell back although the newest checkpoint is intact"
                    );
                }
            }
            Ok(None) => assert!(
                retained.is_empty() || deleted,
                "the location counts as fresh"
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
        let point = attempt.resume_point().await;
        match (&restored, point) {
            (Ok(None), Ok(ResumePoint::Fresh)) | (Err(_), Err(_)) => {}
            (Ok(Some(given)), Ok(ResumePoint::Resumed(checkpoint))) => {
                assert_eq!(checkpoint.sequence, *given);
                let newest = retained.first().map(|c| c.sequence);
                assert!(
                    Some(*given) == newest || deleted,
                    "fell back without reporting it"
                );
            }
            (
                Ok(Some(given)),
                Ok(ResumePoint::FellBack {
                    checkpoint,
                    damaged,
                    ..
                }),
            ) => {
                assert_eq!(checkpoint.sequence, *given);
                assert!(
                    damaged > *given,
                    "reported damage that is older than the checkpoint"
                );
            }
            (restored, point) => panic!("{restored:?} {point:?}"),
        }
        // The attempt can save, and the next attempt resumes from that.
        attempt.write("after".into()).await.unwrap();
        let next = begin(&self.location).await.read().await.unwrap();
        assert_eq!(next.as_deref(), Some(&b"after"[..]));
    }
}
