//! How much a location stores: it stays within bounds, and known data is not stored again.

use std::collections::HashMap;

use bytes::Bytes;

use super::{begin, keep, memory, noise};
use crate::Attempt;
use crate::contents::read::list_objects;
use crate::location::OpenLocation;
use crate::log::history::History;

const MIB: usize = 1 << 20;

/// The size of one full data object.
const OBJECT: u64 = 16 * MIB as u64 + 4096;

/// The number of stored bytes, and of those that retained commits need.
async fn stored_and_live(location: &OpenLocation) -> (u64, u64) {
    let stored = list_objects(location).await.unwrap();
    let stored = stored.into_iter().map(|(_, size)| size).sum();
    let history = History::load(location).await.unwrap();
    let mut live = HashMap::new();
    for checkpoint in &history.checkpoints {
        let mut chunks = Vec::new();
        let description = checkpoint.load(&mut chunks).await.unwrap();
        chunks.extend_from_slice(description.contents.chunks());
        for chunk in chunks {
            live.insert(chunk.block, u64::from(chunk.block.stored_bytes));
        }
    }
    (stored, live.into_values().sum())
}

#[tokio::test]
async fn two_hundred_saves_store_at_most_twice_the_live_data() {
    let (_, location) = memory();
    let mut contents = noise(0, 20 * MIB);
    let mut attempt = begin(&location).await;
    for save in 0..200_usize {
        // Each save changes another part, and some follow in a new attempt.
        let start = save * 7 * MIB / 3 % (19 * MIB);
        contents[start..start + MIB / 2].copy_from_slice(&noise(save as u64 + 1, MIB / 2));
        if save % 23 == 22 {
            attempt = begin(&location).await;
        }
        let saved = attempt.write(Bytes::from(contents.clone())).await.unwrap();
        attempt.settle().await;
        let (stored, live) = stored_and_live(&location).await;
        assert!(
            stored <= 2 * live + OBJECT,
            "save {save}: {stored} stored, {live} live"
        );
        assert!(
            save == 0 || saved.uploaded_bytes < 15 * MIB as u64,
            "save {save}: {saved:?}"
        );
    }
    assert_eq!(
        begin(&location).await.read().await.unwrap().unwrap(),
        contents
    );
    let checked = location.verify().await.unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    assert_eq!(checked.checkpoints.len(), 3);
}

#[tokio::test]
async fn shrinking_contents_to_inline_size_deletes_all_data_objects() {
    let (_, location) = memory();
    let attempt = Attempt::begin(location.clone(), keep(2)).await.unwrap();
    attempt.write(noise(1, 3 * MIB).into()).await.unwrap();
    for text in ["a", "b"] {
        attempt.write(text.into()).await.unwrap();
    }
    attempt.settle().await;
    assert_eq!(list_objects(&location).await.unwrap(), []);
}

#[tokio::test]
async fn a_small_change_uploads_little_more_than_itself() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    let mut contents = noise(1, 100 * MIB);
    attempt.write(contents.clone().into()).await.unwrap();
    contents[50 * MIB..51 * MIB].copy_from_slice(&noise(2, MIB));
    // An insertion shifts everything after it, but costs no more than a change.
    contents.splice(20 * MIB..20 * MIB, noise(3, 1000));
    let next = begin(&location).await;
    let saved = next.write(contents.clone().into()).await.unwrap();
    assert!(saved.uploaded_bytes < 10 * MIB as u64, "{saved:?}");
    assert_eq!(next.read().await.unwrap().unwrap(), contents);
}

#[tokio::test]
async fn repeated_contents_are_stored_once() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    let block = noise(1, 6 * MIB);
    let saved = attempt.write(block.repeat(4).into()).await.unwrap();
    assert!(saved.uploaded_bytes < 16 * MIB as u64, "{saved:?}");
    let again = attempt.write(block.repeat(4).into()).await.unwrap();
    assert!(
        again.uploaded_bytes < 10_000,
        "only a record is uploaded: {again:?}"
    );
    assert_eq!(attempt.read().await.unwrap().unwrap(), block.repeat(4));
}

#[tokio::test]
async fn borrowed_and_owned_contents_are_stored_identically() {
    let (_, location) = memory();
    let attempt = begin(&location).await;
    for size in [0, 1000, 5 * MIB] {
        let contents = noise(1, size);
        attempt.write_borrowed(&contents).await.unwrap();
        let read = attempt.read().await.unwrap();
        assert!(read.unwrap() == contents, "{size} bytes");
        // The chunks are the same, so only a record is uploaded.
        let again = attempt.write(contents.into()).await.unwrap();
        assert!(again.uploaded_bytes < 10_000, "{size} bytes: {again:?}");
    }
}

#[tokio::test]
async fn nothing_is_reused_after_damage() {
    use object_store::ObjectStoreExt;

    let (store, location) = memory();
    let attempt = begin(&location).await;
    let contents = noise(1, 3 * MIB);
    attempt.write("first".into()).await.unwrap();
    attempt.write(contents.clone().into()).await.unwrap();
    let newest = attempt.write("newest".into()).await.unwrap();
    let path = crate::paths::record(location.prefix(), newest.sequence);
    store.put(&path, "damaged".into()).await.unwrap();
    let next = begin(&location).await;
    let saved = next.write(contents.into()).await.unwrap();
    assert!(saved.uploaded_bytes > 3 * MIB as u64, "{saved:?}");
}

#[tokio::test]
async fn live_chunks_move_out_of_mostly_dead_data_objects() {
    let (_, location) = memory();
    let attempt = Attempt::begin(location.clone(), keep(1)).await.unwrap();
    let contents = noise(1, 64 * MIB);
    attempt.write(contents.clone().into()).await.unwrap();
    // A small part of each data object is still live.
    let pieces = contents.chunks(16 * MIB).map(|piece| &piece[..3 * MIB]);
    let rest = pieces.collect::<Vec<_>>().concat();
    attempt.write(rest.clone().into()).await.unwrap();
    attempt.settle().await;
    let (stored, live) = stored_and_live(&location).await;
    assert!(stored <= 2 * live + OBJECT, "{stored} stored, {live} live");
    assert_eq!(attempt.read().await.unwrap().unwrap(), rest);
}
