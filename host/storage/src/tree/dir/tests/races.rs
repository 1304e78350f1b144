//! Another guest changes the same directory while a tree is read, written or removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::{at, read, write};
use crate::cancel::Cancel;
use crate::tree::target::Existing;
use crate::tree::walk::TreeTarget;

/// How often each race is run.
const ROUNDS: usize = 200;

/// A directory for two guests, beside one that neither may reach.
struct Shared {
    temp: TempDir,
}

impl Shared {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/file"), "secret").unwrap();
        fs::create_dir(temp.path().join("shared")).unwrap();
        Self { temp }
    }

    /// Calls `work` while another thread exchanges `shared/tree/sub` and a link to the outside.
    fn race(&self, mut work: impl FnMut()) {
        let tree = self.temp.path().join("shared/tree");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    swap(&tree);
                }
            });
            for _ in 0..ROUNDS {
                work();
            }
            over.store(true, Ordering::Relaxed);
        });
        let outside = fs::read_dir(self.temp.path().join("outside")).unwrap();
        assert_eq!(outside.count(), 1, "something outside was added or removed");
        let file = self.temp.path().join("outside/file");
        assert_eq!(fs::read(file).unwrap(), b"secret");
    }
}

/// Makes `tree/sub` a directory, and then a link to the outside. Any of it may fail, because the tree changes.
fn swap(tree: &Path) {
    let _ = fs::create_dir_all(tree.join("sub"));
    let _ = fs::write(tree.join("sub/file"), "mine");
    let _ = fs::rename(tree.join("sub"), tree.with_file_name("aside"));
    let _ = symlink("../../outside", tree.join("sub"));
    let _ = fs::remove_file(tree.join("sub"));
    let _ = fs::remove_dir_all(tree.with_file_name("aside"));
}

#[test]
fn a_link_planted_while_a_tree_is_saved_leads_nowhere() {
    let shared = Shared::new();
    shared.race(|| {
        // It may fail, but what it returns comes from the directory.
        if let Ok((_, contents)) = read(&at(&shared.temp, "shared/tree")) {
            assert!(!contents.windows(6).any(|part| part == b"secret"));
        }
    });
}

#[test]
fn a_link_planted_while_a_tree_is_restored_leads_nowhere() {
    let shared = Shared::new();
    let from = shared.temp.path().join("from");
    fs::create_dir_all(from.join("sub/deep")).unwrap();
    for name in ["sub/file", "sub/new", "sub/deep/file"] {
        fs::write(from.join(name), "restored").unwrap();
    }
    let (tree, contents) = read(&at(&shared.temp, "from")).unwrap();
    let mut written = 0;
    shared.race(|| {
        let target = at(&shared.temp, "shared/tree");
        written += usize::from(write(&target, &tree, &contents).is_ok());
    });
    // Once nobody interferes, the same restore succeeds.
    let target = at(&shared.temp, "shared/tree");
    write(&target, &tree, &contents).unwrap();
    let restored = fs::read(shared.temp.path().join("shared/tree/sub/deep/file"));
    assert_eq!(
        restored.unwrap(),
        b"restored",
        "{written} were written before"
    );
}

#[test]
fn a_link_planted_while_a_tree_is_removed_leads_nowhere() {
    let shared = Shared::new();
    let (empty, contents) = {
        fs::create_dir(shared.temp.path().join("from")).unwrap();
        read(&at(&shared.temp, "from")).unwrap()
    };
    shared.race(|| {
        let target = at(&shared.temp, "shared/tree");
        // Replacing it with an empty directory removes what is there.
        if let Ok(mut writer) = target.writer(&empty, Existing::Replace, &Cancel::never()) {
            let _ = writer.write(&contents);
            let _ = writer.finish();
        }
    });
}
