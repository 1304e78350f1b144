//! Restoring a tree of many files: on several threads, durable before its marker is removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::damage::{flip, objects};
use super::hooked::{Hook, Hooked, Op};
use super::{dir_tree, noise};
use crate::cancel::Cancel;
use crate::environment::Environment;
use crate::error::{ErrorKind, Result};
use crate::limits::Limits;
use crate::tree::Tree;
use crate::tree::dir::DirTree;
use crate::tree::handle::{DirHandle, Failure, FailureKind};
use crate::tree::target::{Existing, RESTORING, TargetState};
use crate::tree::walk::{TreeSource, TreeTarget};

/// Enough entries for a sync of the whole file system.
const DIRS: usize = 21;
const FILES: usize = 100;

/// The large file does not fit into a batch of small ones.
const LARGE_BYTES: usize = 300_000;

/// Creates directories of small files, with a larger file and a link in each.
fn fill(root: &Path) {
    for dir in 0..DIRS {
        // Each beneath the one before.
        let dir: std::path::PathBuf = (0..=dir).map(|n| format!("d{n}")).collect();
        let dir = root.join(dir);
        fs::create_dir_all(&dir).unwrap();
        for file in 0..FILES {
            let size = if file == 50 { LARGE_BYTES } else { file };
            fs::write(dir.join(format!("{file:02}")), noise(file as u64, size)).unwrap();
        }
        symlink("../50", dir.join("link")).unwrap();
    }
    let odd = root.join("d0/d1");
    fs::set_permissions(odd.join("02"), fs::Permissions::from_mode(0o640)).unwrap();
    for dir in [odd, root.to_owned()] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1 << 60);
        fs::File::open(dir).unwrap().set_modified(past).unwrap();
    }
}

fn read<D: DirHandle>(at: &DirTree<D>) -> (Tree, Vec<u8>) {
    let mut reader = at.reader(&Limits::default(), &Cancel::never()).unwrap();
    let (mut contents, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return (reader.finish().unwrap(), contents),
            read => contents.extend_from_slice(&buffer[..read]),
        }
    }
}

fn write<D: DirHandle>(at: &DirTree<D>, tree: &Tree, contents: &[u8]) -> Result<()> {
    let mut writer = at.writer(tree, Existing::Replace, &Cancel::never())?;
    // Files end within pieces and beyond them.
    for piece in contents.chunks(100_003) {
        writer.write(piece)?;
    }
    writer.finish()
}

/// An operation and the name that it was given.
type Step = (Op, String);

/// Records operations in the order in which they began, and lets one of them fail.
#[derive(Clone)]
struct Record<const FILE_SYSTEM: bool> {
    begun: Arc<Mutex<Vec<Step>>>,
    fails: Option<(Op, usize, Fault)>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Full,
    Panic,
}

impl<const FILE_SYSTEM: bool> Hook for Record<FILE_SYSTEM> {
    const FILE_SYSTEM: bool = FILE_SYSTEM;

    fn before(&self, op: Op, name: &Path) -> std::result::Result<(), Failure> {
        let nth = {
            let mut begun = self.begun.lock().unwrap();
            begun.push((op, name.to_str().unwrap().to_owned()));
            begun.iter().filter(|(begun, _)| *begun == op).count()
        };
        match self.fails {
            Some((fails, at, fault)) if fails == op && nth == at => match fault {
                Fault::Full => Err(FailureKind::Full.into()),
                Fault::Panic => panic!("a thread of a restore panics, as this test wants"),
            },
            _ => Ok(()),
        }
    }
}

/// Where a tree of many files was saved from, and where it is restored to.
struct Trees {
    temp: tempfile::TempDir,
    tree: Tree,
    contents: Vec<u8>,
}

impl Trees {
    fn new() -> Self {
        Self::filled(fill)
    }

    fn filled(fill: impl Fn(&Path)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("from");
        fill(&from);
        let (tree, contents) = read(&dir_tree(&from));
        Self {
            temp,
            tree,
            contents,
        }
    }

    /// Restores, and returns what was recorded.
    fn restore<const FILE_SYSTEM: bool>(
        &self,
        fails: Option<(Op, usize, Fault)>,
    ) -> (Result<()>, Vec<Step>) {
        let begun = Arc::default();
        let hook = Record::<FILE_SYSTEM> { begun, fails };
        let begun = hook.begun.clone();
        let to = DirTree::new(Hooked::open(self.temp.path(), hook), "to").unwrap();
        let restored = write(&to, &self.tree, &self.contents);
        drop(to);
        let begun = Arc::into_inner(begun).expect("a thread still works on the target");
        (restored, begun.into_inner().unwrap())
    }

    fn state(&self) -> TargetState {
        super::task_target(&self.temp.path().join("to"))
            .state()
            .unwrap()
    }

    fn assert_restored(&self) {
        let (tree, contents) = read(&dir_tree(&self.temp.path().join("to")));
        assert_eq!(tree, self.tree);
        assert!(contents == self.contents, "other contents");
    }
}

fn count(begun: &[Step], op: Op) -> usize {
    begun.iter().filter(|(begun, _)| *begun == op).count()
}

/// Splits what began at the removal of the marker.
fn split_at_marker(begun: &[Step]) -> (&[Step], &[Step]) {
    let is_marker = |(op, name): &Step| *op == Op::Remove && name == RESTORING;
    let marker = begun.iter().position(is_marker).unwrap();
    (&begun[..marker], &begun[marker + 1..])
}

#[test]
fn a_tree_of_many_files_is_restored_equal() {
    let trees = Trees::new();
    let to = super::task_target(&trees.temp.path().join("to"));
    write(&to, &trees.tree, &trees.contents).unwrap();
    trees.assert_restored();
}

#[test]
fn each_file_and_directory_is_synced_before_the_marker_is_removed() {
    let trees = Trees::new();
    let (restored, begun) = trees.restore::<false>(None);
    restored.unwrap();
    trees.assert_restored();
    let (before, after) = split_at_marker(&begun);
    assert_eq!(count(before, Op::SyncFile), DIRS * FILES);
    // The parent of the root, the root with its marker, and each directory.
    assert_eq!(count(before, Op::SyncDir), 2 + DIRS);
    let after: Vec<_> = after.iter().map(|(op, _)| *op).collect();
    assert_eq!(
        after,
        [Op::SetMetadata, Op::SyncDir],
        "only the root is left"
    );
}

#[test]
fn the_file_system_is_synced_after_everything_else_and_before_the_marker_is_removed() {
    let trees = Trees::new();
    let (restored, begun) = trees.restore::<true>(None);
    restored.unwrap();
    trees.assert_restored();
    let (before, after) = split_at_marker(&begun);
    assert_eq!(before.last().unwrap().0, Op::SyncFileSystem);
    assert_eq!(count(before, Op::SyncFileSystem), 1);
    assert_eq!(count(before, Op::SyncFile), 0);
    assert_eq!(count(before, Op::SetMetadata), DIRS);
    let after: Vec<_> = after.iter().map(|(op, _)| *op).collect();
    assert_eq!(
        after,
        [Op::SetMetadata, Op::SyncDir],
        "only the root is left"
    );
}

#[test]
fn an_error_on_any_thread_fails_the_restore_and_keeps_the_marker() {
    let trees = Trees::new();
    for (op, nth) in [
        (Op::Create, 2),
        (Op::Create, 700),
        (Op::CreateLink, 5),
        (Op::CreateDir, 15),
        (Op::Write, 800),
        (Op::SyncFile, 1),
        (Op::SyncFile, DIRS * FILES),
        // The root with its marker, and each directory.
        (Op::SyncDir, 1 + DIRS),
        (Op::SetMetadata, DIRS),
    ] {
        let (restored, begun) = trees.restore::<false>(Some((op, nth, Fault::Full)));
        let kind = restored.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::QuotaExceeded, "{op:?} {nth}");
        assert!(count(&begun, op) >= nth, "{op:?} {nth}");
        assert_eq!(trees.state(), TargetState::Interrupted, "{op:?} {nth}");
    }
    for (op, nth) in [(Op::Create, 700), (Op::SyncFileSystem, 1)] {
        let (restored, _) = trees.restore::<true>(Some((op, nth, Fault::Full)));
        let kind = restored.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::QuotaExceeded, "{op:?} {nth}");
        assert_eq!(trees.state(), TargetState::Interrupted, "{op:?} {nth}");
    }
    trees.restore::<false>(None).0.unwrap();
    trees.assert_restored();
}

#[test]
fn a_thread_that_panics_fails_the_restore_and_keeps_the_marker() {
    let trees = Trees::new();
    let (restored, _) = trees.restore::<true>(Some((Op::CreateLink, 3, Fault::Panic)));
    assert_eq!(restored.unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(trees.state(), TargetState::Interrupted);
}

#[test]
fn the_disk_begins_to_write_a_large_file_before_it_is_complete() {
    let trees = Trees::filled(|from| {
        fs::create_dir(from).unwrap();
        fs::write(from.join("large"), noise(1, 50 << 20)).unwrap();
    });
    let (restored, begun) = trees.restore::<false>(None);
    restored.unwrap();
    trees.assert_restored();
    let last_write = begun.iter().rposition(|(op, _)| *op == Op::Write).unwrap();
    let (before, after) = begun.split_at(last_write);
    // One part after the other, each as soon as a write has made it long enough.
    let mut end = 0;
    for (_, part) in before.iter().filter(|(op, _)| *op == Op::WriteBack) {
        let (from, to) = part.split_once("..").unwrap();
        assert_eq!(from.parse::<u64>().unwrap(), end);
        let to = to.parse::<u64>().unwrap();
        assert!((8 << 20..9 << 20).contains(&(to - end)), "{part}");
        end = to;
    }
    assert!(end > 41 << 20, "{end}");
    assert_eq!(count(after, Op::SyncFile), 1);
}

#[test]
fn after_the_first_error_each_thread_creates_at_most_one_more_entry() {
    let trees = Trees::new();
    let (_, begun) = trees.restore::<true>(Some((Op::Create, 100, Fault::Full)));
    let all = trees.tree.entries().len();
    let created = count(&begun, Op::Create);
    assert!(
        (100..100 + 2 * crate::tree::WORKERS).contains(&created),
        "{created} of {all}"
    );
}

#[tokio::test]
async fn a_restore_that_falls_back_meets_nothing_of_the_damaged_checkpoint() {
    const FILE_BYTES: usize = 300;
    let (store, location) = super::memory();
    let location = location.with_environment(Environment::simulated());
    let attempt = super::begin(&location).await;
    let temp = tempfile::tempdir().unwrap();
    for (seed, name) in ["old", "new"].into_iter().enumerate() {
        let from = temp.path().join(name);
        fs::create_dir(&from).unwrap();
        // More than the threads and their batches hold.
        for n in 0..1200 {
            let contents = noise((10_000 * seed + n) as u64, FILE_BYTES);
            fs::write(from.join(format!("{name} {n:04}")), contents).unwrap();
        }
        attempt.save(dir_tree(&from)).await.unwrap();
    }
    // The last object of the newest checkpoint, so that most of its files are created.
    let last = objects(&store, "data").await.pop().unwrap();
    flip(&store, &last, 100).await;
    let hook = Record::<false> {
        begun: Arc::default(),
        fails: None,
    };
    let begun = hook.begun.clone();
    let to = DirTree::new(Hooked::open(temp.path(), hook), "to").unwrap();
    let mut resumable = location.resumable().await.unwrap();
    let limits = Limits::default();
    let restored = resumable.restore(to, Existing::Refuse, &limits);
    assert!(restored.await.unwrap().is_some());
    assert_eq!(resumable.damaged.len(), 1);
    let begun = begun.lock().unwrap();
    let is_new = |(op, name): &Step| *op == Op::Create && name.starts_with("new");
    let first_removal = begun.iter().position(|(op, _)| *op == Op::Remove).unwrap();
    assert!(begun[..first_removal].iter().any(is_new));
    assert!(!begun[first_removal..].iter().any(is_new));
}
