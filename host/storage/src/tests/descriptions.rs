//! Descriptions that are too large for a commit: stored as nodes on several levels, shared between saves, and damaged
//! node by node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;

use super::damage::flip;
use super::faulty_store::FaultyStore;
use super::memory_tree::MemoryTree;
use super::properties::{block_on, config};
use super::{begin, faulty, noise};
use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::format::{Block, Chunk, Codec, Described, Objects, Root, decode_list, pack, size_of};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::TreeTarget;
use crate::tree::{Entry, Node, Tree};
use crate::{Attempt, ResumePoint, paths};

/// An empty location where a few KiB make several levels of nodes and several data objects.
fn small() -> (Arc<FaultyStore>, OpenLocation) {
    let (store, location) = faulty();
    (store, location.with_environment(Environment::simulated()))
}

/// A directory of files, by their paths. Every entry has another modification time.
#[derive(Clone, Debug)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// All times are others if this is.
    touched: u64,
}

impl Files {
    /// Files of this many bytes in ten directories. Other seeds give other names and contents.
    fn new(seed: u64, count: usize, size_bytes: usize) -> Self {
        let mut files = Self {
            files: BTreeMap::new(),
            touched: 0,
        };
        files.add(seed, count, size_bytes);
        files
    }

    fn add(&mut self, seed: u64, count: usize, size_bytes: usize) {
        for number in 0..count {
            let seed = seed << 32 | number as u64;
            let name = u128::from_le_bytes(noise(seed, 16).try_into().unwrap());
            let path = format!("dir {}/{number:05} {name:x}", number % 10);
            self.files.insert(path, noise(seed, size_bytes));
        }
    }

    /// Changes the contents of a file, and returns its path.
    fn change(&mut self, number: usize, seed: u64) -> String {
        let number = number % self.files.len();
        let (path, contents) = self.files.iter_mut().nth(number).unwrap();
        *contents = noise(seed, contents.len());
        path.clone()
    }

    fn held(&self) -> (Tree, Bytes) {
        let file = |(path, contents): (&String, &Vec<u8>)| {
            let size_bytes = contents.len() as u64;
            (path.clone(), Node::File { size_bytes })
        };
        let dirs: BTreeSet<_> = self.files.keys().map(|path| &path[..5]).collect();
        let dirs = dirs.into_iter().map(|dir| (dir.to_owned(), Node::Dir));
        let nodes = std::iter::once((String::new(), Node::Dir)).chain(dirs);
        let entries = nodes.chain(self.files.iter().map(file));
        let entries = entries.map(|(path, node)| Entry {
            modified: self.time(&path),
            path,
            node,
            mode: 0o644,
        });
        let tree = Tree::new(entries.collect()).unwrap();
        let contents: Vec<_> = tree
            .entries()
            .flat_map(|entry| self.files.get(&entry.path))
            .collect();
        let contents = contents.into_iter().flatten().copied().collect::<Vec<_>>();
        (tree, contents.into())
    }

    fn time(&self, path: &str) -> SystemTime {
        let hash = blake3::hash(format!("{} {path}", self.touched).as_bytes());
        let nanoseconds = u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap());
        SystemTime::UNIX_EPOCH
            + Duration::new(1_700_000_000, 0)
            + Duration::from_micros(nanoseconds.into())
    }

    async fn save(&self, attempt: &Attempt) -> u64 {
        let (tree, contents) = self.held();
        let saved = attempt.save(MemoryTree::holding(tree, contents)).await;
        saved.unwrap().sequence
    }
}

/// What an attempt restores.
async fn restored(attempt: &Attempt) -> (Tree, Bytes) {
    let target = MemoryTree::default();
    let restored = attempt.restore(target.clone(), Existing::Refuse).await;
    assert!(restored.unwrap().is_some());
    target.held().unwrap()
}

async fn newest(location: &OpenLocation) -> Checkpoint {
    location.checkpoints().await.unwrap().remove(0)
}

/// The root of a description that is too large for its commit.
fn root(checkpoint: &Checkpoint) -> &Root {
    match &checkpoint.commit.description {
        Described::Stored { root, .. } => root,
        Described::Here(_) => panic!("the description is part of the commit"),
    }
}

/// Everything that a checkpoint refers to.
#[derive(Default)]
struct Found {
    /// The nodes of each list, the one of the root first.
    levels: Vec<Vec<Chunk>>,
    chunks: Vec<Chunk>,
}

impl Found {
    fn nodes(&self) -> impl Iterator<Item = &Chunk> {
        self.levels.iter().flatten()
    }

    fn all(&self) -> impl Iterator<Item = &Chunk> {
        self.nodes().chain(&self.chunks)
    }
}

/// Reads a description from the stored bytes, as `FORMAT.md` says, without what its commit says of data objects.
async fn walk(store: &InMemory, checkpoint: &Checkpoint) -> Found {
    let mut found = Found::default();
    let root = match &checkpoint.commit.description {
        Described::Stored { root, .. } => root,
        Described::Here(description) => {
            found.chunks = description.contents.chunks().to_vec();
            return found;
        }
    };
    let objects = list_objects(&checkpoint.location).await.unwrap();
    let objects: Objects = objects.into_iter().collect();
    let mut list = root.nodes.clone();
    for level in 1..=root.levels {
        let bytes = concatenated(store, &list).await;
        found.levels.push(list);
        if level == root.levels {
            let chunks = &bytes[(root.entries_bytes + 8 * root.entries) as usize..];
            found.chunks = decode_list(chunks, &objects).unwrap();
            break;
        }
        list = decode_list(&bytes, &objects).unwrap();
    }
    found
}

async fn concatenated(store: &InMemory, chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Chunk {
        block,
        start,
        size_bytes,
        hash,
    } in chunks
    {
        let stored = store
            .get_range(&path_of(block), block.offset.into()..block.end())
            .await
            .unwrap();
        let decoded = match block.codec {
            Codec::Raw => stored.to_vec(),
            Codec::Lz4 => lz4_flex::block::decompress(&stored, block.size_bytes as usize).unwrap(),
        };
        let chunk = &decoded[*start as usize..][..*size_bytes as usize];
        assert_eq!(blake3::hash(chunk), *hash);
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// The path of the data object that a block lies in.
fn path_of(block: &Block) -> Path {
    paths::object(&Path::from("task"), block.object)
}

#[tokio::test]
async fn a_tree_of_many_files_is_described_on_several_levels_and_restored() {
    // With contents in the commit, and in data objects.
    for size_bytes in [0, 100] {
        let (_, location) = small();
        let files = Files::new(1, 400, size_bytes);
        let attempt = begin(&location).await;
        files.save(&attempt).await;

        let checkpoint = newest(&location).await;
        assert!(root(&checkpoint).levels > 2, "{:?}", root(&checkpoint));
        assert!(
            checkpoint.record_bytes < 1500,
            "{}",
            checkpoint.record_bytes
        );
        let info = checkpoint.info();
        assert_eq!(
            (info.files, info.logical_bytes),
            (400, 400 * size_bytes as u64)
        );
        let tree = checkpoint.tree(&Limits::default()).await.unwrap();
        assert!(tree == files.held().0);
        assert!(restored(&attempt).await == files.held());
        assert!(restored(&begin(&location).await).await == files.held());
        let report = location.verify().await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.checkpoints, [checkpoint.sequence]);
    }
}

/// A save of one of three trees, after a change.
#[derive(Clone, Debug)]
struct Step {
    tree: usize,
    change: Change,
    /// Whether a new attempt makes the save.
    restart: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    /// Changes the contents of every n-th file.
    Contents(usize),
    /// Adds this many files.
    Add(usize),
    /// Removes every n-th file.
    Remove(usize),
    Touch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        1 => Just(Change::Nothing),
        3 => (1..90usize).prop_map(Change::Contents),
        2 => (1..40usize).prop_map(Change::Add),
        2 => (2..9usize).prop_map(Change::Remove),
        1 => Just(Change::Touch),
    ];
    let step = (0..3usize, change, prop::bool::weighted(0.2));
    let step = step.prop_map(|(tree, change, restart)| Step {
        tree,
        change,
        restart,
    });
    prop::collection::vec(step, 1..20)
}

impl Files {
    fn take(&mut self, change: Change, seed: u64) {
        match change {
            Change::Nothing => {}
            Change::Contents(n) => {
                for number in (0..self.files.len()).step_by(n) {
                    self.change(number, seed << 32 | number as u64);
                }
            }
            Change::Add(count) => self.add(seed, count, 200),
            Change::Remove(n) => {
                let mut number = 0;
                self.files.retain(|_, _| {
                    number += 1;
                    number % n != 0
                });
            }
            Change::Touch => self.touched = seed,
        }
    }
}

/// Checks that each commit lists exactly the data objects that a walk through its description finds, with their sizes;
/// that nothing else is stored; and that at least half of each object is needed by the newest commit, if it refers to it.
async fn check_objects(store: &InMemory, location: &OpenLocation) {
    let stored: BTreeMap<_, _> = list_objects(location).await.unwrap().into_iter().collect();
    let checkpoints = location.checkpoints().await.unwrap();
    let mut needed = BTreeSet::new();
    for (age, checkpoint) in checkpoints.iter().enumerate() {
        let found = walk(store, checkpoint).await;
        let used: BTreeSet<_> = found.all().map(|chunk| chunk.block.object).collect();
        let expected: Vec<_> = used.iter().map(|name| (*name, stored[name])).collect();
        let listed = checkpoint.commit.objects.iter();
        let listed: Vec<_> = listed.map(|o| (o.name(), o.size_bytes)).collect();
        assert_eq!(listed, expected, "checkpoint {}", checkpoint.sequence);
        if age == 0 {
            let mut live: HashMap<_, (u64, usize)> = HashMap::new();
            let blocks: BTreeSet<_> = found.all().map(|chunk| chunk.block).collect();
            for block in blocks {
                let (bytes, count) = live.entry(block.object).or_default();
                *bytes += u64::from(block.stored_bytes);
                *count += 1;
            }
            for (name, size_bytes) in listed {
                let (bytes, count) = live[&name];
                let live = bytes + pack::index_bytes(count);
                assert!(live >= size_bytes / 2, "{name:?}: {live} of {size_bytes}");
            }
        }
        needed.extend(used);
    }
    assert!(
        stored.keys().eq(&needed),
        "{stored:?}, but {needed:?} are needed"
    );
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn every_commit_lists_exactly_the_data_objects_that_its_description_needs(steps in steps()) {
        block_on(async {
            let (store, location) = small();
            let mut trees = [Files::new(1, 200, 50), Files::new(2, 60, 900), Files::new(3, 5, 20_000)];
            let mut attempt = begin(&location).await;
            for (number, step) in steps.iter().enumerate() {
                let files = &mut trees[step.tree];
                files.take(step.change, 10 + number as u64);
                if step.restart {
                    attempt = begin(&location).await;
                }
                files.save(&attempt).await;
                attempt.settle().await;
                check_objects(&store.inner, &location).await;
                assert!(restored(&attempt).await == files.held());
            }
            let report = location.verify().await.unwrap();
            assert_eq!(report.findings, []);
            assert_eq!(report.checkpoints.len(), steps.len().min(3));
        });
    }
}

/// A location with two checkpoints that have nothing in common.
async fn two_saves() -> (Arc<InMemory>, OpenLocation, [Files; 2]) {
    let (store, location) = small();
    let trees = [Files::new(1, 80, 900), Files::new(2, 250, 400)];
    let attempt = begin(&location).await;
    for files in &trees {
        files.save(&attempt).await;
    }
    (store.inner.clone(), location, trees)
}

fn assert_corrupt<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}"),
        Ok(value) => panic!("{what}: {value:?}"),
    }
}

/// Checks that a checkpoint whose description is damaged is never given, and leaves a target alone.
async fn assert_lost(what: &str, checkpoint: &Checkpoint) {
    let limits = Limits::default();
    assert_corrupt(what, checkpoint.tree(&limits).await);
    assert_corrupt(what, checkpoint.verify().await);
    let target = MemoryTree::default();
    let restored = checkpoint.restore(target.clone(), Existing::Replace, &limits);
    assert_corrupt(what, restored.await);
    assert_eq!(target.state().unwrap(), TargetState::Absent, "{what}");
}

/// Checks that readers and the next attempt restore the older checkpoint instead, and say so.
async fn assert_falls_back(what: &str, location: &OpenLocation, older: &Files) {
    let mut resumable = location.resumable().await.unwrap();
    let target = MemoryTree::default();
    let limits = Limits::default();
    let restored = resumable.restore(target.clone(), Existing::Refuse, &limits);
    assert_eq!(restored.await.unwrap().unwrap().sequence, 2, "{what}");
    assert!(target.held().unwrap() == older.held(), "{what}");
    assert_eq!(resumable.damaged.len(), 1, "{what}");

    let attempt = begin(location).await;
    assert!(self::restored(&attempt).await == older.held(), "{what}");
    let point = attempt.resume_point().await.unwrap();
    assert!(
        matches!(point, ResumePoint::FellBack { damaged: 3, .. }),
        "{what}: {point:?}"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_any_node_is_damage_and_falls_back() {
    let (store, location, [older, _]) = two_saves().await;
    let checkpoint = newest(&location).await;
    let found = walk(&store, &checkpoint).await;
    assert!(found.levels.len() > 2);
    for (level, nodes) in found.levels.iter().enumerate() {
        for (number, node) in nodes.iter().enumerate() {
            let what = format!("level {level}, node {number}");
            let byte = (node.block.offset + node.block.stored_bytes / 2) as usize;
            flip(&store, &path_of(&node.block), byte).await;
            assert_lost(&what, &checkpoint).await;
            let report = location.verify().await.unwrap();
            assert_eq!(report.checkpoints, [2], "{what}");
            assert!(
                report.findings.iter().all(|f| f.costs == [3]),
                "{what}: {:?}",
                report.findings
            );
            // Beginning an attempt takes longer than the rest.
            if number == 0 {
                assert_falls_back(&what, &location, &older).await;
            }
            flip(&store, &path_of(&node.block), byte).await;
        }
    }
    assert_eq!(location.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_missing_or_cut_object_that_holds_nodes_is_damage_and_falls_back() {
    let (store, location, [older, _]) = two_saves().await;
    let checkpoint = newest(&location).await;
    let found = walk(&store, &checkpoint).await;
    let holds_nodes: BTreeSet<_> = found.nodes().map(|node| node.block.object).collect();
    assert!(checkpoint.commit.objects.len() > 1);
    for object in &checkpoint.commit.objects {
        let path = paths::object(&Path::from("task"), object.name());
        let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
        let longer = [&whole[..], b"more"].concat().into();
        for (name, damaged) in [
            ("missing", None),
            ("cut short", Some(whole.slice(..10))),
            ("longer", Some(longer)),
        ] {
            let what = format!("{path} is {name}");
            match damaged {
                None => store.delete(&path).await.unwrap(),
                Some(bytes) => store.put(&path, bytes.into()).await.map(drop).unwrap(),
            }
            // Its commit says how large it is, so this is known before it is read.
            let checkpoints = location.checkpoints().await.unwrap();
            let checkpoints: Vec<_> = checkpoints.iter().map(|c| c.sequence).collect();
            assert_eq!(checkpoints, [2], "{what}");
            if holds_nodes.contains(&object.name()) && name != "longer" {
                assert_lost(&what, &checkpoint).await;
            }
            assert_falls_back(&what, &location, &older).await;
            let report = location.verify().await.unwrap();
            assert_eq!(report.checkpoints, [2], "{what}");
            store.put(&path, whole.clone().into()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn damage_to_nodes_that_all_checkpoints_share_is_corrupt_and_not_fresh() {
    let (store, location) = small();
    let mut files = Files::new(1, 200, 400);
    let attempt = begin(&location).await;
    files.save(&attempt).await;
    files.change(100, 9);
    files.save(&attempt).await;
    let [newer, older] = &location.checkpoints().await.unwrap()[..] else {
        panic!("not two checkpoints");
    };
    let of_older = walk(&store.inner, older).await;
    let of_newer = walk(&store.inner, newer).await;
    let shared = of_newer
        .nodes()
        .find(|node| of_older.nodes().any(|n| n == *node));
    let block = shared
        .expect("what has not changed is not stored again")
        .block;
    flip(&store.inner, &path_of(&block), block.offset as usize).await;

    let attempt = begin(&location).await;
    let target = MemoryTree::default();
    for _ in 0..2 {
        let restored = attempt.restore(target.clone(), Existing::Refuse).await;
        assert_corrupt("shared", restored);
    }
    assert_eq!(target.state().unwrap(), TargetState::Absent);
    assert_corrupt("shared", attempt.resume_point().await);
    // The task can still save, and nothing damaged is reused.
    files.save(&attempt).await;
    assert!(restored(&begin(&location).await).await == files.held());
}

#[tokio::test]
async fn one_changed_file_in_a_large_tree_stores_little() {
    for (name, (store, location), (count, size), most) in [
        ("small sizes", small(), (3000, 500), 150_000),
        // The chunk that has changed, and a few nodes on each level.
        ("default sizes", faulty(), (5000, 500), 60_000),
        // Neither is half of the data object that holds both.
        (
            "as much description as contents",
            faulty(),
            (5000, 50),
            60_000,
        ),
    ] {
        let mut files = Files::new(1, count, size);
        let mut attempt = begin(&location).await;
        files.save(&attempt).await;
        let first = store.take_stored();
        assert!(first > 6 * most, "{name}: {first}");
        for number in [1000, 2000] {
            store.take_stored();
            let path = files.change(number, 9);
            files.save(&attempt).await;
            let stored = store.take_stored();
            assert!(stored < most, "{name}: {stored} bytes for {path}");
            assert!(restored(&attempt).await == files.held(), "{name}");
            // The next one knows only what is stored.
            attempt = begin(&location).await;
        }
    }
}

#[tokio::test]
async fn times_that_change_on_every_entry_do_not_store_the_entries_again() {
    let (store, location) = small();
    let mut files = Files::new(1, 3000, 20);
    let attempt = begin(&location).await;
    files.save(&attempt).await;
    let before = newest(&location).await;
    let Root {
        entries,
        entries_bytes,
        ..
    } = *root(&before);
    store.take_stored();
    files.touched = 1;
    files.save(&attempt).await;
    let stored = store.take_stored();
    // The times, and twice as much for the lists of their nodes.
    assert!(stored < 3 * 8 * entries, "{stored} bytes");
    assert!(stored < entries_bytes, "{stored} of {entries_bytes} bytes");
    assert!(restored(&attempt).await == files.held());

    // The entries lie in the same nodes as before, but for the last of them.
    let after = newest(&location).await;
    let [before, after] = [
        walk(&store.inner, &before).await,
        walk(&store.inner, &after).await,
    ];
    let last = |found: &Found| found.levels.last().unwrap().clone();
    let (before, after) = (last(&before), last(&after));
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b);
    let same: Vec<_> = same.map(|(node, _)| *node).collect();
    let cut = u64::from(4 * 256u32);
    assert!(
        size_of(&same) + cut >= entries_bytes,
        "{} of {entries_bytes}",
        size_of(&same)
    );
}
