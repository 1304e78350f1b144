//! The entries of a tree, and their modification times.
//!
//! An entry has its name and its depth, not its path: a tree lists each directory before its own entries, so these tell
//! the path, and a directory's name is stored once, however much is in it. The times are a column of their own: those of
//! a fresh copy of the same files all differ, and the entries do not.

use std::borrow::Cow;

use minicbor::{CborLen, Decode, Encode};

use crate::error::{Error, Result};
use crate::tree::time::time_of;
use crate::tree::{Named, NamedKind, Tree, TreeBuilder};

/// The size of a modification time.
pub(crate) const TIME_BYTES: usize = 8;

/// An entry without its modification time.
#[derive(Clone, Encode, Decode, CborLen)]
#[cbor(map)]
pub(super) struct EntryFields<'a> {
    #[b(0)]
    name: Cow<'a, str>,
    #[n(1)]
    mode: u32,
    /// The number of names in its path.
    #[n(2)]
    depth: u32,
    /// Only for a file.
    #[n(4)]
    size_bytes: Option<u64>,
    /// Only for a link. An entry with neither field is a directory.
    #[b(5)]
    target: Option<Cow<'a, str>>,
}

impl<'a> EntryFields<'a> {
    fn of(entry: Named<'a>) -> Self {
        let (size_bytes, target) = match entry.kind {
            NamedKind::File { size_bytes } => (Some(size_bytes), None),
            NamedKind::Dir => (None, None),
            NamedKind::Link { target } => (None, Some(target.into())),
        };
        Self {
            name: entry.name.into(),
            mode: entry.mode & 0o777,
            depth: u32::try_from(entry.depth).unwrap_or(u32::MAX),
            size_bytes,
            target,
        }
    }

    /// Adds the entry to a tree.
    pub(super) fn push_to(&self, tree: &mut TreeBuilder, modified: [u8; TIME_BYTES]) -> Result<()> {
        let kind = match (self.size_bytes, &self.target) {
            (Some(size_bytes), None) => NamedKind::File { size_bytes },
            (None, None) => NamedKind::Dir,
            (None, Some(target)) => NamedKind::Link { target },
            (Some(_), Some(_)) => return Err(Error::corrupt("an entry of two kinds")),
        };
        if self.mode > 0o777 {
            return Err(Error::corrupt("an entry has more than permission bits"));
        }
        let modified = i64::from_le_bytes(modified);
        if time_of(modified).is_none() {
            let what = "a file's modification time is out of range";
            return Err(Error::corrupt(what));
        }
        let named = Named {
            depth: usize::try_from(self.depth).unwrap_or(usize::MAX),
            name: &self.name,
            mode: self.mode,
            kind,
            modified,
        };
        let pushed = tree.push_named(named);
        pushed.map_err(invalid)
    }
}

/// Returns the entries of a tree.
pub(super) fn of(tree: &Tree) -> impl Iterator<Item = EntryFields<'_>> {
    tree.named().map(EntryFields::of)
}

/// Encodes the modification times of a tree.
pub(super) fn encode_times(tree: &Tree) -> Vec<u8> {
    tree.named()
        .flat_map(|entry| entry.modified.to_le_bytes())
        .collect()
}

/// Makes a tree of entries and of their encoded times.
pub(super) fn tree(entries: &[EntryFields<'_>], times: &[u8]) -> Result<Tree> {
    let (times, rest) = times.as_chunks::<TIME_BYTES>();
    if times.len() != entries.len() || !rest.is_empty() {
        return Err(Error::corrupt(
            "the commit has not one modification time for each entry",
        ));
    }
    let mut tree = TreeBuilder::default();
    for (entry, time) in entries.iter().zip(times) {
        entry.push_to(&mut tree, *time)?;
    }
    tree.finish().map_err(invalid)
}

/// Converts the error about an invalid tree.
pub(super) fn invalid(error: Error) -> Error {
    Error::corrupt("the commit's tree is invalid").with_source(error)
}
