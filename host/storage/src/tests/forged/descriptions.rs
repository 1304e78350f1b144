//! Roots that contradict themselves, or the description that they lead to, are damage.

use object_store::ObjectStoreExt;

use super::memory::MAX_PER_BYTE;
use super::records::Case;
use super::{Forged, file};
use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::tests::forge::Cbor::{Array, Bytes, Map, Raw, Text, Uint};
use crate::tests::forge::{Cbor, Chunk, commit, data_object, object_ref};
use crate::tests::peak::peak_of;

/// A checkpoint whose description is stored in data objects.
#[derive(Clone)]
struct Parts {
    levels: u64,
    entries: u64,
    files: u64,
    entries_bytes: u64,
    chunks_bytes: u64,
    contents_bytes: u64,
    nodes: Vec<Chunk>,
    /// The blocks of the data object `1-0`.
    blocks: Vec<Vec<u8>>,
    /// The contents, if they are part of the commit.
    inline: Option<Vec<u8>>,
}

/// A description, in parts.
#[derive(Clone)]
struct Description {
    entries: Vec<u8>,
    times: Vec<u8>,
    chunks: Vec<u8>,
}

/// The only file, of this size.
fn entry(size_bytes: u64) -> Vec<u8> {
    let fields = [
        (0, Text(String::new())),
        (1, Uint(0o644)),
        (2, Uint(0)),
        (4, Uint(size_bytes)),
    ];
    Map(fields.to_vec()).encode()
}

fn description() -> Description {
    Description {
        entries: entry(4),
        times: vec![0; 8],
        chunks: Chunk::raw(b"data").encoded().encode(),
    }
}

/// A block that is one chunk, at this offset.
fn raw(offset: usize, bytes: &[u8]) -> Chunk {
    Chunk {
        offset: offset as u64,
        ..Chunk::raw(bytes)
    }
}

impl Parts {
    /// A file with the contents `data`, described by this on one level.
    fn of(description: Description) -> Self {
        let Description {
            entries,
            times,
            chunks,
        } = description;
        let bytes = [&entries[..], &times, &chunks].concat();
        Self {
            levels: 1,
            entries: 1,
            files: 1,
            entries_bytes: entries.len() as u64,
            chunks_bytes: chunks.len() as u64,
            contents_bytes: 4,
            nodes: vec![raw(4, &bytes)],
            blocks: vec![b"data".to_vec(), bytes],
            inline: None,
        }
    }

    /// Stores the list of the nodes in a node.
    fn deeper(mut self) -> Self {
        let list = self.nodes.iter().flat_map(|node| node.encoded().encode());
        let list: Vec<u8> = list.collect();
        self.nodes = vec![raw(self.blocks.concat().len(), &list)];
        self.blocks.push(list);
        self.levels += 1;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn object(&self) -> Vec<u8> {
        data_object(self.blocks.iter().map(Vec::as_slice))
    }

    fn root(&self) -> Vec<Cbor> {
        let numbers = [
            self.levels,
            self.entries,
            self.files,
            self.entries_bytes,
            self.chunks_bytes,
            self.contents_bytes,
        ];
        let nodes = self.nodes.iter().map(Chunk::encoded).collect();
        let numbers = numbers.into_iter().map(Uint);
        numbers.chain([Array(nodes)]).collect()
    }

    /// The payload of the commit, with more fields.
    fn payload(&self, more: impl IntoIterator<Item = (u64, Cbor)>) -> Vec<u8> {
        let object = object_ref(1, 0, self.object().len() as u64);
        let mut fields = vec![(7, Array(vec![object])), (16, Array(self.root()))];
        fields.extend(self.inline.clone().map(|inline| (6, Bytes(inline))));
        commit(fields.into_iter().chain(more))
    }
}

/// Commits that contradict themselves, whatever their data objects hold. Their root is on two levels where not said
/// otherwise: what a root on one level says of sizes is compared with its nodes.
pub(super) fn invalid_roots() -> Vec<Case> {
    let one = || Parts::of(description());
    let two = || one().deeper();
    let zeros = Chunk {
        size_bytes: 16 << 20,
        codec: 1,
        ..Chunk::raw(b"data")
    };
    let parts = [
        ("no levels", two().with(|p| p.levels = 0)),
        ("nine levels", two().with(|p| p.levels = 9)),
        ("256 levels", two().with(|p| p.levels = 256)),
        ("no entries", two().with(|p| p.entries = 0)),
        (
            "more entries than bytes of entries",
            two().with(|p| p.entries = p.entries_bytes + 1),
        ),
        ("more files than entries", two().with(|p| p.files = 2)),
        (
            "a description of more than 256 MiB",
            two().with(|p| p.chunks_bytes = 256 << 20),
        ),
        (
            "the longest description that can be encoded",
            two().with(|p| p.chunks_bytes = u64::MAX),
        ),
        (
            "lists of more than 256 MiB",
            two().with(|p| p.nodes = vec![zeros.clone(); 17]),
        ),
        (
            "nodes of another size than the description",
            one().with(|p| p.entries_bytes += 1),
        ),
        ("no nodes", one().with(|p| p.nodes.clear())),
        (
            "contents in the commit and in data objects",
            two().with(|p| p.inline = Some(b"data".to_vec())),
        ),
        ("contents nowhere", two().with(|p| p.chunks_bytes = 0)),
        (
            "contents of another size",
            two().with(|p| {
                p.inline = Some(b"dat".to_vec());
                p.chunks_bytes = 0;
            }),
        ),
        (
            "a node in an object that is not listed",
            two().with(|p| p.nodes[0].object = 1),
        ),
        (
            "a node beyond the end of its object",
            two().with(|p| p.nodes[0].offset = 1000),
        ),
        (
            "nodes that overlap",
            two().with(|p| {
                let mut node = p.nodes[0].clone();
                node.offset -= 1;
                p.nodes.push(node);
            }),
        ),
    ];
    let named = parts.map(|(name, parts)| (name, parts.payload([])));
    let eight = [two().root(), vec![Uint(0)]].concat();
    let six = two().root().into_iter().take(6).collect();
    let others = [
        ("a root of eight items", two().payload([(16, Array(eight))])),
        ("a root of six items", two().payload([(16, Array(six))])),
        (
            "a root and entries",
            two().payload([(5, Array(vec![file("", 4)]))]),
        ),
        ("a root and times", two().payload([(15, Bytes(vec![0; 8]))])),
        (
            "a root and chunks",
            two().payload([(8, Array(vec![Chunk::raw(b"data").encoded()]))]),
        ),
    ];
    named.into_iter().chain(others).collect()
}

/// Commits whose description is not what they say.
fn invalid_descriptions() -> Vec<(&'static str, Parts)> {
    let one = || Parts::of(description());
    let of = |change: fn(&mut Description)| {
        let mut description = description();
        change(&mut description);
        Parts::of(description)
    };
    vec![
        (
            "another number of entries",
            one().with(|p| {
                p.entries = 2;
                p.chunks_bytes -= 8;
            }),
        ),
        ("another number of files", one().with(|p| p.files = 0)),
        (
            "another size of the contents",
            one().with(|p| p.contents_bytes = 5),
        ),
        (
            "entries that end elsewhere",
            one().with(|p| {
                p.entries_bytes += 1;
                p.chunks_bytes -= 1;
            }),
        ),
        (
            "a file of another size than its contents",
            of(|d| d.entries = entry(5)),
        ),
        (
            "a longer form of a number in an entry",
            of(|d| {
                let mode = [0x19, 0x01, 0xa4];
                let at = d.entries.windows(3).position(|bytes| bytes == mode);
                let at = at.unwrap();
                d.entries.splice(at..at + 3, [0x1a, 0x00, 0x00, 0x01, 0xa4]);
            }),
        ),
        (
            "a tree without a root",
            of(|d| {
                let fields = [
                    (0, Text("a".into())),
                    (1, Uint(0)),
                    (2, Uint(1)),
                    (4, Uint(4)),
                ];
                d.entries = Map(fields.to_vec()).encode();
            }),
        ),
        (
            "a longer form of a number in a chunk",
            of(|d| {
                let chunk = Chunk::raw(b"data");
                let numbers = [Uint(1), Uint(0), Raw(vec![0x18, 0x00]), Uint(4)];
                let hash = Bytes(chunk.hash.to_vec());
                let items = numbers.into_iter().chain([hash]);
                d.chunks = Array(items.collect()).encode();
            }),
        ),
        (
            "keys of an entry out of order",
            of(|d| {
                let fields = [
                    (1, Uint(0o644)),
                    (0, Text(String::new())),
                    (2, Uint(0)),
                    (4, Uint(4)),
                ];
                d.entries = Map(fields.to_vec()).encode();
            }),
        ),
        (
            "more than permission bits",
            of(|d| {
                let fields = [
                    (0, Text(String::new())),
                    (1, Uint(0o1644)),
                    (2, Uint(0)),
                    (4, Uint(4)),
                ];
                d.entries = Map(fields.to_vec()).encode();
            }),
        ),
        ("a byte after the chunks", of(|d| d.chunks.push(0))),
        (
            "a chunk beyond the end of its object",
            of(|d| d.chunks = raw(1000, b"data").encoded().encode()),
        ),
        (
            "chunks in an object that is not listed",
            of(|d| {
                let chunk = Chunk {
                    object: 1,
                    ..Chunk::raw(b"data")
                };
                d.chunks = chunk.encoded().encode();
            }),
        ),
        (
            "a chunk that overlaps a node",
            of(|d| d.chunks = raw(4, &entry(4)[..4]).encoded().encode()),
        ),
        (
            "a list that names an object that is not listed",
            one().with(|p| p.nodes[0].object = 1).deeper(),
        ),
        ("a list that names other bytes", {
            let wrong = one().with(|p| p.nodes[0].hash = [1; 32]);
            wrong.deeper()
        }),
        (
            "a longer form of a number in a list",
            one().deeper().with(|p| {
                let list = p.blocks.pop().unwrap();
                // The epoch of the data object.
                let list = [&list[..1], &[0x18, 0x01], &list[2..]].concat();
                p.nodes = vec![raw(p.blocks.concat().len(), &list)];
                p.blocks.push(list);
            }),
        ),
        (
            "a description instead of a list",
            one().with(|p| p.levels = 2),
        ),
        (
            "a list instead of a description",
            one().deeper().with(|p| {
                p.levels = 1;
                let size_bytes = p.nodes[0].size_bytes;
                p.chunks_bytes = size_bytes - p.entries_bytes - 8;
            }),
        ),
        ("an empty list", one().deeper().with(|p| p.nodes.clear())),
        ("a list that refers to itself", {
            // The right hash cannot be found.
            let list = |size_bytes| Chunk {
                hash: [1; 32],
                ..raw(4, &vec![0; size_bytes])
            };
            let lists = (1..100).map(|size| (size, list(size).encoded().encode()));
            let mut lists = lists.filter(|(size, list)| list.len() == *size);
            let (_, list) = lists.next().unwrap();
            one().with(|p| {
                p.nodes = vec![raw(4, &list)];
                p.blocks[1] = list;
                p.levels = 8;
            })
        }),
        ("a list of more than 256 MiB", too_long_a_list()),
    ]
}

/// A root of three levels, whose second list is 272 MiB long.
fn too_long_a_list() -> Parts {
    Parts::of(description())
        .with(|p| {
            let zeros = vec![0; 16 << 20];
            let stored = lz4_flex::block::compress(&zeros);
            let node = Chunk {
                offset: p.blocks.concat().len() as u64,
                stored_bytes: stored.len() as u64,
                codec: 1,
                ..Chunk::raw(&zeros)
            };
            p.blocks.push(stored);
            p.nodes = vec![node; 17];
        })
        .deeper()
        .with(|p| p.levels = 3)
}

#[tokio::test]
async fn a_description_that_its_commit_contradicts_is_damage_before_anything_is_written() {
    for (name, parts) in invalid_descriptions() {
        let forged = Forged::put(&parts.payload([]), Some(parts.object())).await;
        // The commit alone does not show it.
        let [checkpoint] = &forged.location.checkpoints().await.unwrap()[..] else {
            panic!("{name}: the commit is refused");
        };
        let tree = checkpoint.tree(&Limits::default()).await;
        assert_eq!(tree.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
        forged.assert_refused(name, ErrorKind::Corrupt).await;
        let report = forged.location.verify().await.unwrap();
        assert_eq!(report.checkpoints, [] as [u64; 0], "{name}");
        assert!(!report.findings.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_data_object_that_only_the_list_of_a_commit_names_is_damage() {
    for levels in [1, 2] {
        let mut parts = Parts::of(description());
        if levels == 2 {
            parts = parts.deeper();
        }
        let object = parts.object();
        let size_bytes = object.len() as u64;
        let listed = [object_ref(1, 0, size_bytes), object_ref(1, 1, size_bytes)];
        let payload = parts.payload([(7, Array(listed.to_vec()))]);
        let forged = Forged::put(&payload, Some(object.clone())).await;
        let other = "task/data/1-1".into();
        forged.store.put(&other, object.into()).await.unwrap();
        forged.assert_refused("unused", ErrorKind::Corrupt).await;
    }
}

/// Otherwise the other tests could pass because every root that is forged is refused.
#[tokio::test]
async fn a_forged_description_that_is_valid_is_accepted() {
    let mut inline = description();
    inline.chunks.clear();
    let inline = Parts::of(inline).with(|p| p.inline = Some(b"data".to_vec()));
    let mut deep = Parts::of(description());
    for _ in 1..8 {
        deep = deep.deeper();
    }
    for parts in [Parts::of(description()), inline, deep] {
        let forged = Forged::put(&parts.payload([]), Some(parts.object())).await;
        let read = forged.begin().await.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"data"[..]));
        let findings = forged.findings().await;
        // In the commit, the contents need no block.
        assert_eq!(findings, [] as [String; 0]);
    }
}

/// A description of as many entries and of these chunks, from a far smaller data object.
fn bomb(count: u64, entries: Vec<u8>, chunks: Vec<u8>) -> Parts {
    let description = Description {
        entries,
        times: vec![0; 8 * count as usize],
        chunks,
    };
    Parts::of(description).with(|p| {
        p.entries = count;
        let bytes = std::mem::take(&mut p.blocks[1]);
        p.blocks[1] = lz4_flex::block::compress(&bytes);
        p.nodes[0].stored_bytes = p.blocks[1].len() as u64;
        p.nodes[0].codec = 1;
    })
}

#[test]
fn reading_a_forged_description_takes_memory_in_proportion_to_what_its_commit_says() {
    const MIB: usize = 1 << 20;
    let dir = |depth, name: String| {
        let fields = [(0, Text(name)), (1, Uint(0)), (2, Uint(depth))];
        Map(fields.to_vec()).encode()
    };
    let mut shortest = dir(0, String::new());
    shortest.extend((0..1 << 18).flat_map(|n| dir(1, format!("{n:05x}"))));
    let chunk = Chunk::raw(b"data").encoded().encode();
    for (name, parts, most) in [
        // Nothing of it is read.
        ("a list of 272 MiB", too_long_a_list(), MIB),
        (
            "the shortest entries",
            bomb((1 << 18) + 1, shortest, chunk.clone()),
            MAX_PER_BYTE * 4 * MIB,
        ),
        (
            "chunks",
            bomb(1, entry(4), chunk.repeat(4 * MIB / chunk.len())),
            MAX_PER_BYTE * 4 * MIB,
        ),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let payload = parts.payload([]);
        let forged = runtime.block_on(Forged::put(&payload, Some(parts.object())));
        // Everything runs on this thread.
        let location = forged.location.with_environment(Environment::simulated());
        let checkpoint = runtime.block_on(location.checkpoints()).unwrap().remove(0);
        let (tree, peak) = peak_of(|| runtime.block_on(checkpoint.tree(&Limits::default())));
        assert_eq!(tree.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
        assert!(peak <= most, "{name}: {peak} bytes of memory");
    }
}
