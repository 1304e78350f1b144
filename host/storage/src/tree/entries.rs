//! Iterating over the entries of a tree.

use std::time::SystemTime;

use super::{Entry, Item, ItemKind, Node, Tree, time};

/// An entry without the paths of its directories.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// The number of names in its path.
    pub(crate) depth: usize,
    /// Its name; empty for the root.
    pub(crate) name: &'a str,
    pub(crate) mode: u32,
    pub(crate) kind: NamedKind<'a>,
    /// In nanoseconds since 1970.
    pub(crate) modified: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedKind<'a> {
    File { size_bytes: u64 },
    Dir,
    Link { target: &'a str },
}

/// The entries of a [`Tree`], in its order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    pub(super) tree: &'a Tree,
    pub(super) cursor: Cursor,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.cursor.next(self.tree)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.tree.len().saturating_sub(self.cursor.place.item);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// A position among the entries of a tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    place: Place,
    path: CurrentPath,
}

/// Where the next entry is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    item: usize,
    text: usize,
}

impl Cursor {
    /// Returns the next entry of the tree, which must be the same in every call.
    pub(crate) fn next(&mut self, tree: &Tree) -> Option<Entry> {
        let named = self.place.next(tree)?;
        self.path.enter(named.depth, named.name);
        Some(Entry {
            path: self.path.text.clone(),
            node: match named.kind {
                NamedKind::File { size_bytes } => Node::File { size_bytes },
                NamedKind::Dir => Node::Dir,
                NamedKind::Link { target } => Node::Link {
                    target: target.to_owned(),
                },
            },
            mode: named.mode,
            // Whoever made the tree had the time of this machine.
            modified: time::time_of(named.modified).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

impl Place {
    fn next<'a>(&mut self, tree: &'a Tree) -> Option<Named<'a>> {
        let packed = &tree.packed;
        let item: &Item = packed.items.get(self.item)?;
        let mut take = |bytes: usize| {
            let taken = packed.text.get(self.text..self.text + bytes)?;
            self.text += bytes;
            Some(taken)
        };
        let name = take(item.name_bytes.into())?;
        let kind = match item.kind {
            ItemKind::File => NamedKind::File {
                size_bytes: item.amount,
            },
            ItemKind::Dir => NamedKind::Dir,
            ItemKind::Link => NamedKind::Link {
                target: take(usize::try_from(item.amount).ok()?)?,
            },
        };
        self.item += 1;
        Some(Named {
            depth: item.depth.into(),
            name,
            mode: item.mode.into(),
            kind,
            modified: item.modified,
        })
    }
}

impl Tree {
    /// Returns the entries without the paths of their directories.
    pub(crate) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        let mut place = Place::default();
        std::iter::from_fn(move || place.next(self))
    }
}

/// The path of the last of several entries in the order of a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentPath {
    pub(super) text: String,
    /// The length of the path up to and including each of its names.
    ends: Vec<usize>,
}

impl CurrentPath {
    /// Returns the number of names.
    pub(super) fn depth(&self) -> usize {
        self.ends.len()
    }

    /// Returns the path of the first names.
    pub(super) fn prefix(&self, depth: usize) -> &str {
        let end = depth.checked_sub(1).and_then(|last| self.ends.get(last));
        self.text.get(..*end.unwrap_or(&0)).unwrap_or_default()
    }

    /// Returns the name at a depth, which begins at 1.
    pub(super) fn name(&self, depth: usize) -> &str {
        let parent = self.prefix(depth.saturating_sub(1)).len();
        let name = self.prefix(depth).get(parent..).unwrap_or_default();
        name.trim_start_matches('/')
    }

    /// Moves to an entry of the directory that the first `depth - 1` names lead to.
    pub(super) fn enter(&mut self, depth: usize, name: &str) {
        let parents = depth.saturating_sub(1);
        let end = self.prefix(parents).len();
        self.text.truncate(end);
        self.ends.truncate(parents);
        if depth == 0 {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('/');
        }
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }
}
