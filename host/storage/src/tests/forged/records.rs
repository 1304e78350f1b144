//! Records that contradict themselves are damage.

use object_store::ObjectStoreExt;

use super::descriptions::invalid_roots;
use super::{Forged, dir, file, in_a_dir, inline, kind, link, named_file};
use crate::error::ErrorKind;
use crate::format::Record;
use crate::paths;
use crate::tests::forge::Cbor::{Array, Bytes, Int, Map, Raw, Text, Uint};
use crate::tests::forge::{
    COMMIT, Cbor, Chunk, commit, data_object, entry, named_entry, object_ref, record,
};
use crate::{Attempt, AttemptSettings};

/// A name, and the payload of a commit that is invalid in every location.
pub(super) type Case = (&'static str, Vec<u8>);

pub(super) fn invalid_payloads() -> Vec<Case> {
    [
        invalid_paths(),
        invalid_entries(),
        wrong_sizes(),
        not_canonical(),
        invalid_chunks(),
        invalid_roots(),
        invalid_cbor(),
        nested_cbor(),
    ]
    .concat()
}

fn invalid_paths() -> Vec<Case> {
    let deep = |levels| "d/".repeat(levels) + "f";
    vec![
        ("no root", inline(vec![], b"")),
        ("a file without a root", inline(vec![file("a", 0)], b"")),
        ("a link as the root", inline(vec![link("", "canary")], b"")),
        (
            "a file as the root of other entries",
            inline(vec![file("", 0), file("a", 0)], b""),
        ),
        ("an absolute path", in_a_dir([file("/canary", 0)])),
        ("a path to the parent", in_a_dir([file("../canary", 0)])),
        (
            "a path down and back up",
            in_a_dir([dir("a"), file("a/../../canary", 0)]),
        ),
        ("only dots", in_a_dir([dir("..")])),
        ("a dot", in_a_dir([dir(".")])),
        ("an empty component", in_a_dir([dir("a"), file("a//b", 0)])),
        ("a path with a trailing slash", in_a_dir([dir("a/")])),
        ("the root twice", in_a_dir([dir("")])),
        ("a name with a slash", in_a_dir([named_file(1, "a/b")])),
        (
            "a name that begins with a slash",
            in_a_dir([named_file(1, "/canary")]),
        ),
        (
            "a name that leads to the parent",
            in_a_dir([named_file(1, "../canary")]),
        ),
        (
            "the parent as a name",
            in_a_dir([dir("a"), named_file(2, "..")]),
        ),
        ("an entry without a name", in_a_dir([named_file(1, "")])),
        ("a root with a name", inline(vec![named_file(0, "a")], b"")),
        (
            "the largest depth that can be encoded",
            in_a_dir([named_file(u32::MAX.into(), "a")]),
        ),
        (
            "a depth that cannot be encoded",
            in_a_dir([named_file(1 << 32, "a")]),
        ),
        ("a path of 3,073 bytes", in_a_dir(nested(12, 193))),
        ("NUL in a name", in_a_dir([file("a\0b", 0)])),
        ("a file twice", in_a_dir([file("a", 0), file("a", 0)])),
        (
            "entries out of order",
            in_a_dir([file("b", 0), file("a", 0)]),
        ),
        (
            "a file before its directory",
            in_a_dir([file("a/b", 0), dir("a")]),
        ),
        (
            "a file and a directory with the same name",
            in_a_dir([file("a", 0), dir("a")]),
        ),
        ("a file in a file", in_a_dir([file("a", 0), file("a/b", 0)])),
        (
            "a file whose directory is missing",
            in_a_dir([file("a/b", 0)]),
        ),
        (
            "a file below a link",
            in_a_dir([link("a", ".."), file("a/canary", 0)]),
        ),
        (
            "a file below an entry that is both link and directory",
            in_a_dir([link("a", ".."), dir("a"), file("a/canary", 0)]),
        ),
        ("a link with an empty target", in_a_dir([link("a", "")])),
        (
            "a link with NUL in its target",
            in_a_dir([link("a", "b\0")]),
        ),
        ("a path of 1 MiB", in_a_dir([file(&"a".repeat(1 << 20), 0)])),
        (
            "a path of 100,000 levels",
            in_a_dir([file(&deep(100_000), 0)]),
        ),
    ]
}

/// Directories that lie in one another, with names of 239 bytes, and a file in the last of them.
fn nested(levels: u64, name_bytes: usize) -> Vec<Cbor> {
    let name = "d".repeat(239);
    let dirs = (1..=levels).map(|depth| named_entry(depth, &name, 0o755, (0, 0), []));
    let file = named_file(levels + 1, &"f".repeat(name_bytes));
    dirs.chain([file]).collect()
}

#[test]
fn a_path_of_3072_bytes_is_not_too_long() {
    for (name_bytes, is_valid) in [(192, true), (193, false)] {
        let bytes = record(1, COMMIT, &in_a_dir(nested(12, name_bytes)));
        let decoded = Record::decode(&bytes);
        assert_eq!(decoded.is_ok(), is_valid, "{decoded:?}");
    }
}

fn invalid_entries() -> Vec<Case> {
    vec![
        (
            "an entry that is both file and link",
            in_a_dir([entry("a", 0, (0, 0), [(4, Uint(0)), (5, Text("b".into()))])]),
        ),
        ("an empty entry", in_a_dir([Map(vec![])])),
        (
            "an entry without a depth",
            in_a_dir([Map(vec![(0, Text("a".into())), (1, Uint(0))])]),
        ),
        (
            "fewer times than entries",
            commit([
                (5, Array(vec![file("", 0)])),
                (6, Bytes(Vec::new())),
                (15, Bytes(Vec::new())),
            ]),
        ),
        (
            "half a time more than entries",
            commit([
                (5, Array(vec![file("", 0)])),
                (6, Bytes(Vec::new())),
                (15, Bytes(vec![0; 12])),
            ]),
        ),
    ]
}

/// Sizes of files that do not match the contents.
fn wrong_sizes() -> Vec<Case> {
    vec![
        ("more contents than files", inline(vec![file("", 1)], b"ab")),
        ("less contents than files", inline(vec![file("", 3)], b"ab")),
        (
            "the largest size that can be encoded",
            inline(vec![file("", u64::MAX)], b"ab"),
        ),
        (
            "sizes whose sum overflows to the right number",
            inline(vec![dir(""), file("a", u64::MAX), file("b", 3)], b"ab"),
        ),
        ("no contents", commit([(5, Array(vec![file("", 0)]))])),
        (
            "contents both inline and in chunks",
            commit([
                (5, Array(vec![file("", 0)])),
                (6, Bytes(Vec::new())),
                (7, Array(vec![])),
                (8, Array(vec![])),
            ]),
        ),
        (
            "objects without chunks",
            commit([(5, Array(vec![file("", 0)])), (7, Array(vec![]))]),
        ),
    ]
}

/// Fields that decode, but that no writer encodes so.
fn not_canonical() -> Vec<Case> {
    let with = |fields: Vec<(u64, Cbor)>| {
        let all = [(5, Array(vec![file("", 1)])), (6, Bytes(b"a".to_vec()))];
        commit(all.into_iter().chain(fields))
    };
    vec![
        ("a commit without a claim", with(vec![(0, Uint(0))])),
        ("a retained slot 0", with(vec![(4, Cbor::uints([0, 2]))])),
        (
            "a slot retained twice",
            with(vec![(4, Cbor::uints([2, 2]))]),
        ),
        ("an attempt of 33 bits", with(vec![(2, Uint(1 << 32))])),
        (
            "a known field that is null",
            with(vec![(10, Raw(vec![0xf6]))]),
        ),
        ("no annotations, encoded", with(vec![(9, Map(vec![]))])),
        (
            "a longer form of a number",
            with(vec![(2, Raw(vec![0x18, 0x00]))]),
        ),
        (
            "an array of indefinite length",
            with(vec![(4, Raw(vec![0x9f, 0x02, 0xff]))]),
        ),
        (
            "permission bits above 0o777",
            in_a_dir([entry("a", 0o4755, (0, 0), [(4, Uint(0))])]),
        ),
        (
            "an unknown field of an entry",
            in_a_dir([entry("a", 0, (0, 0), [(4, Uint(0)), (6, Uint(0))])]),
        ),
        (
            "a data object that no chunk needs",
            commit([
                (5, Array(vec![file("", 4)])),
                (7, Array(vec![object_ref(1, 0, 84), object_ref(1, 1, 84)])),
                (8, Array(vec![Chunk::raw(b"data").encoded()])),
            ]),
        ),
        (
            "a data object listed twice",
            commit([
                (5, Array(vec![file("", 8)])),
                (7, Array(vec![object_ref(1, 0, 84), object_ref(1, 0, 84)])),
                (
                    8,
                    Array(vec![
                        Chunk::raw(b"data").encoded(),
                        chunk(|c| c.object = 1).encoded(),
                    ]),
                ),
            ]),
        ),
        (
            "data objects out of order",
            commit([
                (5, Array(vec![file("", 8)])),
                (7, Array(vec![object_ref(1, 1, 84), object_ref(1, 0, 84)])),
                (
                    8,
                    Array(vec![
                        Chunk::raw(b"data").encoded(),
                        chunk(|c| c.object = 1).encoded(),
                    ]),
                ),
            ]),
        ),
        (
            "a data object of more than 64 MiB",
            commit([
                (5, Array(vec![file("", 4)])),
                (7, Array(vec![object_ref(1, 0, (64 << 20) + 1)])),
                (8, Array(vec![Chunk::raw(b"data").encoded()])),
            ]),
        ),
    ]
}

/// A chunk of the data object `1-0`, with one change.
fn chunk(change: fn(&mut Chunk)) -> Chunk {
    let mut chunk = Chunk::raw(b"data");
    change(&mut chunk);
    chunk
}

/// A file of this size, in these chunks of the data object `1-0`.
fn chunked(size_bytes: u64, chunks: Vec<Chunk>) -> Vec<u8> {
    commit([
        (5, Array(vec![file("", size_bytes)])),
        (7, Array(vec![object_ref(1, 0, 84)])),
        (8, Array(chunks.iter().map(Chunk::encoded).collect())),
    ])
}

/// A file in chunks of one compressed block of the data object `1-0`, given with their places in the block and their
/// sizes.
fn in_block<const N: usize>(stored: u64, block: u64, chunks: [[u64; 2]; N]) -> Vec<u8> {
    let hash = || Bytes(vec![1; 32]);
    let size_bytes = chunks.iter().map(|[_, size]| size).sum();
    let chunks = chunks.map(|[start, size]| {
        let numbers = [1, 0, 0, stored, block, start, size];
        Array(numbers.into_iter().map(Uint).chain([hash()]).collect())
    });
    commit([
        (5, Array(vec![file("", size_bytes)])),
        (7, Array(vec![object_ref(1, 0, 84)])),
        (8, Array(chunks.to_vec())),
    ])
}

fn invalid_chunks() -> Vec<Case> {
    vec![
        (
            "chunks longer than the file",
            chunked(3, vec![chunk(|_| ())]),
        ),
        (
            "chunks shorter than the file",
            chunked(5, vec![chunk(|_| ())]),
        ),
        (
            "a reference to an object that is not listed",
            chunked(4, vec![chunk(|c| c.object = 1)]),
        ),
        (
            "the largest object number of 32 bits",
            chunked(4, vec![chunk(|c| c.object = u32::MAX.into())]),
        ),
        (
            "an object number of 64 bits",
            chunked(4, vec![chunk(|c| c.object = 1 << 32)]),
        ),
        (
            "an offset that overflows",
            chunked(4, vec![chunk(|c| c.offset = u64::MAX - 1)]),
        ),
        (
            "a chunk beyond the end of its object",
            chunked(4, vec![chunk(|c| c.offset = 81)]),
        ),
        (
            "an empty chunk",
            chunked(0, vec![chunk(|c| (c.stored_bytes, c.size_bytes) = (0, 0))]),
        ),
        (
            "a compressed chunk that is no smaller",
            chunked(4, vec![chunk(|c| c.codec = 1)]),
        ),
        (
            "a chunk compressed to zero bytes",
            chunked(4, vec![chunk(|c| (c.codec, c.stored_bytes) = (1, 0))]),
        ),
        (
            "a chunk of 4 GiB",
            chunked(
                u32::MAX.into(),
                vec![chunk(|c| {
                    c.codec = 1;
                    c.size_bytes = u32::MAX.into();
                })],
            ),
        ),
        ("a chunk of an unknown form", {
            let hash = Bytes(Chunk::raw(b"data").hash.to_vec());
            commit([
                (5, Array(vec![file("", 4)])),
                (7, Array(vec![object_ref(1, 0, 84)])),
                (8, Array(vec![Array(vec![Uint(1), Uint(0), hash])])),
            ])
        }),
        (
            "a chunk beyond the end of its block",
            in_block(4, 10, [[4, 7]]),
        ),
        (
            "chunks far smaller than their block",
            in_block(4, 16 << 20, [[0, 1]; 40]),
        ),
        ("blocks that overlap", {
            let within = |c: &mut Chunk| (c.offset, c.stored_bytes, c.size_bytes) = (1, 3, 3);
            chunked(7, vec![chunk(|_| ()), chunk(within)])
        }),
        ("two blocks in one place", {
            let compressed = |c: &mut Chunk| (c.codec, c.size_bytes) = (1, 5);
            chunked(9, vec![chunk(|_| ()), chunk(compressed)])
        }),
        (
            "a negative size of the permanent records",
            commit([
                (5, Array(vec![file("", 0)])),
                (6, Bytes(Vec::new())),
                (14, Int(-1)),
            ]),
        ),
    ]
}

/// The head of a CBOR item with a length of 64 bits.
fn head(initial: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![initial];
    bytes.extend(length.to_be_bytes());
    bytes
}

fn with_tree(tree: Cbor) -> Vec<u8> {
    commit([(5, tree), (6, Bytes(Vec::new()))])
}

/// CBOR of the wrong type, or that promises more than follows.
fn invalid_cbor() -> Vec<Case> {
    vec![
        ("an empty payload", Vec::new()),
        ("an array", Array(vec![]).encode()),
        ("an empty map", Map(vec![]).encode()),
        ("a byte after the payload", {
            let mut payload = inline(vec![file("", 0)], b"");
            payload.push(0);
            payload
        }),
        ("a map of 2^64 fields", head(0xbb, u64::MAX)),
        (
            "an entry count of 2^64",
            with_tree(Raw(head(0x9b, u64::MAX))),
        ),
        (
            "an entry count of 2^32",
            with_tree(Raw(head(0x9b, 1 << 32))),
        ),
        (
            "a text of 2^63 bytes",
            with_tree(Array(vec![Map(vec![(0, Raw(head(0x7b, 1 << 63)))])])),
        ),
        (
            "contents of 2^40 bytes",
            commit([
                (5, Array(vec![file("", 1 << 40)])),
                (6, Raw(head(0x5b, 1 << 40))),
            ]),
        ),
        (
            "a text of indefinite length",
            with_tree(Array(vec![Map(vec![(0, Raw(vec![0x7f]))])])),
        ),
        ("only a break", vec![0xff]),
        (
            "text that is not UTF-8",
            with_tree(Array(vec![Map(vec![(0, Raw(vec![0x62, 0xff, 0xff]))])])),
        ),
        (
            "a negative size",
            with_tree(Array(vec![entry("", 0, (0, 0), [(4, Int(-1))])])),
        ),
        (
            "a write-id that is too short",
            commit([(1, Bytes(vec![1; 15]))]),
        ),
    ]
}

/// A commit whose last field is one that readers skip.
fn unknown(value: Vec<u8>) -> Vec<u8> {
    commit([
        (5, Array(vec![file("", 0)])),
        (6, Bytes(Vec::new())),
        (99, Raw(value)),
    ])
}

/// CBOR that is nested so deeply that a recursive reader would overflow its stack.
fn nested_cbor() -> Vec<Case> {
    vec![
        (
            "a tree of arrays in arrays",
            with_tree(Raw(vec![0x81; 1 << 20])),
        ),
        (
            "a tree of indefinite arrays",
            with_tree(Raw(vec![0x9f; 1 << 20])),
        ),
        (
            "a tree of tags of tags",
            with_tree(Raw(vec![0xc1; 1 << 20])),
        ),
        (
            "an unknown field of arrays in arrays",
            unknown(vec![0x81; 1 << 20]),
        ),
        (
            "an unknown field of indefinite arrays",
            unknown(vec![0x9f; 1 << 20]),
        ),
        (
            "an unknown field of indefinite maps",
            unknown(vec![0xbf; 1 << 20]),
        ),
        (
            "an unknown field of arrays in an indefinite array in an array",
            unknown([vec![0x83, 0x00, 0x9f], vec![0x81; 1 << 20]].concat()),
        ),
        (
            "an unknown field of tags of tags",
            unknown(vec![0xc1; 1 << 20]),
        ),
        (
            "an unknown field of indefinite arrays in arrays",
            unknown([0x82, 0x00, 0x9f].repeat(1 << 18)),
        ),
    ]
}

#[tokio::test]
async fn an_invalid_payload_is_reported_as_damage_before_anything_is_written() {
    for (name, payload) in invalid_payloads() {
        let forged = Forged::put(&payload, Some(data_object([&b"data"[..]]))).await;
        forged.assert_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(
            forged.findings().await.first().map(String::as_str),
            Some("log/09223372036854775806"),
            "{name}"
        );
    }
}

/// Otherwise the other tests could pass because everything that is forged is refused.
#[tokio::test]
async fn a_forged_commit_that_is_valid_is_accepted() {
    let object = data_object([&b"data"[..]]);
    let valid = [
        inline(vec![file("", 4)], b"data"),
        chunked(4, vec![chunk(|_| ())]),
        // Readers skip keys that they do not know.
        commit([
            (5, Array(vec![file("", 4)])),
            (6, Bytes(b"data".to_vec())),
            (99, Array(vec![Text("later".into())])),
        ]),
    ];
    for payload in valid {
        let forged = Forged::put(&payload, Some(object.clone())).await;
        let read = forged.begin().await.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]));
    }
}

#[tokio::test]
async fn a_full_log_accepts_no_claim_but_can_still_be_read() {
    let forged = Forged::put(&inline(vec![file("", 4)], b"data"), None).await;
    let slot = (1 << 63) - 1;
    let last = paths::record(forged.location.prefix(), slot);
    let payload = commit([
        (4, Cbor::uints([slot])),
        (5, Array(vec![file("", 4)])),
        (6, Bytes(b"last".to_vec())),
    ]);
    let bytes = record(1, COMMIT, &payload);
    forged.store.put(&last, bytes.into()).await.unwrap();
    let begun = Attempt::begin(forged.location.clone(), AttemptSettings::default()).await;
    assert_eq!(kind("full", begun), ErrorKind::Corrupt);
    let checkpoints = forged.location.checkpoints().await.unwrap();
    assert_eq!(checkpoints[0].read_single().await.unwrap(), "last");
}
