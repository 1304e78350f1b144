//! Commits that somebody forged: their hashes are right and what they say is not. Each is refused with
//! a typed error before anything is written, and none takes more memory than its bytes justify.
//!
//! The records are forged from `FORMAT.md`, not with the crate's encoder, which cannot make them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::{memory, noise};
use crate::error::ErrorKind;
use crate::format::{Claim, ObjectName, Record, WriteId, pack};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::paths;
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;
use crate::tree::walk::TreeTarget;
use crate::{Attempt, AttemptSettings};

/// What is encoded as CBOR.
#[derive(Clone)]
pub(super) enum Cbor {
    Uint(u64),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Cbor>),
    Map(Vec<(u64, Cbor)>),
    /// Bytes that are put as they are, whether they are CBOR or not.
    Raw(Vec<u8>),
}

use Cbor::{Array, Bytes, Int, Map, Raw, Text, Uint};

impl Cbor {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        self.encode_to(&mut encoder);
        encoder.into_writer()
    }

    fn encode_to(&self, encoder: &mut minicbor::Encoder<Vec<u8>>) {
        match self {
            Uint(n) => drop(encoder.u64(*n).unwrap()),
            Int(n) => drop(encoder.i64(*n).unwrap()),
            Text(text) => drop(encoder.str(text).unwrap()),
            Bytes(bytes) => drop(encoder.bytes(bytes).unwrap()),
            Array(items) => {
                encoder.array(items.len() as u64).unwrap();
                items.iter().for_each(|item| item.encode_to(encoder));
            }
            Map(fields) => {
                encoder.map(fields.len() as u64).unwrap();
                for (key, value) in fields {
                    encoder.u64(*key).unwrap();
                    value.encode_to(encoder);
                }
            }
            Raw(bytes) => encoder.writer_mut().extend_from_slice(bytes),
        }
    }
}

/// A record with a right length and a right hash.
pub(super) fn record(version: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93TCKP\r\n\x1a".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// The payload of a commit: what every one has, with `fields` in the place of theirs.
pub(super) fn commit(fields: Vec<(u64, Cbor)>) -> Vec<u8> {
    let mut all = BTreeMap::from([
        (0, Uint(1)),
        (1, Bytes(vec![7; 16])),
        (2, Uint(0)),
        (3, Uint(1_700_000_000_000)),
        (4, Array(vec![Uint(2)])),
    ]);
    all.extend(fields);
    Map(all.into_iter().collect()).encode()
}

fn entry(path: &str, what: Option<(u64, Cbor)>) -> Cbor {
    let common = [
        (0, Text(path.into())),
        (1, Uint(0o755)),
        (2, Uint(0)),
        (3, Uint(0)),
    ];
    Map(common.into_iter().chain(what).collect())
}

fn dir(path: &str) -> Cbor {
    entry(path, None)
}

pub(super) fn file(path: &str, size_bytes: u64) -> Cbor {
    entry(path, Some((4, Uint(size_bytes))))
}

fn link(path: &str, target: &str) -> Cbor {
    entry(path, Some((5, Text(target.into()))))
}

fn inline(tree: Vec<Cbor>, contents: &[u8]) -> Vec<u8> {
    commit(vec![(5, Array(tree)), (6, Bytes(contents.to_vec()))])
}

/// A commit of these entries in a directory, without contents.
fn in_a_dir(entries: impl IntoIterator<Item = Cbor>) -> Vec<u8> {
    let root = std::iter::once(dir(""));
    inline(root.chain(entries).collect(), b"")
}

fn reference(size_bytes: u64) -> Cbor {
    Array(vec![Uint(1), Uint(0), Uint(size_bytes)])
}

/// A chunk of the contents, as `FORMAT.md` orders its fields.
pub(super) struct Chunk {
    pub(super) object: u64,
    pub(super) offset: u64,
    pub(super) stored_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) codec: u64,
    pub(super) hash: [u8; 32],
}

impl Chunk {
    pub(super) fn encoded(&self) -> Cbor {
        let numbers = [
            self.object,
            self.offset,
            self.stored_bytes,
            self.size_bytes,
            self.codec,
        ];
        let hash = std::iter::once(Bytes(self.hash.to_vec()));
        Array(numbers.into_iter().map(Uint).chain(hash).collect())
    }
}

/// A data object that holds these bytes as one chunk.
pub(super) fn data_object(chunk: &[u8]) -> Vec<u8> {
    let stored = pack::StoredChunk {
        bytes: u32::try_from(chunk.len()).unwrap(),
        hash: blake3::hash(chunk).into(),
    };
    [chunk, &pack::encode_index(&[stored])].concat()
}

/// A location whose only commit has this payload, with the data object `1-0`.
struct Forged {
    store: std::sync::Arc<InMemory>,
    location: OpenLocation,
}

async fn forged(payload: &[u8], data: Option<Vec<u8>>) -> Forged {
    let (store, location) = memory();
    let claim = Record::Claim(Claim {
        epoch: 1,
        write_id: WriteId([6; 16]),
        attempt: 0,
        component: None,
        inherits: None,
    });
    let path = |sequence| paths::record(location.prefix(), sequence);
    let claim = claim.encode().unwrap();
    store.put(&path(1), claim.into()).await.unwrap();
    let commit = record(1, 2, payload);
    store.put(&path(2), commit.into()).await.unwrap();
    if let Some(data) = data {
        let name = ObjectName {
            epoch: 1,
            counter: 0,
        };
        let path = paths::object(location.prefix(), name);
        store.put(&path, data.into()).await.unwrap();
    }
    Forged { store, location }
}

/// Everything beneath a directory, links not followed.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            found.extend(everything(&path));
        }
        let contents = kind.is_file().then(|| fs::read(&path).unwrap());
        found.insert(path, contents);
    }
    found
}

/// A directory with a canary, and beside it a target that is a directory with a file in it.
fn beside_a_canary() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("canary"), "sings").unwrap();
    fs::create_dir(temp.path().join("occupied")).unwrap();
    fs::write(temp.path().join("occupied/own"), "kept").unwrap();
    temp
}

fn kind<T: std::fmt::Debug>(name: &str, result: crate::error::Result<T>) -> ErrorKind {
    match result {
        Err(error) => error.kind(),
        Ok(given) => panic!("{name}: given {given:?}"),
    }
}

impl Forged {
    async fn begin(&self) -> Attempt {
        Attempt::begin(self.location.clone(), AttemptSettings::default())
            .await
            .unwrap()
    }

    /// Whatever is asked for, the answer is an error of this kind, and nothing is written.
    async fn is_refused(&self, name: &str, expected: ErrorKind) {
        let temp = beside_a_canary();
        let before = everything(temp.path());
        let target = |name| DirTree::ambient(&temp.path().join(name)).unwrap();
        for (path, existing) in [
            ("target", Existing::Refuse),
            ("occupied", Existing::Replace),
        ] {
            let attempt = self.begin().await;
            let restored = attempt.restore(target(path), existing).await;
            assert_eq!(kind(name, restored), expected, "{name}: restore to {path}");
            assert!(everything(temp.path()) == before, "{name}: {path} changed");
            let checkpoints = self.location.checkpoints().await;
            for checkpoint in checkpoints.unwrap_or_default() {
                let limits = Limits::default();
                let restored = checkpoint.restore(target(path), existing, &limits);
                assert_eq!(kind(name, restored.await), expected, "{name}");
            }
            assert!(everything(temp.path()) == before, "{name}: {path} changed");
        }
        let read = self.begin().await.read().await;
        assert!(
            matches!(kind(name, read), k if k == expected || matches!(k, ErrorKind::NotSingle(_))),
            "{name}"
        );
        let resumed = self.begin().await.resume_point().await;
        assert!(
            !matches!(resumed, Ok(crate::ResumePoint::Fresh)),
            "{name}: never fresh"
        );
    }

    async fn findings(&self) -> Vec<String> {
        let report = self.location.verify().await.unwrap();
        report.findings.into_iter().map(|f| f.object).collect()
    }
}

/// Payloads of commits that can be told to be wrong by themselves.
fn impossible() -> Vec<(&'static str, Vec<u8>)> {
    let chunk = |change: fn(&mut Chunk)| {
        let mut chunk = Chunk {
            object: 0,
            offset: 0,
            stored_bytes: 4,
            size_bytes: 4,
            codec: 0,
            hash: blake3::hash(b"data").into(),
        };
        change(&mut chunk);
        chunk
    };
    let chunked = |size_bytes, chunks: Vec<Chunk>| {
        commit(vec![
            (5, Array(vec![file("", size_bytes)])),
            (7, Array(vec![reference(84)])),
            (8, Array(chunks.iter().map(Chunk::encoded).collect())),
        ])
    };
    let with_tree = |tree| commit(vec![(5, tree), (6, Bytes(Vec::new()))]);
    let deep = |levels| "d/".repeat(levels) + "f";
    vec![
        // Paths that lead somewhere else.
        ("no root", inline(vec![], b"")),
        ("no root, but a file", inline(vec![file("a", 0)], b"")),
        ("a link for a root", inline(vec![link("", "canary")], b"")),
        (
            "a file as the root of others",
            inline(vec![file("", 0), file("a", 0)], b""),
        ),
        ("an absolute path", in_a_dir([file("/canary", 0)])),
        ("a path up", in_a_dir([file("../canary", 0)])),
        (
            "a path down and up",
            in_a_dir([dir("a"), file("a/../../canary", 0)]),
        ),
        ("only dots", in_a_dir([dir("..")])),
        ("a dot", in_a_dir([dir(".")])),
        ("an empty component", in_a_dir([dir("a"), file("a//b", 0)])),
        ("a path that ends in a slash", in_a_dir([dir("a/")])),
        ("the root twice", in_a_dir([dir("")])),
        ("NUL in a name", in_a_dir([file("a\0b", 0)])),
        ("a file twice", in_a_dir([file("a", 0), file("a", 0)])),
        (
            "entries that are out of order",
            in_a_dir([file("b", 0), file("a", 0)]),
        ),
        (
            "a file before its directory",
            in_a_dir([file("a/b", 0), dir("a")]),
        ),
        (
            "a file and a directory of one name",
            in_a_dir([file("a", 0), dir("a")]),
        ),
        ("a file in a file", in_a_dir([file("a", 0), file("a/b", 0)])),
        ("a file in no directory", in_a_dir([file("a/b", 0)])),
        (
            "a file beneath a link",
            in_a_dir([link("a", ".."), file("a/canary", 0)]),
        ),
        (
            "a file beneath a link that is a directory too",
            in_a_dir([link("a", ".."), dir("a"), file("a/canary", 0)]),
        ),
        ("a link to nothing", in_a_dir([link("a", "")])),
        ("a link to NUL", in_a_dir([link("a", "b\0")])),
        ("a path of a MiB", in_a_dir([file(&"a".repeat(1 << 20), 0)])),
        ("100,000 levels", in_a_dir([file(&deep(100_000), 0)])),
        // Entries that are none.
        (
            "an entry of two kinds",
            in_a_dir([Map(vec![
                (0, Text("a".into())),
                (1, Uint(0)),
                (2, Uint(0)),
                (3, Uint(0)),
                (4, Uint(0)),
                (5, Text("b".into())),
            ])]),
        ),
        ("an entry of nothing", in_a_dir([Map(vec![])])),
        (
            "more nanoseconds than a second has",
            in_a_dir([time("a", Uint(0), 1_000_000_000)]),
        ),
        // Sizes that do not add up.
        ("more contents than files", inline(vec![file("", 1)], b"ab")),
        ("less contents than files", inline(vec![file("", 3)], b"ab")),
        ("the largest size", inline(vec![file("", u64::MAX)], b"ab")),
        (
            "sizes that are 2 when they have overflowed",
            inline(vec![dir(""), file("a", u64::MAX), file("b", 3)], b"ab"),
        ),
        ("no contents", commit(vec![(5, Array(vec![file("", 0)]))])),
        (
            "contents twice",
            commit(vec![
                (5, Array(vec![file("", 0)])),
                (6, Bytes(Vec::new())),
                (7, Array(vec![])),
                (8, Array(vec![])),
            ]),
        ),
        (
            "objects without chunks",
            commit(vec![(5, Array(vec![file("", 0)])), (7, Array(vec![]))]),
        ),
        // Chunks that cannot be.
        ("chunks beyond the file", chunked(3, vec![chunk(|_| ())])),
        ("chunks short of the file", chunked(5, vec![chunk(|_| ())])),
        (
            "an object that is not listed",
            chunked(4, vec![chunk(|c| c.object = 1)]),
        ),
        (
            "an object number beyond any",
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
            "beyond the object",
            chunked(4, vec![chunk(|c| c.offset = 81)]),
        ),
        (
            "an empty chunk",
            chunked(0, vec![chunk(|c| (c.stored_bytes, c.size_bytes) = (0, 0))]),
        ),
        (
            "a chunk that is as it is and of another size",
            chunked(5, vec![chunk(|c| c.size_bytes = 5)]),
        ),
        (
            "compression that makes it larger",
            chunked(4, vec![chunk(|c| c.codec = 1)]),
        ),
        (
            "a chunk that is compressed to nothing",
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
        ("an unknown codec", chunked(4, vec![chunk(|c| c.codec = 2)])),
        // CBOR that promises more than there is, or nests without end.
        ("nothing", Vec::new()),
        ("an array", Array(vec![]).encode()),
        ("an empty map", Map(vec![]).encode()),
        ("something after the payload", {
            let mut payload = inline(vec![file("", 0)], b"");
            payload.push(0);
            payload
        }),
        ("a map of 2^64 fields", prefix(0xbb, u64::MAX)),
        (
            "an entry count of 2^64",
            with_tree(Raw(prefix(0x9b, u64::MAX))),
        ),
        (
            "an entry count of 2^32",
            with_tree(Raw(prefix(0x9b, 1 << 32))),
        ),
        (
            "a text of 2^63 bytes",
            with_tree(Array(vec![Map(vec![(0, Raw(prefix(0x7b, 1 << 63)))])])),
        ),
        (
            "contents of 2^40 bytes",
            commit(vec![
                (5, Array(vec![file("", 1 << 40)])),
                (6, Raw(prefix(0x5b, 1 << 40))),
            ]),
        ),
        (
            "a tree of arrays in arrays",
            with_tree(Raw(vec![0x81; 1 << 20])),
        ),
        (
            "a tree of endless arrays",
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
            "an unknown field of endless arrays",
            unknown(vec![0x9f; 1 << 20]),
        ),
        (
            "an unknown field of endless maps",
            unknown(vec![0xbf; 1 << 20]),
        ),
        (
            "an unknown field of arrays in an endless array in an array",
            unknown([vec![0x83, 0x00, 0x9f], vec![0x81; 1 << 20]].concat()),
        ),
        (
            "an unknown field of tags of tags",
            unknown(vec![0xc1; 1 << 20]),
        ),
        (
            "an unknown field of endless arrays in arrays",
            unknown([0x82, 0x00, 0x9f].repeat(1 << 18)),
        ),
        (
            "an endless text",
            with_tree(Array(vec![Map(vec![(0, Raw(vec![0x7f]))])])),
        ),
        ("a break", vec![0xff]),
        (
            "text that is no text",
            with_tree(Array(vec![Map(vec![(0, Raw(vec![0x62, 0xff, 0xff]))])])),
        ),
        (
            "a negative size",
            with_tree(Array(vec![entry("", Some((4, Int(-1))))])),
        ),
        (
            "a write-id that is too short",
            commit(vec![(1, Bytes(vec![1; 15]))]),
        ),
    ]
}

fn time(path: &str, seconds: Cbor, nanoseconds: u64) -> Cbor {
    Map(vec![
        (0, Text(path.into())),
        (1, Uint(0)),
        (2, seconds),
        (3, Uint(nanoseconds)),
        (4, Uint(0)),
    ])
}

/// The head of something as long as this.
fn prefix(head: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![head];
    bytes.extend(length.to_be_bytes());
    bytes
}

/// A commit with a field that readers skip, which ends the payload.
fn unknown(value: Vec<u8>) -> Vec<u8> {
    commit(vec![
        (5, Array(vec![file("", 0)])),
        (6, Bytes(Vec::new())),
        (99, Raw(value)),
    ])
}

#[tokio::test]
async fn what_contradicts_itself_is_damage_before_anything_is_written() {
    for (name, payload) in impossible() {
        let forged = forged(&payload, Some(data_object(b"data"))).await;
        forged.is_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(
            forged.findings().await.first().map(String::as_str),
            Some("log/00000000000000000002"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_forger_of_these_tests_can_make_a_good_commit() {
    let chunk = Chunk {
        object: 0,
        offset: 0,
        stored_bytes: 4,
        size_bytes: 4,
        codec: 0,
        hash: blake3::hash(b"data").into(),
    };
    let object = data_object(b"data");
    let good = [
        inline(vec![file("", 4)], b"data"),
        commit(vec![
            (5, Array(vec![file("", 4)])),
            (7, Array(vec![reference(object.len() as u64)])),
            (8, Array(vec![chunk.encoded()])),
        ]),
        // Readers skip keys that they do not know.
        commit(vec![
            (5, Array(vec![file("", 4)])),
            (6, Bytes(b"data".to_vec())),
            (99, Array(vec![Text("later".into())])),
        ]),
    ];
    for payload in good {
        let forged = forged(&payload, Some(object.clone())).await;
        let read = forged.begin().await.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]));
    }
}

/// Contents in one chunk of the data object `1-0`, which holds `stored`.
fn in_one_chunk(stored: &[u8], size_bytes: u64, codec: u64, contents: &[u8]) -> Vec<u8> {
    let chunk = Chunk {
        object: 0,
        offset: 0,
        stored_bytes: stored.len() as u64,
        size_bytes,
        codec,
        hash: blake3::hash(contents).into(),
    };
    let object = data_object(stored).len() as u64;
    commit(vec![
        (5, Array(vec![file("", size_bytes)])),
        (7, Array(vec![reference(object)])),
        (8, Array(vec![chunk.encoded()])),
    ])
}

#[tokio::test]
async fn chunks_that_are_not_what_the_commit_says_are_damage_before_anything_is_written() {
    let zeros = vec![0; 1 << 20];
    let compressed = lz4_flex::block::compress(&zeros);
    let most = compressed.len() as u64 + 1;
    let garbage = noise(1, 100);
    for (name, stored, size_bytes, codec, contents) in [
        ("other bytes", &b"data"[..], 4, 0, &b"atad"[..]),
        (
            "more than declared",
            &compressed,
            most,
            1,
            &zeros[..most as usize],
        ),
        ("more by one", &compressed, (1 << 20) - 1, 1, &zeros[1..]),
        ("less than declared", &compressed, 16 << 20, 1, &zeros),
        ("no LZ4 block", &garbage, 1000, 1, &zeros[..1000]),
    ] {
        let payload = in_one_chunk(stored, size_bytes, codec, contents);
        let forged = forged(&payload, Some(data_object(stored))).await;
        forged.is_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(forged.findings().await, ["checkpoint 2"], "{name}");
    }
}

#[tokio::test]
async fn data_objects_that_are_not_what_the_commit_says_are_damage() {
    let whole = data_object(b"data");
    let payload = in_one_chunk(b"data", 4, 0, b"data");
    let shorter = whole[..whole.len() - 1].to_vec();
    let longer = [&whole[..], b"more"].concat();
    for (name, object) in [
        ("missing", None),
        ("shorter", Some(shorter)),
        ("longer", Some(longer)),
        ("empty", Some(Vec::new())),
    ] {
        let forged = forged(&payload, object).await;
        forged.is_refused(name, ErrorKind::Corrupt).await;
        assert_eq!(forged.findings().await, ["data/1-0"], "{name}");
    }
    // It is whole, and the commit says that it is longer.
    let chunk = Chunk {
        object: 0,
        offset: 0,
        stored_bytes: 4,
        size_bytes: 4,
        codec: 0,
        hash: blake3::hash(b"data").into(),
    };
    let payload = commit(vec![
        (5, Array(vec![file("", 4)])),
        (7, Array(vec![reference(whole.len() as u64 + 1)])),
        (8, Array(vec![chunk.encoded()])),
    ]);
    let lied_about = forged(&payload, Some(whole.clone())).await;
    lied_about.is_refused("a size", ErrorKind::Corrupt).await;
    assert_eq!(lied_about.findings().await, ["data/1-0"], "a size");
    // It says that it is larger than anything can be, and a chunk lies at its end.
    let chunk = Chunk {
        object: 0,
        offset: u64::MAX - 4,
        stored_bytes: 4,
        size_bytes: 4,
        codec: 0,
        hash: blake3::hash(b"data").into(),
    };
    let payload = commit(vec![
        (5, Array(vec![file("", 4)])),
        (7, Array(vec![reference(u64::MAX)])),
        (8, Array(vec![chunk.encoded()])),
    ]);
    let forged = forged(&payload, Some(whole)).await;
    forged.is_refused("endless", ErrorKind::Corrupt).await;
}

#[tokio::test]
async fn an_index_that_lies_is_found_and_misleads_no_reader() {
    let lie = |entries: &[(u32, &[u8])], count: u32| {
        let mut index = Vec::new();
        for (size, bytes) in entries {
            index.extend(size.to_le_bytes());
            index.extend(blake3::hash(bytes).as_bytes());
        }
        index.extend(b"\x93TCKD\r\n\x1a");
        index.extend(count.to_le_bytes());
        let hash = blake3::hash(&index);
        [&b"data"[..], &index, hash.as_bytes()].concat()
    };
    for (name, object) in [
        ("longer than the object", lie(&[(u32::MAX, b"data")], 1)),
        ("shorter", lie(&[(3, b"dat")], 1)),
        ("of other bytes", lie(&[(4, b"atad")], 1)),
        ("more entries than there are", lie(&[(4, b"data")], 2)),
        ("as many entries as can be", lie(&[(4, b"data")], u32::MAX)),
        ("fewer entries than there are", lie(&[(4, b"data")], 0)),
        ("no entry", lie(&[], 0)),
    ] {
        let chunk = Chunk {
            object: 0,
            offset: 0,
            stored_bytes: 4,
            size_bytes: 4,
            codec: 0,
            hash: blake3::hash(b"data").into(),
        };
        let payload = commit(vec![
            (5, Array(vec![file("", 4)])),
            (7, Array(vec![reference(object.len() as u64)])),
            (8, Array(vec![chunk.encoded()])),
        ]);
        let forged = forged(&payload, Some(object)).await;
        assert_eq!(forged.findings().await, ["data/1-0"], "{name}");
        let read = forged.begin().await.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]), "{name}");
    }
}

#[tokio::test]
async fn more_than_the_host_permits_is_refused_before_anything_is_written() {
    let quota = ErrorKind::QuotaExceeded;
    let many = (0..1_000_000).map(|n| file(&format!("{n:06}"), 0));
    let forged_many = forged(&in_a_dir(many), None).await;
    forged_many.is_refused("a million and one", quota).await;

    // 64 GiB and a little of zeros, from a data object of 64 KiB.
    let zeros = vec![0; 16 << 20];
    let stored = lz4_flex::block::compress(&zeros);
    let chunk = Chunk {
        object: 0,
        offset: 0,
        stored_bytes: stored.len() as u64,
        size_bytes: 16 << 20,
        codec: 1,
        hash: blake3::hash(&zeros).into(),
    };
    let object = data_object(&stored);
    let bomb = commit(vec![
        (5, Array(vec![file("", 4097 * (16 << 20))])),
        (7, Array(vec![reference(object.len() as u64)])),
        (8, Array(vec![chunk.encoded(); 4097])),
    ]);
    let forged_bomb = forged(&bomb, Some(object)).await;
    forged_bomb.is_refused("a bomb", quota).await;
}

/// Whatever the disk makes of it, nothing outside the target changes.
#[tokio::test]
async fn what_no_directory_can_hold_is_refused_and_nothing_beside_it_changes() {
    let levels = |most: usize| (1..=most).map(|n| dir(&vec!["d"; n].join("/")));
    for (name, payload) in [
        ("1,500 levels", in_a_dir(levels(1500))),
        ("a name of 300 bytes", in_a_dir([file(&"n".repeat(300), 0)])),
        (
            "a link of 4,096 bytes",
            in_a_dir([link("a", &"t".repeat(4096))]),
        ),
        (
            "the marker as a file",
            in_a_dir([file(".task-checkpoint-restoring", 0)]),
        ),
        (
            "the marker as a directory",
            in_a_dir([
                dir(".task-checkpoint-restoring"),
                file(".task-checkpoint-restoring/a", 0),
            ]),
        ),
        (
            "the marker as a link",
            in_a_dir([link(".task-checkpoint-restoring", "../canary")]),
        ),
    ] {
        for (path, existing) in [
            ("target", Existing::Refuse),
            ("occupied", Existing::Replace),
        ] {
            let forged = forged(&payload, None).await;
            let temp = beside_a_canary();
            let attempt = forged.begin().await;
            let target = || DirTree::ambient(&temp.path().join(path)).unwrap();
            let before = target().state().unwrap();
            let restored = attempt.restore(target(), existing).await;
            assert_eq!(kind(name, restored), ErrorKind::InvalidPath, "{name}");
            assert_eq!(fs::read(temp.path().join("canary")).unwrap(), b"sings");
            let mut beside: Vec<_> = fs::read_dir(temp.path()).unwrap().collect();
            beside.retain(|entry| entry.as_ref().unwrap().file_name() != "target");
            assert_eq!(beside.len(), 2, "{name}: something new beside the target");
            assert_eq!(target().state().unwrap(), before, "{name}");
            // And it can be restored to.
            attempt.write("instead".into()).await.unwrap();
            attempt.restore(target(), existing).await.unwrap();
        }
    }
}

#[tokio::test]
async fn links_are_made_and_never_followed() {
    let temp = beside_a_canary();
    let canary = temp.path().join("canary");
    let payload = in_a_dir([
        link("absolute", canary.to_str().unwrap()),
        link("relative", "../canary"),
        link("up", ".."),
        link("z", "z"),
    ]);
    let forged = forged(&payload, None).await;
    let before = fs::metadata(&canary).unwrap().modified().unwrap();
    let target = temp.path().join("target");
    let attempt = forged.begin().await;
    for _ in 0..2 {
        let place = DirTree::ambient(&target).unwrap();
        attempt.restore(place, Existing::Refuse).await.unwrap();
    }
    assert_eq!(fs::read_link(target.join("up")).unwrap(), Path::new(".."));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 4);
    // And what replaces it removes the links, not what they name.
    let place = DirTree::ambient(&target).unwrap();
    attempt.write("instead".into()).await.unwrap();
    attempt.restore(place, Existing::Replace).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"instead");
    assert_eq!(fs::read(&canary).unwrap(), b"sings");
    assert_eq!(fs::metadata(&canary).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn times_that_no_disk_can_hold_do_no_harm() {
    let times = [
        (Int(i64::MIN), 0),
        (Int(i64::MIN), 999_999_999),
        (Uint(i64::MAX as u64), 999_999_999),
        (Uint(1 << 40), 1),
    ];
    for (seconds, nanoseconds) in times {
        let time = |path: &str, what: Option<(u64, Cbor)>| {
            let common = [
                (0, Text(path.into())),
                (1, Uint(0o755)),
                (2, seconds.clone()),
                (3, Uint(nanoseconds)),
            ];
            Map(common.into_iter().chain(what).collect())
        };
        let tree = vec![
            time("", None),
            time("a", Some((4, Uint(0)))),
            time("b", Some((5, Text("a".into())))),
        ];
        let forged = forged(&inline(tree, b""), None).await;
        let temp = beside_a_canary();
        let target = DirTree::ambient(&temp.path().join("target")).unwrap();
        let attempt = forged.begin().await;
        let restored = attempt.restore(target, Existing::Refuse).await;
        assert_eq!(restored.unwrap(), Some(2), "the disk takes the nearest");
    }
}

#[tokio::test]
async fn a_log_that_is_full_takes_no_claim_and_is_read_all_the_same() {
    let forged = forged(&inline(vec![file("", 4)], b"data"), None).await;
    let last = paths::record(forged.location.prefix(), u64::MAX);
    let fields = vec![
        (4, Array(vec![Uint(u64::MAX)])),
        (5, Array(vec![file("", 4)])),
        (6, Bytes(b"last".to_vec())),
    ];
    let bytes = record(1, 2, &commit(fields));
    forged.store.put(&last, bytes.into()).await.unwrap();
    let begun = Attempt::begin(forged.location.clone(), AttemptSettings::default()).await;
    assert_eq!(kind("full", begun), ErrorKind::Corrupt);
    let checkpoints = forged.location.checkpoints().await.unwrap();
    assert_eq!(checkpoints[0].read_single().await.unwrap(), "last");
}

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Counts what each thread holds, and the most that it held.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(change: impl Fn(usize) -> usize) {
    // A thread that ends allocates after its counters are gone.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = change(now);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|now| now.saturating_add(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(|now| now.saturating_sub(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
}

/// The most memory that this thread held beyond what it holds now.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = work();
    (result, HELD.get().1 - before)
}

/// Memory for each byte of a record. A short entry of ten bytes becomes an [`Entry`](crate::Entry) of
/// about a hundred, in a list that doubles as it grows, which is 23; arrays in arrays in a field that is
/// skipped are 48.
const MOST_FOR_A_BYTE: usize = 48;

#[test]
fn a_record_takes_no_more_memory_than_its_bytes_justify() {
    let payloads = impossible().into_iter().chain([
        (
            "entries",
            in_a_dir((0..10_000).map(|n| file(&format!("{n}"), 0))),
        ),
        (
            "contents",
            inline(vec![file("", 1 << 20)], &vec![1; 1 << 20]),
        ),
        ("retained", commit(vec![(4, Array(vec![Uint(0); 1 << 20]))])),
        ("short entries", in_a_dir(vec![file("a", 0); 1 << 18])),
        (
            "objects",
            commit(vec![
                (5, Array(vec![file("", 0)])),
                (
                    7,
                    Array(vec![Array(vec![Uint(0), Uint(0), Uint(0)]); 1 << 18]),
                ),
            ]),
        ),
        (
            "objects of nothing",
            commit(vec![
                (5, Array(vec![file("", 0)])),
                (7, Array(vec![Array(vec![]); 1 << 18])),
            ]),
        ),
    ]);
    for (name, payload) in payloads {
        let bytes = record(1, 2, &payload);
        let (decoded, most) = most_held(|| Record::decode(&bytes).map(drop));
        assert!(
            most <= MOST_FOR_A_BYTE * bytes.len() + 4096,
            "{name}: {most} bytes are held for {}: {decoded:?}",
            bytes.len()
        );
    }
}
