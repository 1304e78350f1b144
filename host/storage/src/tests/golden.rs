//! Golden files of format version 1. They were written once by this test and must stay readable for ever.
//! `FORMAT.md` describes their bytes.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::format::{
    Chunk, Claim, Codec, Commit, Contents, Found, LocationId, ObjectRef, Predecessor, Record,
    WriteId, pack,
};
use crate::metadata::Metadata;
use crate::tree::{Entry, Node, Tree};

fn time(seconds: u64, nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

fn entry(path: &str, node: Node) -> Entry {
    Entry {
        path: path.to_owned(),
        node,
        mode: 0o750,
        modified: time(1_700_000_000, 5),
    }
}

fn records() -> Vec<(&'static str, Record)> {
    let claim = Claim {
        epoch: 7,
        write_id: WriteId([1; 16]),
        attempt: 2,
        component: Some([2; 32]),
        predecessor: Some(Predecessor {
            url: "s3://bucket/before".to_owned(),
            found: Some(Found {
                id: LocationId([7; 16]),
                newest: Some(300),
            }),
        }),
        location_id: LocationId([6; 16]),
        keep: NonZeroUsize::new(3).unwrap(),
        fresh: false,
        permanent_bytes: 70_000,
    };
    let empty = Claim {
        predecessor: Some(Predecessor {
            url: "file:///before".to_owned(),
            found: None,
        }),
        fresh: true,
        ..claim.clone()
    };
    let bare = Claim {
        component: None,
        predecessor: None,
        ..claim.clone()
    };
    let inline = Commit {
        epoch: 7,
        write_id: WriteId([3; 16]),
        attempt: 2,
        saved_at: time(1_700_000_001, 2_000_000),
        retains: vec![5, 8],
        tree: Tree::new(vec![
            entry("", Node::Dir),
            entry("a", Node::File { size_bytes: 3 }),
            entry("ü", Node::Link { target: "a".into() }),
            Entry {
                modified: SystemTime::UNIX_EPOCH - Duration::new(1, 1),
                ..entry("z", Node::Dir)
            },
        ])
        .unwrap(),
        contents: Contents::Inline("abc".into()),
        metadata: Metadata::default(),
        location_id: LocationId([6; 16]),
        keep: NonZeroUsize::new(3).unwrap(),
        given_up: Vec::new(),
        permanent_bytes: 70_300,
    };
    let given_up = Commit {
        given_up: vec![2, 6],
        ..inline.clone()
    };
    let labelled = Commit {
        metadata: Metadata {
            annotations: [("loss", "0.1"), ("step", "7")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            schema: Some("weights/2".to_owned()),
        },
        ..inline.clone()
    };
    let chunk = Chunk {
        object: 0,
        offset: 0,
        stored_bytes: 100,
        size_bytes: 100,
        codec: Codec::Raw,
        hash: [4; 32],
    };
    let chunked = Commit {
        tree: Tree::new(vec![entry("", Node::File { size_bytes: 1100 })]).unwrap(),
        contents: Contents::Chunks {
            objects: vec![ObjectRef {
                epoch: 7,
                counter: 0,
                size_bytes: 1_000,
            }],
            chunks: vec![
                chunk,
                Chunk {
                    offset: 100,
                    size_bytes: 1_000,
                    codec: Codec::Lz4,
                    hash: [5; 32],
                    ..chunk
                },
            ],
        },
        ..inline.clone()
    };
    vec![
        ("claim", Record::Claim(claim)),
        ("claim-bare", Record::Claim(bare)),
        ("claim-fresh", Record::Claim(empty)),
        ("commit-inline", Record::Commit(inline.into())),
        ("commit-chunks", Record::Commit(chunked.into())),
        ("commit-labelled", Record::Commit(labelled.into())),
        ("commit-given-up", Record::Commit(given_up.into())),
    ]
}

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1");
    PathBuf::from(folder).join(name)
}

/// Compares these bytes with a golden file. `BLESS=1` creates a missing file but never changes an existing one.
fn check(name: &str, bytes: &[u8]) {
    let path = path(name);
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path).unwrap();
    assert_eq!(bytes, golden, "{name}: the format has changed");
}

#[test]
fn records_match_their_golden_files() {
    for (name, record) in records() {
        check(name, &record.encode().unwrap());
        assert_eq!(
            Record::decode(&fs::read(path(name)).unwrap()).unwrap(),
            record
        );
    }
}

#[test]
fn data_objects_match_their_golden_file() {
    let chunks: [&[u8]; 2] = [b"first", b"second"];
    let stored = chunks.map(|bytes| pack::StoredChunk {
        bytes: bytes.len() as u32,
        hash: blake3::hash(bytes).into(),
    });
    let mut object = chunks.concat();
    object.extend(pack::encode_index(&stored));
    check("data", &object);
    pack::verify(&fs::read(path("data")).unwrap()).unwrap();
}
