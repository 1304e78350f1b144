//! Directories that inputs are restored to, and snapshots of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The marker in a directory that is being restored.
pub const MARKER: &str = ".task-checkpoint-restoring";

/// Everything at and below a path. Links are not followed.
pub type Snapshot = BTreeMap<PathBuf, Item>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub what: What,
    pub mode: u32,
    pub modified: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    File(Vec<u8>),
    Dir,
    Link(PathBuf),
}

/// Takes a snapshot of a path. It is empty if the path does not exist.
pub fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        // Joining an empty path would add a slash, which would follow a link.
        let full = match path.as_os_str().is_empty() {
            true => root.to_owned(),
            false => root.join(&path),
        };
        let Ok(metadata) = fs::symlink_metadata(&full) else {
            assert!(found.is_empty());
            break;
        };
        let what = if metadata.is_dir() {
            let entries = fs::read_dir(&full).unwrap();
            open.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
            What::Dir
        } else if metadata.is_symlink() {
            What::Link(fs::read_link(&full).unwrap())
        } else {
            What::File(fs::read(&full).unwrap())
        };
        let item = Item {
            what,
            mode: metadata.mode() & 0o777,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        found.insert(path, item);
    }
    found
}

/// A directory for a guest, next to files that no input may change.
pub struct Sandbox {
    temp: TempDir,
    outside: Snapshot,
}

impl Default for Sandbox {
    fn default() -> Self {
        // Prefers an in-memory file system, because every file is synced.
        let memory = Path::new("/dev/shm");
        let temp = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let temp = temp.unwrap();
        fs::create_dir(temp.path().join("inside")).unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/canary"), "sings").unwrap();
        let outside = snapshot(&temp.path().join("outside"));
        Self { temp, outside }
    }
}

impl Sandbox {
    /// The guest's directory.
    pub fn inside(&self) -> PathBuf {
        self.temp.path().join("inside")
    }

    /// Asserts that nothing outside the guest's directory was changed or created.
    pub fn check(&self) {
        let mut names: Vec<_> = fs::read_dir(self.temp.path()).unwrap().collect();
        names.retain(|entry| entry.as_ref().is_ok_and(|e| e.file_name() != "inside"));
        assert_eq!(
            names.len(),
            1,
            "something was created outside the guest's directory: {names:?}"
        );
        let outside = snapshot(&self.temp.path().join("outside"));
        assert_eq!(
            outside, self.outside,
            "something outside the guest's directory has changed"
        );
    }

    /// Whether this process ignores permission bits, so that it can read everything it restored.
    pub fn is_roots(&self) -> bool {
        fs::metadata(self.temp.path()).unwrap().uid() == 0
    }

    pub fn dir(&self, path: &str) {
        fs::create_dir_all(self.inside().join(path)).unwrap();
    }

    pub fn file(&self, path: &str, contents: &[u8]) {
        fs::write(self.inside().join(path), contents).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        symlink(target, self.inside().join(path)).unwrap();
    }
}
