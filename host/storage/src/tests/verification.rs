//! What `verify` reads and reports, and that its work is bounded by what is stored.

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::forge::Cbor::{Array, Bytes, Uint};
use super::forge::{COMMIT, Chunk, claim, claim_with, commit, data_object, object_ref, record};
use super::forged::file;
use super::{at, begin, checkpoints, faulty, memory, noise};
use crate::location::OpenLocation;
use crate::{Attempt, AttemptSettings, Examine, OnDamage, ResumePoint, paths};

const MIB: usize = 1 << 20;

async fn put_record(store: &InMemory, location: &OpenLocation, sequence: u64, bytes: Vec<u8>) {
    let path = paths::record(location.prefix(), sequence);
    store.put(&path, bytes.into()).await.unwrap();
}

async fn put_data(store: &InMemory, bytes: Vec<u8>) {
    store
        .put(&"task/data/1-0".into(), bytes.into())
        .await
        .unwrap();
}

/// A file of these chunks of the data object `1-0`.
fn chunked(chunks: &[Chunk], object_bytes: usize) -> Vec<u8> {
    let size_bytes = chunks.iter().map(|chunk| chunk.size_bytes).sum();
    let payload = commit([
        (5, Array(vec![file("", size_bytes)])),
        (7, Array(vec![object_ref(1, 0, object_bytes as u64)])),
        (8, Array(chunks.iter().map(Chunk::encoded).collect())),
    ]);
    record(1, COMMIT, &payload)
}

#[tokio::test]
async fn verifying_reads_each_stored_byte_once_however_often_it_is_referred_to() {
    let (store, location) = faulty();
    // 5,000 references each to noise and to compressed zeros: 25 GiB of contents in 1 MiB.
    let stored = [noise(1, MIB), lz4_flex::block::compress(&vec![0; 4 * MIB])];
    let object = data_object(stored.iter().map(Vec::as_slice));
    let zeros = Chunk {
        offset: MIB as u64,
        stored_bytes: stored[1].len() as u64,
        codec: 1,
        ..Chunk::raw(&vec![0; 4 * MIB])
    };
    let chunks = vec![[Chunk::raw(&stored[0]), zeros]; 5_000].concat();
    let commit = chunked(&chunks, object.len());
    let (claim_bytes, commit_bytes, data_bytes) = (claim(1).len(), commit.len(), object.len());
    put_record(&store.inner, &location, 1, claim(1)).await;
    put_record(&store.inner, &location, 2, commit).await;
    put_data(&store.inner, object).await;

    let report = location.verify().await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.checkpoints, [2]);
    let fetched = store.take_fetched();
    assert!(
        fetched <= (claim_bytes + commit_bytes + data_bytes) as u64,
        "{fetched}"
    );

    let attempt = begin(&location).await;
    attempt.settle().await;
    store.take_fetched();
    let resumed = attempt.verified_resume_point().await.unwrap();
    assert!(matches!(resumed, ResumePoint::Resumed(info) if info.sequence == 2));
    assert!(store.take_fetched() <= data_bytes as u64);

    let [checkpoint] = &location.checkpoints().await.unwrap()[..] else {
        panic!("not one checkpoint");
    };
    store.take_fetched();
    checkpoint.verify().await.unwrap();
    assert!(store.take_fetched() <= data_bytes as u64);
}

#[tokio::test]
async fn verifying_many_checkpoints_of_the_same_data_reads_it_once() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    for _ in 0..3 {
        attempt.write(noise(1, 3 * MIB).into()).await.unwrap();
    }
    store.take_fetched();
    let report = location.verify().await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.checkpoints, [2, 3, 4]);
    assert!(store.take_fetched() < 3 * MIB as u64 + 40_000);
}

#[tokio::test]
async fn a_chunk_that_its_object_does_not_list_is_found_by_verify() {
    let object = data_object([&b"data"[..], b"more"]);
    let part = Chunk {
        offset: 1,
        ..Chunk::raw(b"ata")
    };
    let across = Chunk::raw(b"datamore");
    for chunk in [part, across] {
        let (store, location) = memory();
        put_record(&store, &location, 1, claim(1)).await;
        put_record(&store, &location, 2, chunked(&[chunk], object.len())).await;
        put_data(&store, object.clone()).await;
        let report = location.verify().await.unwrap();
        assert!(report.checkpoints.is_empty());
        let [finding] = &report.findings[..] else {
            panic!("{:?}", report.findings);
        };
        assert_eq!(
            (&*finding.object, &finding.costs[..]),
            ("data/1-0", &[2][..])
        );
        assert!(
            finding.reason.contains("does not list"),
            "{}",
            finding.reason
        );
    }
}

#[tokio::test]
async fn verify_tells_which_of_two_checkpoints_misstates_a_chunk() {
    let object = data_object([&b"data"[..]]);
    let chunk = Chunk::raw(b"data");
    let wrong = Chunk {
        hash: [1; 32],
        ..chunk.clone()
    };
    let (store, location) = memory();
    put_record(&store, &location, 1, claim(1)).await;
    put_record(&store, &location, 2, chunked(&[wrong], object.len())).await;
    let newest = commit([
        (4, super::forge::Cbor::uints([3, 2])),
        (5, Array(vec![file("", 4)])),
        (7, Array(vec![object_ref(1, 0, object.len() as u64)])),
        (8, Array(vec![chunk.encoded()])),
    ]);
    put_record(&store, &location, 3, record(1, COMMIT, &newest)).await;
    put_data(&store, object).await;
    let report = location.verify().await.unwrap();
    assert_eq!(report.checkpoints, [3]);
    let costs: Vec<_> = report.findings.iter().map(|f| &f.costs[..]).collect();
    assert_eq!(costs, [[2]]);
}

/// The records that `verify` reports.
async fn reported(location: &OpenLocation) -> Vec<String> {
    let report = location.verify().await.unwrap();
    report.findings.into_iter().map(|f| f.object).collect()
}

fn of_contents(permanent_bytes: u64) -> Vec<u8> {
    let fields = [
        (5, Array(vec![file("", 4)])),
        (6, Bytes(b"kept".to_vec())),
        (14, Uint(permanent_bytes)),
    ];
    record(1, COMMIT, &commit(fields))
}

#[tokio::test]
async fn verify_reports_a_record_that_disagrees_with_the_one_that_it_follows() {
    let first = claim(1).len() as u64;
    for (commit, claims, expected) in [
        (first, 0, None),
        (first + 1, 0, Some("log/09223372036854775806")),
        (first, 1, Some("log/09223372036854775805")),
    ] {
        let (store, location) = memory();
        put_record(&store, &location, 1, claim(1)).await;
        let commit = of_contents(commit);
        let below = first + commit.len() as u64 + claims;
        put_record(&store, &location, 2, commit).await;
        put_record(&store, &location, 3, claim_with(3, [(8, Uint(below))])).await;
        assert_eq!(reported(&location).await, Vec::from_iter(expected));
        // Nothing is lost.
        assert_eq!(checkpoints(&location).await, [2]);
    }
}

#[tokio::test]
async fn a_claim_that_landed_late_is_not_reported() {
    let (store, location) = memory();
    put_record(&store, &location, 1, claim(1)).await;
    let attempt = begin(&location).await;
    for _ in 0..6 {
        attempt.write("kept".into()).await.unwrap();
    }
    attempt.settle().await;
    // Slots 3 to 5 are pruned. A claim that followed slot 3 lands in slot 4, and another one above it.
    put_record(&store, &location, 4, claim_with(4, [(8, Uint(12_345))])).await;
    put_record(&store, &location, 5, claim_with(5, [(8, Uint(54_321))])).await;
    assert_eq!(reported(&location).await, [] as [&str; 0]);
    drop(attempt);
    begin(&location).await.write("newer".into()).await.unwrap();
    assert_eq!(reported(&location).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_disagreement_can_be_given_up() {
    let (store, location) = memory();
    put_record(&store, &location, 1, claim_with(1, [(8, Uint(5))])).await;
    put_record(&store, &location, 2, of_contents(claim(1).len() as u64 + 5)).await;
    assert_eq!(reported(&location).await, ["log/09223372036854775807"]);
    let keep = std::num::NonZeroUsize::MIN;
    let plan = location.plan_prune(keep, Examine::Newest, OnDamage::GiveUp);
    let plan = plan.await.unwrap();
    assert_eq!(plan.given_up, [1]);
    let attempt = Attempt::begin(location.clone(), AttemptSettings::default()).await;
    attempt.unwrap().prune(&plan).await.unwrap();
    assert_eq!(reported(&location).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_checkpoint_that_can_be_restored_is_not_given_up() {
    let (store, location) = memory();
    put_record(&store, &location, 1, claim(1)).await;
    put_record(&store, &location, 2, of_contents(0)).await;
    let location = at(store);
    let keep = std::num::NonZeroUsize::MIN;
    let plan = location.plan_prune(keep, Examine::Newest, OnDamage::GiveUp);
    assert_eq!(plan.await.unwrap().given_up, [] as [u64; 0]);
}
