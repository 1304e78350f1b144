//! Damage is reported, falls back to an older checkpoint, and is never mistaken for an empty location.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{begin, large, memory, noise, prune, text};
use crate::ResumePoint;
use crate::error::ErrorKind;
use crate::metadata::Metadata;
use crate::paths;

pub(super) async fn objects(store: &InMemory, folder: &str) -> Vec<Path> {
    let prefix = Path::from(format!("task/{folder}"));
    let metas: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let mut paths: Vec<_> = metas.into_iter().map(|meta| meta.location).collect();
    paths.sort();
    paths
}

pub(super) async fn flip(store: &InMemory, path: &Path, byte: usize) {
    let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
    let mut bytes = bytes.to_vec();
    bytes[byte] ^= 1;
    store.put(path, bytes.into()).await.unwrap();
}

async fn two_saves(first: &[u8], second: &[u8]) -> (Arc<InMemory>, crate::location::OpenLocation) {
    let (store, location) = memory();
    let attempt = begin(&location).await;
    attempt.write(first.to_vec().into()).await.unwrap();
    attempt.write(second.to_vec().into()).await.unwrap();
    (store, location)
}

#[tokio::test]
async fn a_damaged_newest_record_falls_back_and_is_reported() {
    let (store, location) = two_saves(b"one", b"two").await;
    flip(&store, objects(&store, "log").await.first().unwrap(), 40).await;
    let attempt = begin(&location).await;
    assert!(attempt.prev_exists().await.unwrap());
    assert_eq!(text(&attempt).await.as_deref(), Some("one"));
    let point = attempt.resume_point().await.unwrap();
    let ResumePoint::FellBack {
        checkpoint,
        damaged,
        reason,
    } = point
    else {
        panic!("{point:?}");
    };
    assert_eq!((checkpoint.sequence, damaged), (2, 3));
    assert!(reason.contains("does not match its hash"), "{reason}");
    // The task sees the reason, and must not learn where its checkpoints are stored.
    assert!(!reason.contains(location.url()), "{reason}");
    attempt.write("three".into()).await.unwrap();
    assert_eq!(
        text(&begin(&location).await).await.as_deref(),
        Some("three")
    );
}

#[tokio::test]
async fn a_damaged_data_object_falls_back_when_it_is_read() {
    let (store, location) = two_saves(&large(1), &large(2)).await;
    flip(
        &store,
        objects(&store, "data").await.last().unwrap(),
        1_500_000,
    )
    .await;
    let attempt = begin(&location).await;
    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
    let point = attempt.resume_point().await.unwrap();
    assert!(
        matches!(point, ResumePoint::FellBack { damaged: 3, .. }),
        "{point:?}"
    );
}

#[tokio::test]
async fn a_missing_or_truncated_data_object_falls_back_at_once() {
    for cut in [false, true] {
        let (store, location) = two_saves(&large(1), &large(2)).await;
        let path = objects(&store, "data").await.pop().unwrap();
        match cut {
            true => store.put(&path, "short".into()).await.map(drop).unwrap(),
            false => store.delete(&path).await.unwrap(),
        }
        let attempt = begin(&location).await;
        let point = attempt.resume_point().await.unwrap();
        assert!(
            matches!(point, ResumePoint::FellBack { damaged: 3, .. }),
            "{point:?}"
        );
        assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
    }
}

#[tokio::test]
async fn a_location_without_an_intact_checkpoint_is_corrupt_and_not_fresh() {
    let (store, location) = two_saves(&large(1), &large(2)).await;
    for path in objects(&store, "data").await {
        flip(&store, &path, 5).await;
    }
    let attempt = begin(&location).await;
    for _ in 0..2 {
        let error = attempt.read().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for path in objects(&store, "log").await {
        flip(&store, &path, 20).await;
    }
    let attempt = begin(&location).await;
    let kind = |e: crate::error::Error| e.kind();
    let corrupt = ErrorKind::Corrupt;
    assert_eq!(attempt.prev_exists().await.map_err(kind), Err(corrupt));
    assert_eq!(attempt.read().await.map_err(kind), Err(corrupt));
    assert_eq!(attempt.resume_point().await.map_err(kind), Err(corrupt));
    let listed = location.checkpoints().await;
    assert_eq!(listed.map(drop).map_err(kind), Err(corrupt));
    // The damaged data is kept for the operator, and the task can save.
    assert_eq!(objects(&store, "data").await.len(), 2);
    attempt.write("new".into()).await.unwrap();
    assert_eq!(text(&begin(&location).await).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn verify_finds_every_flipped_bit_and_the_checkpoints_it_costs() {
    let (store, location) = two_saves(&large(1), &large(2)).await;
    let clean = location.verify().await.unwrap();
    assert_eq!((clean.records, clean.objects), (3, 2));
    assert!(clean.findings.is_empty(), "{:?}", clean.findings);
    let mut paths = objects(&store, "data").await;
    paths.extend(objects(&store, "log").await);
    for path in paths {
        let size = store.head(&path).await.unwrap().size as usize;
        for byte in [0, size / 3, size / 2, size - 33, size - 1] {
            flip(&store, &path, byte).await;
            let found = location.verify().await.unwrap().findings;
            assert!(!found.is_empty(), "{path} {byte}");
            flip(&store, &path, byte).await;
        }
    }
    let data = objects(&store, "data").await;
    store.delete(&data[1]).await.unwrap();
    let found = location.verify().await.unwrap().findings;
    assert!(found.iter().any(|f| f.costs == [3]), "{found:?}");
}

#[tokio::test]
async fn a_thousand_random_bit_flips_are_all_found_and_never_returned_by_a_read() {
    let (store, location) = two_saves(&large(1), &large(2)).await;
    let mut paths = objects(&store, "data").await;
    paths.extend(objects(&store, "log").await);
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut next = |below: usize| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
    };
    for round in 0..1000 {
        let path = &paths[next(paths.len())];
        let whole = store.get(path).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        let bit = next(whole.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        store.put(path, flipped.into()).await.unwrap();
        let found = location.verify().await.unwrap().findings;
        assert!(!found.is_empty(), "round {round}: bit {bit} of {path}");
        // A read gives the exact contents of a checkpoint or reports damage.
        for checkpoint in location.checkpoints().await.unwrap_or_default() {
            match checkpoint.read_single().await {
                Ok(contents) => assert_eq!(contents, large(checkpoint.sequence as u8 - 1)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            }
        }
        store.put(path, whole.into()).await.unwrap();
    }
}

#[tokio::test]
async fn an_attempt_reuses_nothing_of_its_own_save_once_that_is_damaged() {
    let (store, location) = memory();
    let attempt = begin(&location).await;
    attempt.write("older".into()).await.unwrap();
    attempt.write(large(1)).await.unwrap();
    let [object] = &objects(&store, "data").await[..] else {
        panic!("one data object is expected");
    };
    flip(&store, object, 1000).await;
    let damaged = attempt.read().await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corrupt);
    // Later reads fall back.
    assert_eq!(attempt.read().await.unwrap(), Some("older".into()));
    let saved = attempt.write(large(1)).await.unwrap();
    assert!(saved.uploaded_bytes > 1 << 20, "{saved:?}");
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn a_stream_that_reuses_damaged_data_fails_to_commit() {
    let (store, location) = memory();
    begin(&location).await.write("older".into()).await.unwrap();
    begin(&location).await.write(large(1)).await.unwrap();
    let attempt = std::sync::Arc::new(begin(&location).await);
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    stream.write(large(1)).await.unwrap();
    let [object] = &objects(&store, "data").await[..] else {
        panic!("one data object is expected");
    };
    flip(&store, object, 1000).await;
    assert_eq!(attempt.read().await.unwrap(), Some("older".into()));
    let refused = stream.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    stream.write(large(1)).await.unwrap();
    stream.commit().await.unwrap();
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn data_that_cannot_be_copied_because_it_is_damaged_is_stored_again() {
    let (store, location) = memory();
    let attempt = begin(&location).await;
    let contents = noise(1, 12 << 20);
    attempt.write(contents.clone().into()).await.unwrap();
    let [object] = &objects(&store, "data").await[..] else {
        panic!("one data object is expected");
    };
    flip(&store, object, 1000).await;
    // So little of the object is needed that it is copied, which finds the damage.
    let rest = contents[..3 << 20].to_vec();
    attempt.write(rest.clone().into()).await.unwrap();
    let read = begin(&location).await.read().await.unwrap();
    assert!(read.unwrap() == rest);
}

#[tokio::test]
async fn pruning_below_a_damaged_record_is_refused() {
    let (store, location) = two_saves(b"first", b"second").await;
    let newest = objects(&store, "log").await.remove(0);
    flip(&store, &newest, 40).await;
    let operator = begin(&location).await;
    let refused = prune(&operator, 1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(
        store.get(&newest).await.is_ok(),
        "the damaged record is kept for inspection"
    );
}

#[tokio::test]
async fn a_record_in_the_wrong_slot_is_damage() {
    let (store, location) = two_saves(b"first", b"second").await;
    let newest = objects(&store, "log").await.remove(0);
    let bytes = store.get(&newest).await.unwrap().bytes().await.unwrap();
    let claim = objects(&store, "log").await.pop().unwrap();
    let claim = store.get(&claim).await.unwrap().bytes().await.unwrap();
    for (bytes, slot) in [(claim, 9), (bytes, 1)] {
        let path = paths::record(location.prefix(), slot);
        store.put(&path, bytes.into()).await.unwrap();
    }
    assert_eq!(location.verify().await.unwrap().findings.len(), 2);
}
