//! The tree of files in a checkpoint.

mod begin;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
mod cap;
pub(crate) mod dir;
#[cfg(all(feature = "dir", target_os = "linux"))]
mod file_system;
pub mod handle;
mod job;
mod reader;
mod remove;
pub(crate) mod target;
pub(crate) mod walk;
mod workers;
mod writer;

use std::time::SystemTime;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

/// The share of an entry in the size of a tree's description, besides its path and its target.
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
    /// When it was last modified.
    pub modified: SystemTime,
}

impl Entry {
    /// Returns its share of the description's size, see [`Limits::tree_bytes`](crate::Limits::tree_bytes).
    pub(crate) fn described_bytes(&self) -> u64 {
        let target = match &self.node {
            Node::Link { target } => target.len(),
            Node::File { .. } | Node::Dir => 0,
        };
        (ENTRY_BYTES + self.path.len() + target) as u64
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
        Self::in_order(entries)
    }

    /// Creates a tree from stored entries. Does not sort them, because their order determines which contents
    /// belong to which file.
    pub(crate) fn in_order(entries: Vec<Entry>) -> Result<Self> {
        let tree = Self { entries };
        tree.check()?;
        Ok(tree)
    }

    /// Creates a tree of one unnamed file.
    pub(crate) fn single_file(size_bytes: u64, modified: SystemTime) -> Self {
        Self {
            entries: vec![Entry {
                path: String::new(),
                node: Node::File { size_bytes },
                mode: 0o644,
                modified,
            }],
        }
    }

    /// Returns the entries: the root first, and each directory before its own entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns whether the root is a directory.
    pub fn is_dir(&self) -> bool {
        let root = self.entries.first();
        root.is_some_and(|root| matches!(root.node, Node::Dir))
    }

    /// Returns the number of regular files.
    pub fn file_count(&self) -> u64 {
        self.files().count() as u64
    }

    /// Returns the total size of all files in bytes, or `None` if it exceeds `u64::MAX`.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.files().try_fold(0u64, u64::checked_add)
    }

    /// Returns whether both trees have the same entries. Ignores modification times, because creating
    /// entries changes those of directories. Ignores modes too, unless they are to be compared.
    pub(crate) fn equals_but_for_times(&self, other: &Self, modes: bool) -> bool {
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|(a, b)| {
                a.path == b.path
                    && a.node == b.node
                    && (!modes || a.mode == b.mode || matches!(a.node, Node::Link { .. }))
            })
    }

    fn files(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().filter_map(|entry| match entry.node {
            Node::File { size_bytes } => Some(size_bytes),
            Node::Dir | Node::Link { .. } => None,
        })
    }

    fn check(&self) -> Result<()> {
        let Some((root, rest)) = self.entries.split_first() else {
            return Err(invalid("", "the tree has no root"));
        };
        if !root.path.is_empty() {
            return Err(invalid(&root.path, "the tree has no root"));
        }
        match root.node {
            Node::Dir => {}
            Node::File { .. } if rest.is_empty() => {}
            Node::File { .. } => {
                return Err(invalid(
                    "",
                    "the root is a file, so the tree can have no other entry",
                ));
            }
            Node::Link { .. } => return Err(invalid("", "the root must not be a link")),
        }
        // The directories from the root to the previous entry. In sorted order, only these can be the
        // parent of the next entry.
        let mut parents = vec![""];
        let mut before = "";
        for Entry { path, node, .. } in rest {
            check_path(path)?;
            if components(before).cmp(components(path)).is_ge() {
                return Err(invalid(path, "duplicate or unsorted entry"));
            }
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            while parents.last().is_some_and(|last| *last != parent) {
                parents.pop();
            }
            if parents.is_empty() {
                return Err(invalid(path, "its parent is not a directory of the tree"));
            }
            if let Node::Dir = node {
                parents.push(path);
            }
            if let Node::Link { target } = node
                && (target.is_empty() || target.contains('\0'))
            {
                return Err(invalid(path, "the link is empty"));
            }
            before = path;
        }
        Ok(())
    }
}

fn components(path: &str) -> impl Iterator<Item = &[u8]> {
    // The root has no components, so it sorts first.
    path.split('/').filter(|c| !c.is_empty()).map(str::as_bytes)
}

fn check_path(path: &str) -> Result<()> {
    if path.len() > MAX_PATH_BYTES {
        return Err(invalid(path, "the path is too long for a checkpoint"));
    }
    let bad = |component: &str| matches!(component, "" | "." | "..");
    if path.split('/').any(bad) || path.contains('\0') {
        return Err(invalid(
            path,
            "expected a relative path without empty components, '.', '..' or NUL",
        ));
    }
    if cfg!(windows) && path.contains(['\\', ':']) {
        return Err(invalid(path, "not a valid name on Windows"));
    }
    Ok(())
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
        let paths: Vec<_> = tree.entries().iter().map(|e| e.path.as_str()).collect();
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
