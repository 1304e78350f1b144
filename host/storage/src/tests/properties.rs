//! What holds for random trees, random lives of a location and random damage.
//!
//! Each property runs few cases, so that it can run with every other test; `PROPTEST_CASES` runs more.
//! A case that fails is not kept in a file of seeds, which says nothing once a strategy changes: its
//! smallest form is printed, and belongs into a test of its own beside these.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::{begin, keep, memory, noise};
use crate::error::ErrorKind;
use crate::format::Record;
use crate::location::OpenLocation;
use crate::log::slot;
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;
use crate::{Attempt, ResumePoint};

fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Contents by their recipe, so that a failure prints in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recipe {
    size_bytes: usize,
    seed: u8,
    compressible: bool,
}

impl Recipe {
    fn make(self) -> Vec<u8> {
        match self.compressible {
            true => format!("all work and no play, {} ", self.seed)
                .into_bytes()
                .into_iter()
                .cycle()
                .take(self.size_bytes)
                .collect(),
            false => noise(self.seed.into(), self.size_bytes),
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Sizes at which something changes: nothing, what lies in a commit, about a chunk, several chunks.
fn recipes() -> impl Strategy<Value = Recipe> {
    let sizes = prop_oneof![
        4 => prop::sample::select(vec![0, 1, 100]),
        3 => 64 * KIB - 1..=64 * KIB + 1,
        2 => MIB - 1..=MIB + 1,
        1 => Just(5 * MIB),
    ];
    (sizes, 0..4u8, any::<bool>()).prop_map(|(size_bytes, seed, compressible)| Recipe {
        size_bytes,
        seed,
        compressible,
    })
}

/// Something on a disk.
#[derive(Clone, Debug)]
struct Made {
    what: What,
    mode: u32,
    seconds: i64,
    nanoseconds: u32,
}

#[derive(Clone, Debug)]
enum What {
    File(Recipe),
    Dir(BTreeMap<String, Made>),
    Link(String),
}

fn made(what: impl Strategy<Value = What>) -> impl Strategy<Value = Made> {
    // What most disks can hold: from 1901 to 2446.
    let seconds = prop_oneof![-(1i64 << 31)..1i64 << 33, Just(-1), Just(0)];
    let nanoseconds = prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000u32];
    (what, 0..=0o777u32, seconds, nanoseconds).prop_map(|(what, mode, seconds, nanoseconds)| Made {
        // So that whoever runs the test may read it and remove it.
        mode: match what {
            What::Dir(_) => mode | 0o700,
            What::File(_) | What::Link(_) => mode | 0o400,
        },
        seconds,
        what,
        nanoseconds,
    })
}

fn names() -> impl Strategy<Value = String> {
    let awkward = [
        "?",
        "[a]*",
        "%41",
        "%2F",
        "\\",
        "..\\up",
        ".hidden",
        "...",
        " ",
        "-rf",
        "a\nb",
        "a#1",
        "~",
        "_dst_cp",
        "CON",
        "a-b",
        "a",
        "a.",
        "ä",
        "a\u{308}",
        "\u{202e}txt",
    ];
    prop_oneof![
        prop::sample::select(awkward.to_vec()).prop_map(str::to_owned),
        prop::collection::vec(any::<char>(), 1..12).prop_map(String::from_iter),
        "[a-c]{1,3}".prop_map(|name| name),
        Just("n".repeat(255)),
    ]
    .prop_filter("a name", |name| {
        !name.contains(['/', '\0']) && !matches!(name.as_str(), "." | "..")
    })
}

fn trees() -> impl Strategy<Value = Made> {
    let link = prop_oneof![
        Just("nowhere".to_owned()),
        Just("/etc/passwd".to_owned()),
        Just("..".to_owned()),
        Just("../../..".to_owned()),
        Just(".".to_owned()),
        names(),
    ];
    let leaf = made(prop_oneof![
        4 => recipes().prop_map(What::File),
        1 => Just(What::Dir(BTreeMap::new())),
        1 => link.prop_map(What::Link),
    ]);
    let tree = leaf.prop_recursive(8, 24, 6, |inner| {
        let entries = prop::collection::btree_map(names(), inner, 0..6);
        made(entries.prop_map(What::Dir))
    });
    let rooted = tree.prop_map(|tree| match tree.what {
        // What is saved is a directory or a file; a link would be followed.
        What::Link(_) => Made {
            mode: 0o755,
            what: What::Dir(BTreeMap::from([("link".to_owned(), tree.clone())])),
            ..tree
        },
        What::Dir(_) | What::File(_) => tree,
    });
    // A path that is long and deep.
    (rooted, 0..40usize).prop_map(|(tree, levels)| {
        (0..levels).fold(tree, |tree, level| Made {
            mode: 0o750,
            what: What::Dir(BTreeMap::from([(format!("level {level}"), tree.clone())])),
            ..tree
        })
    })
}

fn make(made: &Made, at: &Path) {
    match &made.what {
        What::File(recipe) => fs::write(at, recipe.make()).unwrap(),
        What::Link(target) => symlink(target, at).unwrap(),
        What::Dir(entries) => {
            fs::create_dir(at).unwrap();
            for (name, entry) in entries {
                make(entry, &at.join(name));
            }
        }
    }
    if !matches!(made.what, What::Link(_)) {
        fs::set_permissions(at, fs::Permissions::from_mode(made.mode)).unwrap();
    }
    let time = Timespec {
        tv_sec: made.seconds,
        tv_nsec: made.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// All that a checkpoint keeps of a file, directory or link.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    what: KeptWhat,
    mode: Option<u32>,
    modified: (i64, i64),
}

#[derive(Debug, PartialEq, Eq)]
enum KeptWhat {
    File { size: u64, hash: blake3::Hash },
    Dir,
    Link(PathBuf),
}

/// What lies at a path and beneath it, by the paths from there, as the standard library sees it.
fn look(at: &Path) -> BTreeMap<PathBuf, Kept> {
    fn look_into(root: &Path, at: &Path, seen: &mut BTreeMap<PathBuf, Kept>) {
        let metadata = fs::symlink_metadata(at).unwrap();
        let what = if metadata.is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                look_into(root, &entry.unwrap().path(), seen);
            }
            KeptWhat::Dir
        } else if metadata.is_symlink() {
            KeptWhat::Link(fs::read_link(at).unwrap())
        } else {
            KeptWhat::File {
                size: metadata.len(),
                hash: blake3::hash(&fs::read(at).unwrap()),
            }
        };
        let mode = (!metadata.is_symlink()).then(|| metadata.mode() & 0o7777);
        let kept = Kept {
            what,
            mode,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        seen.insert(at.strip_prefix(root).unwrap().to_owned(), kept);
    }
    let mut seen = BTreeMap::new();
    look_into(at, at, &mut seen);
    seen
}

fn place(path: &Path) -> DirTree<cap_std::fs::Dir> {
    DirTree::ambient(path).unwrap()
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn whatever_tree_is_saved_comes_back_in_every_respect(tree in trees()) {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        make(&tree, &from);
        let saved = look(&from);
        block_on(async {
            let (_, location) = memory();
            let saved = begin(&location).await.save(place(&from)).await.unwrap();
            let next = begin(&location).await;
            // The second time it does nothing and says the same.
            for _ in 0..2 {
                let restored = next.restore(place(&to), Existing::Refuse).await.unwrap();
                assert_eq!(restored, Some(saved.sequence));
            }
            let found = location.verify().await.unwrap().findings;
            assert!(found.is_empty(), "{found:?}");
        });
        prop_assert_eq!(look(&to), saved);
        prop_assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "nothing beside them");
    }
}

/// What happens to a location.
#[derive(Clone, Debug)]
enum Step {
    Write(Recipe),
    /// Saves a directory of these files.
    Save(BTreeMap<String, Recipe>),
    /// A new attempt begins, which keeps so many.
    Restart(usize),
    Prune,
    /// Restores over what the last one has left.
    Restore,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let files = prop::collection::btree_map("[a-c]", recipes(), 0..3);
    let step = prop_oneof![
        4 => recipes().prop_map(Step::Write),
        2 => files.prop_map(Step::Save),
        2 => (1..4usize).prop_map(Step::Restart),
        1 => Just(Step::Prune),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..most)
}

/// What a checkpoint holds: one unnamed file, or a directory of files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Single(Bytes),
    Dir(BTreeMap<String, Bytes>),
}

/// A location, and what it is expected to hold.
struct World {
    location: OpenLocation,
    store: Arc<InMemory>,
    attempt: Attempt,
    keep: usize,
    /// What can be restored, oldest first.
    model: Vec<Content>,
    /// All that was ever committed.
    ever: Vec<Content>,
    temp: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (store, location) = memory();
        let attempt = Attempt::begin(location.clone(), keep(3)).await.unwrap();
        Self {
            location,
            store,
            attempt,
            keep: 3,
            model: Vec::new(),
            ever: Vec::new(),
            temp: tempfile::tempdir().unwrap(),
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Write(recipe) => {
                let contents = Bytes::from(recipe.make());
                self.attempt.write(contents.clone()).await.unwrap();
                self.committed(Content::Single(contents));
            }
            Step::Save(files) => {
                let dir = self.temp.path().join("source");
                fs::create_dir(&dir).unwrap();
                let mut saved = BTreeMap::new();
                for (name, recipe) in files {
                    let contents = recipe.make();
                    fs::write(dir.join(name), &contents).unwrap();
                    saved.insert(name.clone(), contents.into());
                }
                self.attempt.save(place(&dir)).await.unwrap();
                fs::remove_dir_all(&dir).unwrap();
                self.committed(Content::Dir(saved));
            }
            Step::Restart(n) => {
                let settings = keep(*n);
                let begun = Attempt::begin(self.location.clone(), settings).await;
                self.attempt = begun.unwrap();
                self.keep = *n;
            }
            Step::Prune => {
                let pruned = self.attempt.prune().await.unwrap();
                assert_eq!(pruned.is_some(), !self.model.is_empty());
                self.retire();
            }
            Step::Restore => {
                let target = self.temp.path().join("target");
                let restored = self.attempt.restore(place(&target), Existing::Replace);
                let restored = restored.await.unwrap();
                assert_eq!(restored.is_some(), !self.model.is_empty());
                if let Some(content) = self.model.last() {
                    assert!(&on_disk(&target) == content, "another checkpoint");
                }
            }
        }
        self.attempt.settle().await;
    }

    fn committed(&mut self, content: Content) {
        self.model.push(content.clone());
        self.ever.push(content);
        self.retire();
    }

    fn retire(&mut self) {
        let dead = self.model.len().saturating_sub(self.keep);
        self.model.drain(..dead);
    }

    /// The location holds what the model says, and no more.
    async fn check(&self) {
        let attempt = &self.attempt;
        assert_eq!(attempt.prev_exists().await.unwrap(), !self.model.is_empty());
        match (attempt.read().await, self.model.last()) {
            (Ok(None), None) => {}
            (Ok(Some(read)), Some(Content::Single(contents))) => assert!(read == contents),
            (Ok(Some(read)), Some(Content::Dir(files))) => {
                assert!(files.len() == 1 && files.values().all(|contents| *contents == read));
            }
            (Err(error), Some(Content::Dir(files))) => {
                assert_eq!(error.kind(), ErrorKind::NotSingle(files.len() as u64));
            }
            (read, _) => panic!("{:?}", read.map(drop)),
        }
        let listed = self.location.checkpoints().await.unwrap();
        let sizes: Vec<_> = listed.iter().map(|c| c.info().logical_bytes).collect();
        let expected: Vec<_> = self.model.iter().rev().map(size_of).collect();
        assert_eq!(sizes, expected, "the retained ones, newest first");
        // A commit that is not retained stays in the log only as the last record before a claim, or if a
        // later attempt could not tell, because it was retained longer than the last one.
        let mut before_claim = false;
        for sequence in slot::list(&self.location).await.unwrap().into_iter().rev() {
            let record = slot::read(&self.location, sequence).await.unwrap();
            let retained = listed.iter().any(|c| c.sequence == sequence);
            match record {
                Some(Record::Claim(_)) => before_claim = true,
                _ if retained => before_claim = false,
                _ => assert!(before_claim, "record {sequence} stays"),
            }
        }
        let report = self.location.verify().await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.checkpoints.len(), self.model.len());
    }
}

fn size_of(content: &Content) -> u64 {
    match content {
        Content::Single(contents) => contents.len() as u64,
        Content::Dir(files) => files.values().map(|contents| contents.len() as u64).sum(),
    }
}

fn on_disk(at: &Path) -> Content {
    if at.is_file() {
        return Content::Single(fs::read(at).unwrap().into());
    }
    let entries = fs::read_dir(at).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap().into())
    });
    Content::Dir(entries.collect())
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn whatever_an_owner_does_the_location_holds_what_it_kept(steps in steps(12)) {
        block_on(async {
            let mut world = World::new().await;
            world.check().await;
            for step in &steps {
                world.take(step).await;
                world.check().await;
            }
        });
    }
}

/// What happens to an object of a location, when nobody looks.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index),
    Cut(Index),
    Append(Vec<u8>),
    Delete,
    /// Exchanges its contents with those of another object.
    Swap(Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<Index>().prop_map(Harm::Flip),
        any::<Index>().prop_map(Harm::Cut),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(Harm::Append),
        Just(Harm::Delete),
        any::<Index>().prop_map(Harm::Swap),
    ]
}

/// Does it, unless that changes nothing. Returns the paths whose contents changed.
async fn damage(store: &InMemory, victim: Index, harm: &Harm) -> Vec<ObjectPath> {
    let metas: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = metas.into_iter().map(|meta| meta.location).collect();
    paths.sort();
    let path = victim.get(&paths);
    let read = async |path| store.get(path).await.unwrap().bytes().await.unwrap();
    let whole = read(path).await;
    let mut bytes = whole.to_vec();
    match harm {
        Harm::Flip(bit) => {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Harm::Cut(length) => bytes.truncate(length.index(bytes.len())),
        Harm::Append(more) => bytes.extend(more),
        Harm::Delete => {
            store.delete(path).await.unwrap();
            return vec![path.clone()];
        }
        Harm::Swap(other) => {
            let other = other.get(&paths);
            let others = read(other).await;
            if others == whole {
                return Vec::new();
            }
            store.put(path, others.into()).await.unwrap();
            store.put(other, whole.into()).await.unwrap();
            return vec![path.clone(), other.clone()];
        }
    }
    store.put(path, bytes.into()).await.unwrap();
    vec![path.clone()]
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn whatever_is_damaged_a_reader_gets_a_checkpoint_or_is_told(
        steps in steps(8),
        victim in any::<Index>(),
        harm in harm(),
    ) {
        block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.take(step).await;
            }
            let retained = world.location.checkpoints().await.unwrap();
            let changed = damage(&world.store, victim, &harm).await;
            world.is_told_of(&changed, &harm, retained).await;
        });
    }
}

impl World {
    async fn is_told_of(
        &self,
        changed: &[ObjectPath],
        harm: &Harm,
        retained: Vec<crate::checkpoint::Checkpoint>,
    ) {
        let records = changed
            .iter()
            .filter(|path| path.as_ref().contains("/log/"));
        let records = records.count();
        // Nothing tells the newest record that is gone from one that was never put.
        let deleted = matches!(harm, Harm::Delete) && records > 0;
        let report = self.location.verify().await.unwrap();
        if !changed.is_empty() && !deleted {
            assert!(!report.findings.is_empty(), "nothing is found");
        }
        let attempt = begin(&self.location).await;
        let target = self.temp.path().join("after");
        let restored = attempt.restore(place(&target), Existing::Refuse).await;
        match &restored {
            Ok(Some(_)) => {
                let content = on_disk(&target);
                assert!(self.ever.contains(&content), "never committed");
                let newest = retained.first().map(|c| c.sequence);
                let lost = |s: u64| report.findings.iter().any(|f| f.costs.contains(&s));
                if !deleted && !newest.is_none_or(lost) {
                    assert!(self.model.last() == Some(&content), "not the newest");
                }
            }
            Ok(None) => assert!(retained.is_empty() || deleted, "fresh"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
        let point = attempt.resume_point().await;
        match (&restored, point) {
            (Ok(None), Ok(ResumePoint::Fresh)) | (Err(_), Err(_)) => {}
            (Ok(Some(given)), Ok(ResumePoint::Resumed(checkpoint))) => {
                assert_eq!(checkpoint.sequence, *given);
                let newest = retained.first().map(|c| c.sequence);
                assert!(Some(*given) == newest || deleted, "unsaid");
            }
            (
                Ok(Some(given)),
                Ok(ResumePoint::FellBack {
                    checkpoint,
                    damaged,
                    ..
                }),
            ) => {
                assert_eq!(checkpoint.sequence, *given);
                assert!(damaged > *given, "nothing was passed over");
            }
            (restored, point) => panic!("{restored:?} {point:?}"),
        }
        // And the task goes on from there.
        attempt.write("after".into()).await.unwrap();
        let next = begin(&self.location).await.read().await.unwrap();
        assert_eq!(next.as_deref(), Some(&b"after"[..]));
    }
}
