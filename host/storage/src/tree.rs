//! The tree of files in a checkpoint.

mod begin;
mod builder;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
mod cap;
pub(crate) mod dir;
mod entries;
#[cfg(all(feature = "dir", target_os = "linux"))]
mod file_system;
pub mod handle;
mod job;
mod reader;
mod remove;
pub(crate) mod target;
pub(crate) mod time;
pub(crate) mod walk;
mod workers;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use self::builder::TreeBuilder;
pub use self::entries::Entries;
pub(crate) use self::entries::{Cursor, Named, NamedKind};
#[cfg(test)]
pub(crate) use self::workers::WORKERS;
use crate::error::{Error, ErrorKind, Result};

/// The longest path in a tree, in bytes: Linux's `PATH_MAX` minus room for the target's own path.
pub(crate) const MAX_PATH_BYTES: usize = 3072;

/// How much of an invalid path an error message shows.
const MAX_SHOWN_CHARS: usize = 200;

/// A tree of files: the root and everything beneath it.
///
/// [`Tree::new`] checks these invariants:
/// - there is at least one entry, and the first is the root, with the empty path;
/// - a root that is not a directory is the only entry, and is a file;
/// - paths are relative, `/`-separated, without empty components, `.` and `..`, and without NUL;
/// - entries are sorted, comparing paths component by component as bytes, and there are no duplicates;
/// - the parent of every entry is a directory of the tree, so nothing lies beneath a link.
///
/// Each entry takes 24 bytes of memory, and its name; the paths of its directories are not repeated. A clone takes none.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    packed: Arc<Packed>,
}

/// The entries of a tree, without their paths.
#[derive(Debug, Default, PartialEq, Eq)]
struct Packed {
    items: Vec<Item>,
    /// The names of all entries and the targets of links, each target after its name.
    text: String,
    /// The length of the longest path.
    longest_path: usize,
}

/// An entry whose name, and target if it is a link, come next in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    kind: ItemKind,
    /// The number of names in its path.
    depth: u16,
    name_bytes: u16,
    mode: u16,
    /// The size of a file, or the length of a link's target.
    amount: u64,
    /// In nanoseconds since 1970.
    modified: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemKind {
    File,
    Dir,
    Link,
}

/// The share of an entry in the size of a tree's description, besides its name and its target.
const ENTRY_BYTES: usize = 64;

/// A file, directory or symbolic link of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root; empty for the root.
    pub path: String,
    /// The kind of entry.
    pub node: Node,
    /// The permission bits, of `0o777`. Ignored for links.
    pub mode: u32,
    /// When it was last modified. A tree keeps it as nanoseconds in 64 bits: a time before 1677 or after 2262 becomes the
    /// nearest one that fits.
    pub modified: SystemTime,
}

impl Entry {
    /// Returns the last component of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns its share of the description's size, see [`Limits::tree_bytes`](crate::Limits::tree_bytes).
    pub(crate) fn described_bytes(&self) -> u64 {
        let target = match &self.node {
            Node::Link { target } => target.len(),
            Node::File { .. } | Node::Dir => 0,
        };
        (ENTRY_BYTES + self.name().len() + target) as u64
    }
}

/// The kind of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// The size of its contents in bytes.
        size_bytes: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link, which is stored as a link and never followed.
    Link {
        /// The text of the link.
        target: String,
    },
}

impl Tree {
    /// Creates a tree from entries in any order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if they violate the invariants of [`Tree`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Self> {
        entries.sort_by(|a, b| components(&a.path).cmp(components(&b.path)));
        let mut tree = TreeBuilder::default();
        for entry in entries {
            tree.push(&entry)?;
        }
        tree.finish()
    }

    /// Creates a tree of one unnamed file.
    pub(crate) fn single_file(size_bytes: u64, modified: SystemTime) -> Self {
        let root = Item {
            kind: ItemKind::File,
            depth: 0,
            name_bytes: 0,
            mode: 0o644,
            amount: size_bytes,
            modified: time::nanoseconds(modified),
        };
        let packed = Packed {
            items: vec![root],
            ..Packed::default()
        };
        Self {
            packed: packed.into(),
        }
    }

    /// Returns the entries: the root first, and each directory before its own entries.
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            tree: self,
            cursor: Cursor::default(),
        }
    }

    /// Returns whether the root is a directory.
    pub fn is_dir(&self) -> bool {
        let root = self.packed.items.first();
        root.is_some_and(|root| root.kind == ItemKind::Dir)
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.packed.items.len()
    }

    /// Returns the number of regular files.
    pub fn file_count(&self) -> u64 {
        self.files().count() as u64
    }

    /// Returns the total size of all files in bytes, or `None` if it exceeds `u64::MAX`.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.files().try_fold(0u64, u64::checked_add)
    }

    /// Returns the size of the description, see [`Limits::tree_bytes`](crate::Limits::tree_bytes).
    pub(crate) fn described_bytes(&self) -> u64 {
        (self.len() * ENTRY_BYTES + self.packed.text.len()) as u64
    }

    /// Returns the length of the longest path.
    pub(crate) fn longest_path_bytes(&self) -> usize {
        self.packed.longest_path
    }

    /// Returns whether both trees have the same entries. Ignores modification times, because creating
    /// entries changes those of directories. Ignores modes too, unless they are to be compared.
    pub(crate) fn equals_but_for_times(&self, other: &Self, modes: bool) -> bool {
        let comparable = |item: &Item| Item {
            modified: 0,
            mode: match modes && item.kind != ItemKind::Link {
                true => item.mode,
                false => 0,
            },
            ..*item
        };
        let (a, b) = (&self.packed, &other.packed);
        a.text == b.text && {
            let items = a.items.iter().map(comparable);
            items.eq(b.items.iter().map(comparable))
        }
    }

    fn files(&self) -> impl Iterator<Item = u64> + '_ {
        let files = self.packed.items.iter();
        files
            .filter(|item| item.kind == ItemKind::File)
            .map(|item| item.amount)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// Compares paths component by component.
fn components(path: &str) -> impl Iterator<Item = &[u8]> {
    // The root has no components, so it sorts first.
    path.split('/').filter(|c| !c.is_empty()).map(str::as_bytes)
}

fn invalid(path: &str, what: &str) -> Error {
    // A path in a hostile tree may have megabytes.
    let shown: String = path.chars().take(MAX_SHOWN_CHARS).collect();
    let dots = if shown.len() < path.len() { "…" } else { "" };
    let what = format!("{shown:?}{dots}: {what}");
    Error::new(ErrorKind::InvalidPath, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, node: Node) -> Entry {
        Entry {
            path: path.into(),
            node,
            mode: 0o644,
            modified: SystemTime::UNIX_EPOCH,
        }
    }

    fn file(path: &str) -> Entry {
        entry(path, Node::File { size_bytes: 1 })
    }

    fn dir(path: &str) -> Entry {
        entry(path, Node::Dir)
    }

    fn link(path: &str, target: &str) -> Entry {
        let target = target.into();
        entry(path, Node::Link { target })
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_whatever_the_names() {
        let tree = Tree::new(vec![file("a/b"), dir(""), file("a-b"), dir("a")]).unwrap();
        let paths: Vec<_> = tree.entries().map(|e| e.path).collect();
        assert_eq!(paths, ["", "a", "a/b", "a-b"]);
    }

    #[test]
    fn hostile_trees_are_refused() {
        for entries in [
            vec![],
            vec![file("a")],
            vec![link("", "/etc")],
            vec![file(""), file("a")],
            vec![dir(""), file("/a")],
            vec![dir(""), file("../a")],
            vec![dir(""), dir("a"), file("a/../../b")],
            vec![dir(""), file("a//b")],
            vec![dir(""), file("a\0")],
            vec![dir(""), file("a"), file("a")],
            vec![dir(""), file("a"), dir("a")],
            vec![dir(""), file("a/b")],
            vec![dir(""), dir("a"), file("b/c")],
            vec![dir(""), dir("a"), dir("a/b"), file("b/b/c")],
            vec![dir(""), file("a"), file("a/b")],
            vec![dir(""), link("a", "/etc"), file("a/passwd")],
            vec![dir(""), file(&"a".repeat(MAX_PATH_BYTES + 1))],
        ] {
            let text = format!("{entries:?}");
            let error = Tree::new(entries).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::InvalidPath, "{text}");
        }
    }
}
