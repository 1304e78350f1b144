//! Data objects that are not what the commit says are damage.

use super::{Forged, file};
use crate::error::ErrorKind;
use crate::tests::forge::Cbor::Array;
use crate::tests::forge::{Chunk, commit, data_object, object_index, object_ref};
use crate::tests::noise::noise;

/// A commit of one file, in one chunk of the data object `1-0`, which has this size.
fn in_one_chunk(chunk: &Chunk, object_bytes: u64) -> Vec<u8> {
    commit([
        (5, Array(vec![file("", chunk.size_bytes)])),
        (7, Array(vec![object_ref(1, 0, object_bytes)])),
        (8, Array(vec![chunk.encoded()])),
    ])
}

#[tokio::test]
async fn a_chunk_that_does_not_match_its_commit_is_damage_before_anything_is_written() {
    let zeros = vec![0; 1 << 20];
    let compressed = lz4_flex::block::compress(&zeros);
    let slightly_more = compressed.len() as u64 + 1;
    let garbage = noise(1, 100);
    for (name, stored, size_bytes, codec, contents) in [
        ("other bytes", &b"data"[..], 4, 0, &b"atad"[..]),
        (
            "far more than declared",
            &compressed,
            slightly_more,
            1,
            &zeros[..slightly_more as usize],
        ),
        (
            "one byte more than declared",
            &compressed,
            (1 << 20) - 1,
            1,
            &zeros[1..],
        ),
        ("less than declared", &compressed, 16 << 20, 1, &zeros),
        ("not an LZ4 block", &garbage, 1000, 1, &zeros[..1000]),
    ] {
        let chunk = Chunk {
            stored_bytes: stored.len() as u64,
            size_bytes,
            codec,
            ..Chunk::raw(contents)
        };
        let object = data_object([stored]);
        let payload = in_one_chunk(&chunk, object.len() as u64);
        let forged = Forged::put(&payload, Some(object)).await;
        forged.assert_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(forged.findings().await, ["data/1-0"], "{name}");
    }
}

#[tokio::test]
async fn a_data_object_of_the_wrong_size_is_damage() {
    let whole = data_object([&b"data"[..]]);
    let size_bytes = whole.len() as u64;
    let chunk = Chunk::raw(b"data");
    let shorter = whole[..whole.len() - 1].to_vec();
    let longer = [&whole[..], b"more"].concat();
    for (name, declared, object) in [
        ("missing", size_bytes, None),
        ("shorter", size_bytes, Some(shorter)),
        ("longer", size_bytes, Some(longer)),
        ("empty", size_bytes, Some(Vec::new())),
        ("declared too long", size_bytes + 1, Some(whole.clone())),
    ] {
        let payload = in_one_chunk(&chunk, declared);
        let forged = Forged::put(&payload, object).await;
        forged.assert_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(forged.findings().await, ["data/1-0"], "{name}");
    }
    let at_the_end = Chunk {
        offset: u64::MAX - 4,
        ..chunk
    };
    let payload = in_one_chunk(&at_the_end, u64::MAX);
    let forged = Forged::put(&payload, Some(whole)).await;
    let name = "declared as long as possible";
    forged.assert_refused(name, ErrorKind::Corrupt).await;
}

#[tokio::test]
async fn a_wrong_index_is_found_by_verify_and_ignored_by_readers() {
    for (name, entries, count) in [
        ("longer than the object", vec![(u32::MAX, &b"data"[..])], 1),
        ("shorter", vec![(3, b"dat")], 1),
        ("of other bytes", vec![(4, b"atad")], 1),
        ("more entries than there are", vec![(4, b"data")], 2),
        ("as many entries as possible", vec![(4, b"data")], u32::MAX),
        ("fewer entries than there are", vec![(4, b"data")], 0),
        ("no entry", vec![], 0),
    ] {
        let object = [&b"data"[..], &object_index(entries, count)].concat();
        let payload = in_one_chunk(&Chunk::raw(b"data"), object.len() as u64);
        let forged = Forged::put(&payload, Some(object)).await;
        assert_eq!(forged.findings().await, ["data/1-0"], "{name}");
        let read = forged.begin().await.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]), "{name}");
    }
}
