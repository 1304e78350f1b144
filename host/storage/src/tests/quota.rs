//! The quota on everything that a location stores: data objects, records, and what is never deleted.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::faulty_store::Fault;
use super::forge::{self, COMMIT, Cbor};
use super::forged::file;
use super::{begin, dir_tree, faulty, keep, memory, noise, prune, text};
use crate::format::Record;
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::log::slot;
use crate::metadata::Metadata;
use crate::{Attempt, AttemptSettings, ErrorKind, Existing, Result, paths};

/// The most that one claim of these tests takes.
const CLAIM: u64 = 200;

fn limits(stored_bytes: u64) -> Limits {
    Limits {
        stored_bytes,
        annotation_bytes: 1 << 20,
        ..Limits::default()
    }
}

async fn begin_within(location: &OpenLocation, stored_bytes: u64) -> Attempt {
    let settings = AttemptSettings::default().limits(limits(stored_bytes));
    Attempt::begin(location.clone(), settings).await.unwrap()
}

/// How many bytes lie in the storage.
async fn on_disk(store: &InMemory) -> u64 {
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    objects.iter().map(|object| object.size).sum()
}

/// Waits for deletions that run beside the attempt.
async fn comes_down_to(store: &InMemory, most: u64) -> bool {
    for _ in 0..10_000 {
        if on_disk(store).await <= most {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn is_refused<T: std::fmt::Debug>(saved: Result<T>) -> bool {
    match saved {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error:?}");
            true
        }
    }
}

/// Annotations of about 100 KB.
fn annotations(n: usize) -> Metadata {
    Metadata {
        annotations: [(format!("step {n}"), "x".repeat(100_000))].into(),
        schema: None,
    }
}

/// What one save stores in its record alone.
#[derive(Clone, Copy, Debug)]
enum Large {
    Annotations,
    Tree,
    Contents,
}

async fn save(attempt: &Attempt, large: Large, n: usize) -> Result<()> {
    match large {
        Large::Annotations => attempt.write("kept".into()).metadata(annotations(n)).await,
        Large::Tree => {
            let temp = tempfile::tempdir().unwrap();
            for file in 0..1000 {
                let name = format!("{}{n}-{file}", "n".repeat(80));
                fs::write(temp.path().join(name), "").unwrap();
            }
            attempt.save(dir_tree(temp.path())).await
        }
        Large::Contents => attempt.write(noise(n as u64, 60_000).into()).await,
    }
    .map(drop)
}

#[tokio::test]
async fn saves_whose_records_alone_exceed_the_quota_are_refused_and_lose_nothing() {
    for large in [Large::Annotations, Large::Tree, Large::Contents] {
        let (store, location) = memory();
        let attempt = begin_within(&location, 330_000).await;
        let mut left = attempt.bytes_left().await;
        let mut saves = 0;
        while !is_refused(save(&attempt, large, saves).await) {
            // Keeping three, a record that is replaced is deleted only after the next one was put.
            saves += 1;
            attempt.settle().await;
            let now = attempt.bytes_left().await;
            assert!(saves > 3 || now < left, "{large:?}: {now} of {left}");
            left = now;
            assert!(on_disk(&store).await <= 330_000, "{large:?}");
            if saves == 20 {
                break;
            }
        }
        let expected = match large {
            Large::Annotations => 3,
            // Four of them fit.
            Large::Tree | Large::Contents => 20,
        };
        assert_eq!(saves, expected, "{large:?}");
        let before = attempt.prev_exists().await.unwrap();
        assert!(before);
        let report = location.verify().await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.checkpoints.len(), saves.min(3));
        let temp = tempfile::tempdir().unwrap();
        let next = begin_within(&location, 330_000).await;
        let target = dir_tree(&temp.path().join("restored"));
        let restored = next.restore(target, Existing::Refuse).await.unwrap();
        assert_eq!(restored, Some(saves as u64 + 1), "{large:?}");
    }
}

#[tokio::test]
async fn attempts_one_after_another_stay_within_the_quota() {
    const QUOTA: u64 = 1_000_000;
    let (store, location) = memory();
    let (mut refused, mut saved) = (0, 0);
    for attempt_number in 0..40 {
        let attempt = begin_within(&location, QUOTA).await;
        for n in 0..6 {
            // Inline contents, data objects, and a tree's worth of annotations, which the last record has.
            let number = attempt_number * 10 + n;
            let contents = noise(number as u64, [30_000, 120_000, 10][n % 3]);
            let metadata = match n % 3 {
                2 => annotations(number),
                _ => Metadata::default(),
            };
            match is_refused(attempt.write(contents.into()).metadata(metadata).await) {
                true => refused += 1,
                false => saved += 1,
            }
            let stored = on_disk(&store).await;
            let most = QUOTA + CLAIM * (attempt_number as u64 + 1);
            assert!(stored <= most, "attempt {attempt_number}: {stored} stored");
        }
        attempt.settle().await;
    }
    // The last record of each attempt stays, until no other fits.
    assert!(
        refused > 0 && saved > 30,
        "{refused} refused, {saved} saved"
    );
    let attempt = begin_within(&location, QUOTA).await;
    let left = attempt.bytes_left().await;
    // It would fit an empty location.
    let large = noise(1, QUOTA as usize - 100_000);
    let refusal = attempt.write(large.clone().into()).await;
    let refusal = refusal.unwrap_err().to_string();
    assert!(refusal.contains("never deleted"), "{refusal}");
    assert!(refusal.contains("a new location"), "{refusal}");
    assert_eq!(location.verify().await.unwrap().findings, []);
    // That is the way out.
    let store = Arc::new(InMemory::new());
    let other = OpenLocation::new(store, "other".into(), "test:///other");
    let newest = attempt.read().await.unwrap();
    let settings = AttemptSettings::default().previous(location.clone());
    let other = Attempt::begin(other, settings.limits(limits(QUOTA))).await;
    let other = other.unwrap();
    assert_eq!(other.read().await.unwrap(), newest);
    other
        .write(noise(1, left as usize + 1).into())
        .await
        .unwrap();
}

#[tokio::test]
async fn every_record_states_what_stays_below_it() {
    let (store, location) = memory();
    for n in 0..5 {
        let attempt = begin(&location).await;
        for save in 0..n {
            attempt.write(noise(save, 1000).into()).await.unwrap();
        }
        attempt.settle().await;
    }
    let last = begin(&location).await;
    prune(&last, 1).await.unwrap();
    let mut sizes = BTreeMap::new();
    for (sequence, size_bytes) in slot::list_sized(&location).await.unwrap() {
        sizes.insert(sequence, size_bytes);
    }
    let (newest, _) = sizes.pop_last().unwrap();
    // All that is left below the only checkpoint stays for ever.
    let stays: u64 = sizes.values().sum();
    let record = slot::read(&location, newest).await.unwrap().unwrap();
    assert_eq!(record.permanent_bytes(), stays);
    let used = Limits::default().stored_bytes - last.bytes_left().await;
    assert_eq!(used, on_disk(&store).await);
}

#[tokio::test]
async fn claims_and_pruning_are_never_refused() {
    let (store, location) = memory();
    let attempt = begin(&location).await;
    for n in 0..3 {
        let contents: Bytes = noise(n, 50_000).into();
        attempt.write(contents).await.unwrap();
    }
    let small = begin_within(&location, 10).await;
    assert_eq!(small.bytes_left().await, 0);
    assert!(is_refused(small.write("x".into()).await));
    assert!(prune(&small, 1).await.unwrap().is_some());
    let read = small.read().await.unwrap().unwrap();
    assert_eq!(read, noise(2, 50_000));
    // The last record before the claim, and the checkpoint that the prune committed again.
    assert!(on_disk(&store).await < 2 * 50_000 + 1500);
}

#[tokio::test]
async fn the_data_of_a_refused_save_is_deleted_and_does_not_count() {
    let (store, location) = memory();
    let attempt = begin_within(&location, 300_000).await;
    // Its data fits, but not the record.
    let refused = attempt.write(noise(1, 200_000).into());
    assert!(is_refused(refused.metadata(annotations(1)).await));
    assert!(attempt.bytes_left().await > 299_000);
    assert!(comes_down_to(&store, 1000).await);
    let attempt = Arc::new(attempt);
    let mut stream = attempt.write_stream(annotations(1)).await.unwrap();
    stream.write(noise(1, 200_000).into()).await.unwrap();
    assert!(is_refused(stream.commit().await));
    assert!(comes_down_to(&store, 1000).await);
    attempt.write(noise(2, 250_000).into()).await.unwrap();
    attempt.settle().await;
    assert!(on_disk(&store).await < 252_000);
}

#[tokio::test]
async fn saves_at_the_same_time_share_the_quota() {
    let (store, location) = memory();
    let attempt = Arc::new(begin_within(&location, 50 << 20).await);
    let mut streams = Vec::new();
    for n in 0..4 {
        let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
        let mut written = true;
        for part in 0..20 {
            let piece = noise(n * 100 + part, 1 << 20).into();
            written = written && !is_refused(stream.write(piece).await);
        }
        streams.push(stream);
    }
    assert!(on_disk(&store).await <= 50 << 20);
    // A refused save makes room for the others.
    let mut committed = 0;
    for stream in streams {
        committed += usize::from(stream.commit().await.is_ok());
    }
    assert!((1..4).contains(&committed), "{committed}");
    assert!(on_disk(&store).await <= 50 << 20);
}

#[tokio::test]
async fn what_cannot_be_deleted_counts_until_it_is() {
    let (store, location) = faulty();
    let settings = keep(1).limits(limits(1_000_000));
    let attempt = Attempt::begin(location.clone(), settings).await.unwrap();
    store.plan(|op| (op.verb == "delete").then_some(Fault::Fails));
    for n in 0..5 {
        attempt.write(noise(n, 100_000).into()).await.unwrap();
        attempt.settle().await;
    }
    let used = 1_000_000 - attempt.bytes_left().await;
    assert_eq!(used, on_disk(&store.inner).await);
    assert!(used > 500_000);
    store.recover();
    attempt.write(noise(6, 100_000).into()).await.unwrap();
    attempt.settle().await;
    let used = 1_000_000 - attempt.bytes_left().await;
    assert_eq!(used, on_disk(&store.inner).await);
    assert!(used < 310_000, "{used}");
}

/// Puts bytes into a slot of a location in memory.
async fn put(store: &InMemory, location: &OpenLocation, sequence: u64, bytes: Vec<u8>) {
    let path = paths::record(location.prefix(), sequence);
    store.put(&path, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn damage_below_a_claim_counts_with_its_size() {
    let (store, location) = memory();
    let attempt = begin(&location).await;
    attempt.write("older".into()).await.unwrap();
    put(&store, &location, 3, vec![7; 5000]).await;
    put(&store, &location, 4, vec![7; 600]).await;
    let next = begin(&location).await;
    let sizes = slot::list_sized(&location).await.unwrap();
    let below: u64 = sizes.iter().take(4).map(|(_, size_bytes)| size_bytes).sum();
    let Some(Record::Claim(claim)) = slot::read(&location, 5).await.unwrap() else {
        panic!("no claim");
    };
    assert_eq!(claim.permanent_bytes, below);
    next.write("newer".into()).await.unwrap();
    let findings = location.verify().await.unwrap().findings;
    let damaged: Vec<_> = findings.iter().map(|f| f.object.as_str()).collect();
    assert_eq!(
        damaged,
        ["log/09223372036854775805", "log/09223372036854775804"]
    );
}

/// A location whose only checkpoint states this size of the permanent records, and its claim that one.
async fn stating(claim: u64, commit: u64) -> (Arc<InMemory>, OpenLocation) {
    let (store, location) = memory();
    let claim = forge::claim_with(1, [(8, Cbor::Uint(claim))]);
    put(&store, &location, 1, claim).await;
    let payload = forge::commit([
        (5, Cbor::Array(vec![file("", 4)])),
        (6, Cbor::Bytes(b"kept".to_vec())),
        (14, Cbor::Uint(commit)),
    ]);
    put(&store, &location, 2, forge::record(1, COMMIT, &payload)).await;
    (store, location)
}

#[tokio::test]
async fn a_forged_size_does_not_lock_the_location() {
    let honest = forge::claim(1).len() as u64;
    for (claim, commit) in [
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, honest),
        (1 << 40, (1 << 40) + honest),
        // Too small, which later attempts cannot tell.
        (0, 0),
    ] {
        let (store, location) = stating(claim, commit).await;
        let attempt = begin_within(&location, 10_000).await;
        assert_eq!(text(&attempt).await.unwrap(), "kept");
        let used = 10_000 - attempt.bytes_left().await;
        let stored = on_disk(&store).await;
        assert!(used <= stored, "{claim} {commit}: {used} of {stored}");
        attempt.write("newer".into()).await.unwrap();
        let next = begin_within(&location, 10_000).await;
        assert_eq!(text(&next).await.unwrap(), "newer");
        // Nothing is reported but what was forged.
        let report = location.verify().await.unwrap();
        let findings = report.findings.iter();
        let found: Vec<_> = findings
            .map(|f| (f.object.as_str(), &f.costs[..]))
            .collect();
        let (first, second) = ("log/09223372036854775807", "log/09223372036854775806");
        let none: &[u64] = &[];
        let expected = match (claim, commit) {
            (0, _) => vec![(second, none)],
            _ => vec![(first, none)],
        };
        assert_eq!(found, expected, "{claim} {commit}");
    }
}
