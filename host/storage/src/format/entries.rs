//! The entries of a tree, and their modification times.
//!
//! The times are a column of their own: those of a fresh copy of the same files all differ, and the entries do not.

use std::time::{Duration, SystemTime};

use minicbor::{CborLen, Decode, Encode};

use crate::error::{Error, Result};
use crate::tree::{Entry, Node, Tree};

/// The size of a modification time.
pub(crate) const TIME_BYTES: usize = 8;

/// An entry without its modification time.
#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
pub(super) struct EntryFields {
    #[n(0)]
    path: String,
    #[n(1)]
    mode: u32,
    /// Only for a file.
    #[n(4)]
    size_bytes: Option<u64>,
    /// Only for a link. An entry with neither field is a directory.
    #[n(5)]
    target: Option<String>,
}

impl EntryFields {
    pub(super) fn of(entry: &Entry) -> Self {
        let (size_bytes, target) = match &entry.node {
            Node::File { size_bytes } => (Some(*size_bytes), None),
            Node::Dir => (None, None),
            Node::Link { target } => (None, Some(target.clone())),
        };
        Self {
            path: entry.path.clone(),
            mode: entry.mode & 0o777,
            size_bytes,
            target,
        }
    }

    fn entry(self, modified: SystemTime) -> Result<Entry> {
        let node = match (self.size_bytes, self.target) {
            (Some(size_bytes), None) => Node::File { size_bytes },
            (None, None) => Node::Dir,
            (None, Some(target)) => Node::Link { target },
            (Some(_), Some(_)) => return Err(Error::corrupt("an entry of two kinds")),
        };
        Ok(Entry {
            path: self.path,
            node,
            mode: self.mode,
            modified,
        })
    }
}

/// Encodes the modification times of a tree.
pub(super) fn encode_times(tree: &Tree) -> Vec<u8> {
    let entries = tree.entries().iter();
    entries
        .flat_map(|entry| nanoseconds(entry.modified).to_le_bytes())
        .collect()
}

/// Makes a tree of entries and of their encoded times.
pub(super) fn tree(entries: Vec<EntryFields>, times: &[u8]) -> Result<Tree> {
    let (times, rest) = times.as_chunks::<TIME_BYTES>();
    if times.len() != entries.len() || !rest.is_empty() {
        return Err(Error::corrupt(
            "the commit has not one modification time for each entry",
        ));
    }
    let entries = entries.into_iter().zip(times);
    let entries: Result<Vec<Entry>> = entries
        .map(|(entry, time)| entry.entry(time_of(i64::from_le_bytes(*time))?))
        .collect();
    Tree::in_order(entries?)
        .map_err(|e| Error::corrupt("the commit's tree is invalid").with_source(e))
}

/// Returns the nanoseconds since 1970. A time before 1677 or after 2262 becomes the nearest one that fits.
fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = i64::try_from(before.duration().as_nanos());
            before.map_or(i64::MIN, |before| -before)
        }
    }
}

fn time_of(nanoseconds: i64) -> Result<SystemTime> {
    let since = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(since),
        false => SystemTime::UNIX_EPOCH.checked_add(since),
    };
    time.ok_or_else(|| Error::corrupt("a file's modification time is out of range"))
}
