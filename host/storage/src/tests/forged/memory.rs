//! How much memory decoding a record takes.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use object_store::{Attributes, GetResult, GetResultPayload, ObjectMeta};

use super::records::invalid_payloads;
use super::{file, in_a_dir, inline};
use crate::contents::codec;
use crate::contents::read::collect;
use crate::error::ErrorKind;
use crate::format::{Codec, Record};
use crate::tests::forge::Cbor::{Array, Uint};
use crate::tests::forge::{COMMIT, commit, object_ref, record};
use crate::tests::peak::peak_of;

/// Memory for each byte of a record. A short entry of ten bytes becomes one of about eighty bytes, in a list that doubles
/// as it grows: 16. Nested arrays in a skipped field: 48.
pub(super) const MAX_PER_BYTE: usize = 48;

#[test]
fn decoding_a_record_takes_memory_in_proportion_to_its_size() {
    let payloads = invalid_payloads().into_iter().chain([
        (
            "entries",
            in_a_dir((0..10_000).map(|n| file(&format!("{n}"), 0))),
        ),
        (
            "contents",
            inline(vec![file("", 1 << 20)], &vec![1; 1 << 20]),
        ),
        ("retained", commit([(4, Array(vec![Uint(0); 1 << 20]))])),
        ("short entries", in_a_dir(vec![file("a", 0); 1 << 18])),
        (
            "objects",
            commit([
                (5, Array(vec![file("", 0)])),
                (7, Array(vec![object_ref(0, 0, 0); 1 << 18])),
            ]),
        ),
        (
            "empty object references",
            commit([
                (5, Array(vec![file("", 0)])),
                (7, Array(vec![Array(vec![]); 1 << 18])),
            ]),
        ),
    ]);
    for (name, payload) in payloads {
        let bytes = record(1, COMMIT, &payload);
        let (decoded, peak) = peak_of(|| Record::decode(&bytes).map(drop));
        assert!(
            peak <= MAX_PER_BYTE * bytes.len() + 4096,
            "{name}: {peak} bytes of memory for {}: {decoded:?}",
            bytes.len()
        );
    }
}

#[test]
fn a_block_that_is_too_short_for_its_size_takes_no_memory() {
    let stored = Bytes::from_static(&[0x1f; 100]);
    let (unpacked, peak) = peak_of(|| codec::unpack(stored, Codec::Lz4, 16 << 20));
    assert_eq!(unpacked.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(peak < 4096, "{peak}");
}

/// An answer that says it has this many bytes, and consists of these pieces.
fn answer(
    size: u64,
    pieces: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>,
) -> GetResult {
    GetResult {
        payload: GetResultPayload::Stream(stream::iter(pieces.into_iter().map(Ok)).boxed()),
        meta: ObjectMeta {
            location: "object".into(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        },
        range: 0..size,
        attributes: Attributes::new(),
        extensions: Default::default(),
    }
}

#[test]
fn an_answer_takes_memory_for_what_has_arrived_and_not_for_what_it_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let collected = |answer, most| peak_of(|| runtime.block_on(collect(answer, most)));
    let piece = Bytes::from(vec![1; 1000]);
    // It says 200 MiB, and ends after two pieces.
    let short = vec![piece.clone(); 2];
    let (read, peak) = collected(answer(200 << 20, short), 256 << 20);
    assert_eq!(read.unwrap().unwrap().len(), 2000);
    assert!(peak < 100_000, "{peak}");
    // It says 10 bytes, and never ends.
    let endless = std::iter::repeat(piece);
    let (read, peak) = collected(answer(10, endless), 100_000);
    assert_eq!(read.unwrap(), None);
    assert!(peak < 500_000, "{peak}");
    let (read, _) = collected(answer(200 << 20, []), 100 << 20);
    assert_eq!(read.unwrap(), None);
}
