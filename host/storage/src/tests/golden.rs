//! Golden files of format version 1. They were written once by this test and must stay readable for ever.
//! `FORMAT.md` describes their bytes.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::format::{
    Below, Block, Chunk, Claim, Codec, Commit, Contents, Described, Description, Found, LocationId,
    ObjectName, ObjectRef, Predecessor, Record, Root, WriteId, pack,
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

fn described(tree: Tree, contents: Contents) -> Described {
    Described::Here(Description { tree, contents }.into())
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
        below: Below::Commit(6),
    };
    let empty = Claim {
        predecessor: Some(Predecessor {
            url: "file:///before".to_owned(),
            found: None,
        }),
        fresh: true,
        below: Below::NoCommit,
        ..claim.clone()
    };
    let bare = Claim {
        component: None,
        predecessor: None,
        below: Below::Unknown,
        ..claim.clone()
    };
    let tree = Tree::new(vec![
        entry("", Node::Dir),
        entry("a", Node::File { size_bytes: 3 }),
        entry("ü", Node::Link { target: "a".into() }),
        Entry {
            modified: SystemTime::UNIX_EPOCH - Duration::new(1, 1),
            ..entry("z", Node::Dir)
        },
    ]);
    let inline = Commit {
        epoch: 7,
        write_id: WriteId([3; 16]),
        attempt: 2,
        saved_at: time(1_700_000_001, 2_000_000),
        retains: vec![5, 8],
        description: described(tree.unwrap(), Contents::Inline("abc".into())),
        objects: Vec::new(),
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
    let object = ObjectName {
        epoch: 7,
        counter: 0,
    };
    let raw = Chunk {
        block: Block {
            object,
            offset: 0,
            stored_bytes: 100,
            size_bytes: 100,
            codec: Codec::Raw,
        },
        start: 0,
        size_bytes: 100,
        hash: [4; 32],
    };
    let compressed = Chunk {
        block: Block {
            offset: 100,
            size_bytes: 1_000,
            codec: Codec::Lz4,
            ..raw.block
        },
        start: 300,
        size_bytes: 700,
        hash: [5; 32],
    };
    let file = Tree::new(vec![entry("", Node::File { size_bytes: 800 })]);
    let objects = vec![ObjectRef {
        epoch: 7,
        counter: 0,
        size_bytes: 1_000,
    }];
    let chunked = Commit {
        description: described(file.unwrap(), Contents::Chunks(vec![raw, compressed])),
        objects: objects.clone(),
        ..inline.clone()
    };
    let root = Root {
        levels: 2,
        entries: 1_000,
        files: 900,
        entries_bytes: 40_000,
        chunks_bytes: 2_000,
        contents_bytes: 50_000_000,
        nodes: vec![raw, compressed],
    };
    let stored = Commit {
        description: Described::Stored {
            root: root.clone(),
            inline: None,
        },
        objects: objects.clone(),
        ..inline.clone()
    };
    let stored_inline = Commit {
        description: Described::Stored {
            root: Root {
                chunks_bytes: 0,
                contents_bytes: 3,
                ..root
            },
            inline: Some("abc".into()),
        },
        objects,
        ..inline.clone()
    };
    vec![
        ("claim", Record::Claim(claim)),
        ("claim-bare", Record::Claim(bare)),
        ("claim-fresh", Record::Claim(empty)),
        ("commit-inline", Record::Commit(inline.into())),
        ("commit-chunks", Record::Commit(chunked.into())),
        ("commit-stored", Record::Commit(stored.into())),
        ("commit-stored-inline", Record::Commit(stored_inline.into())),
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
