//! Building a tree, entry by entry in its order.

use super::entries::{CurrentPath, Named, NamedKind};
use super::{Entry, Item, ItemKind, MAX_PATH_BYTES, Node, Packed, Tree, invalid, time};
use crate::error::Result;

/// A tree that is not complete yet. Checks the invariants of [`Tree`].
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    packed: Packed,
    /// The path of the last entry.
    last: CurrentPath,
}

impl TreeBuilder {
    /// Returns the number of entries so far.
    pub(crate) fn len(&self) -> usize {
        self.packed.items.len()
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// `InvalidPath` if it breaks an invariant.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<()> {
        let path = entry.path.as_str();
        let (depth, parent) = match path.rsplit_once('/') {
            _ if path.is_empty() => (0, ""),
            None => (1, ""),
            Some((parent, _)) => (2 + parent.matches('/').count(), parent),
        };
        if depth > 1 && self.last.prefix(depth - 1) != parent {
            return Err(invalid(path, NO_PARENT));
        }
        self.push_named(Named {
            depth,
            name: entry.name(),
            mode: entry.mode,
            kind: match &entry.node {
                Node::File { size_bytes } => NamedKind::File {
                    size_bytes: *size_bytes,
                },
                Node::Dir => NamedKind::Dir,
                Node::Link { target } => NamedKind::Link { target },
            },
            modified: time::nanoseconds(entry.modified),
        })
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// `InvalidPath` if it breaks an invariant.
    pub(crate) fn push_named(&mut self, named: Named<'_>) -> Result<()> {
        match self.packed.items.last() {
            None => check_root(&named)?,
            Some(last) => self.check_next(last.kind, &named)?,
        }
        let (kind, amount) = match named.kind {
            NamedKind::File { size_bytes } => (ItemKind::File, size_bytes),
            NamedKind::Dir => (ItemKind::Dir, 0),
            NamedKind::Link { target } => (ItemKind::Link, target.len() as u64),
        };
        self.last.enter(named.depth, named.name);
        let path = &self.last.text;
        // Both are at most the length of a path, which was checked.
        let (depth, name_bytes) = (to_u16(named.depth), to_u16(named.name.len()));
        let (Some(depth), Some(name_bytes)) = (depth, name_bytes) else {
            return Err(invalid(path, TOO_LONG));
        };
        self.packed.longest_path = self.packed.longest_path.max(path.len());
        self.packed.text.push_str(named.name);
        if let NamedKind::Link { target } = named.kind {
            self.packed.text.push_str(target);
        }
        self.packed.items.push(Item {
            kind,
            depth,
            name_bytes,
            mode: (named.mode & 0o777) as u16,
            amount,
            modified: named.modified,
        });
        Ok(())
    }

    /// # Errors
    /// `InvalidPath` if there is no entry.
    pub(crate) fn finish(mut self) -> Result<Tree> {
        if self.packed.items.is_empty() {
            return Err(invalid("", "the tree has no root"));
        }
        self.packed.items.shrink_to_fit();
        self.packed.text.shrink_to_fit();
        Ok(Tree {
            packed: self.packed.into(),
        })
    }

    /// Checks an entry that is not the first, after one of this kind.
    fn check_next(&self, last: ItemKind, next: &Named<'_>) -> Result<()> {
        let (depth, name) = (next.depth, next.name);
        let fail = |what: &str| {
            let mut path = self.last.prefix(depth.saturating_sub(1)).to_owned();
            path.push('/');
            path.push_str(name);
            Err(invalid(path.trim_start_matches('/'), what))
        };
        if self.last.depth() == 0 && last == ItemKind::File {
            return fail("the root is a file, so the tree can have no other entry");
        }
        if depth == 0 {
            return fail("the tree has two roots");
        }
        let innermost = self.last.depth() + usize::from(last == ItemKind::Dir);
        if depth > innermost {
            return fail(NO_PARENT);
        }
        if depth <= self.last.depth() && self.last.name(depth).as_bytes() >= name.as_bytes() {
            return fail("duplicate or unsorted entry");
        }
        let parent_bytes = self.last.prefix(depth - 1).len();
        let slash = usize::from(parent_bytes > 0);
        if parent_bytes + slash + name.len() > MAX_PATH_BYTES {
            return fail(TOO_LONG);
        }
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return fail("expected a relative path without empty components, '.', '..' or NUL");
        }
        if cfg!(windows) && name.contains(['\\', ':']) {
            return fail("not a valid name on Windows");
        }
        match next.kind {
            NamedKind::Link { target } if target.is_empty() || target.contains('\0') => {
                fail("the link is empty")
            }
            _ => Ok(()),
        }
    }
}

const NO_PARENT: &str = "its parent is not a directory of the tree";

const TOO_LONG: &str = "the path is too long for a checkpoint";

fn check_root(root: &Named<'_>) -> Result<()> {
    if root.depth != 0 || !root.name.is_empty() {
        return Err(invalid(root.name, "the tree has no root"));
    }
    match root.kind {
        NamedKind::Dir | NamedKind::File { .. } => Ok(()),
        NamedKind::Link { .. } => Err(invalid("", "the root must not be a link")),
    }
}

fn to_u16(number: usize) -> Option<u16> {
    u16::try_from(number).ok()
}
