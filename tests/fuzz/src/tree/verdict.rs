//! The verdict of `FORMAT.md` on a commit, implemented independently of the storage crate.

use std::collections::BTreeSet;

use checkpoint_storage::{Entry as Stored, Limits, Node};

use super::{Chunk, Commit, Entry};
use crate::disk::{MARKER, Snapshot, What};

/// The required outcome of restoring a commit, apart from problems of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// The commit contradicts itself, or a data object is missing or has the wrong size.
    Damaged,
    /// The commit exceeds a limit.
    TooLarge,
    /// No file system can hold its entries.
    Unholdable,
    /// The stored data does not match the commit.
    WrongData,
}

/// The most bytes that a record may have.
const MAX_RECORD: usize = 1 << 20;

/// Times that every file system can hold, in seconds.
const PLAIN_TIMES: std::ops::Range<i64> = 0..1 << 33;

impl Commit {
    pub fn verdict(&self, limits: &Limits) -> Verdict {
        let sizes = self.entries.iter().filter_map(|entry| entry.size);
        let size = sizes.fold(0, u64::saturating_add);
        let fits = self.record().len() <= MAX_RECORD;
        if !fits || !self.is_tree() || !self.holds(size) || !self.objects_are_there() {
            Verdict::Damaged
        } else if self.entries.len() as u64 > limits.entries || size > limits.checkpoint_bytes {
            Verdict::TooLarge
        } else if !self.entries.iter().all(Entry::is_holdable) {
            Verdict::Unholdable
        } else if self.has_wrong_data() {
            Verdict::WrongData
        } else {
            Verdict::Good
        }
    }

    /// Returns whether the stored data does not match a commit that contradicts nothing else.
    pub fn has_wrong_data(&self) -> bool {
        let mut chunks = self.chunks.iter().flatten();
        !chunks.all(|chunk| self.is_right(chunk))
    }

    /// Returns whether the commit is one file.
    pub fn is_file(&self) -> bool {
        self.entries.first().is_some_and(|root| root.size.is_some())
    }

    fn is_tree(&self) -> bool {
        let Some((root, rest)) = self.entries.split_first() else {
            return false;
        };
        let mut dirs = BTreeSet::from([""]);
        root.path.is_empty()
            && !self.entries.iter().any(|entry| entry.is_adrift)
            && (root.is_dir() || root.target.is_none() && rest.is_empty())
            && self.entries.iter().all(Entry::is_one)
            && self.entries.iter().all(|entry| entry.mode <= 0o777)
            && self
                .entries
                .is_sorted_by(|a, b| a.components().lt(b.components()))
            && rest.iter().all(|entry| {
                let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
                if entry.is_dir() {
                    dirs.insert(&entry.path);
                }
                !matches!(name, "" | "." | "..") && dirs.contains(parent)
            })
    }

    fn holds(&self, size: u64) -> bool {
        match (&self.inline, &self.references, &self.chunks) {
            (Some(inline), None, None) => inline.len() as u64 == size,
            (None, Some(references), Some(chunks)) => {
                let sum: u64 = chunks.iter().map(|chunk| chunk.size_bytes).sum();
                let used: BTreeSet<u64> = chunks.iter().map(|chunk| chunk.object).collect();
                // An empty list of references is left out.
                sum == size
                    && !references.is_empty()
                    && references.iter().all(|(epoch, ..)| *epoch <= 1)
                    && references.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1))
                    && references.iter().all(|(.., size)| *size <= 64 << 20)
                    && used.len() == references.len()
                    && chunks.iter().all(|chunk| chunk.can_be(references))
                    && do_not_overlap(chunks)
            }
            _ => false,
        }
    }

    fn objects_are_there(&self) -> bool {
        let mut references = self.references.iter().flatten();
        references.all(|(epoch, counter, size)| {
            let object = self.objects.get(&(*epoch, *counter));
            object.is_some_and(|object| object.len() as u64 == *size)
        })
    }

    fn is_right(&self, chunk: &Chunk) -> bool {
        let (start, size) = (chunk.offset as usize, chunk.stored() as usize);
        let stored = &self.objects[&(1, chunk.object)][start..start + size];
        let contents = match chunk.codec {
            0 => stored.to_vec(),
            _ => match lz4_flex::block::decompress(stored, chunk.size_bytes as usize) {
                Ok(contents) => contents,
                Err(_) => return false,
            },
        };
        contents.len() as u64 == chunk.size_bytes && blake3::hash(&contents) == chunk.hash
    }

    /// Asserts that what was restored equals the commit.
    pub fn check_restored(&self, found: &Snapshot) {
        let paths = self.entries.iter().map(|entry| entry.path.as_str());
        let paths: BTreeSet<_> = paths.collect();
        let restored = found.keys().map(|path| path.to_str().unwrap());
        assert_eq!(restored.collect::<BTreeSet<_>>(), paths);
        for entry in &self.entries {
            let item = &found[std::path::Path::new(&entry.path)];
            match (&item.what, entry.size, &entry.target) {
                (What::Dir, None, None) | (What::File(_), Some(_), None) => {
                    assert_eq!(item.mode, entry.mode & 0o777, "{:?}", entry.path);
                }
                (What::Link(found), None, Some(target)) => {
                    assert_eq!(found.to_str(), Some(target.as_str()));
                }
                (what, ..) => panic!("{:?} is {what:?}", entry.path),
            }
            if let What::File(contents) = &item.what {
                assert!(
                    self.is_changed || *contents == entry.contents,
                    "{:?}",
                    entry.path
                );
                assert_eq!(Some(contents.len() as u64), entry.size);
            }
            let (s, ns) = entry.stored_time();
            if PLAIN_TIMES.contains(&s) {
                assert_eq!(item.modified, (s, ns), "{:?}", entry.path);
            }
        }
    }
}

impl Entry {
    /// Returns whether the entry has exactly one of the three kinds and valid fields.
    fn is_one(&self) -> bool {
        let target = self.target.as_ref();
        !(self.size.is_some() && target.is_some())
            && target.is_none_or(|target| !target.is_empty() && !target.contains('\0'))
            && self.path.len() <= 3072
            && !self.path.contains('\0')
            && !self.path.starts_with('/')
    }

    /// Returns the seconds and nanoseconds that the record states. It has 8 bytes for them.
    fn stored_time(&self) -> (i64, i64) {
        let (seconds, nanoseconds) = self.modified;
        let time = seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(nanoseconds.into());
        (
            time.div_euclid(1_000_000_000),
            time.rem_euclid(1_000_000_000),
        )
    }

    fn is_holdable(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let target = self.target.as_ref().map_or(0, String::len);
        name.len() <= 255
            && target < 4096
            && self.path != MARKER
            && !(self.is_dir() && self.components().count() >= 128)
    }
}

impl Chunk {
    /// Returns the size of its block. A record does not state that of a block which is stored as it is.
    fn stored(&self) -> u64 {
        match self.codec {
            0 => self.size_bytes,
            _ => self.stored_bytes,
        }
    }

    fn can_be(&self, references: &[(u64, u64, u64)]) -> bool {
        let object = |reference: &&(u64, u64, u64)| (reference.0, reference.1) == (1, self.object);
        let object = references.iter().find(object);
        let end = self.offset.checked_add(self.stored());
        object.is_some_and(|(.., size)| end.is_some_and(|end| end <= *size))
            && self.stored() > 0
            && (1..=16 << 20).contains(&self.size_bytes)
            && (self.codec == 0 || self.stored_bytes < self.size_bytes)
    }
}

/// Returns whether any two blocks in one object are the same or lie apart.
fn do_not_overlap(chunks: &[Chunk]) -> bool {
    let fields = |chunk: &Chunk| {
        let place = (chunk.object, chunk.offset, chunk.stored());
        (place, chunk.size_bytes, chunk.codec != 0)
    };
    let distinct: BTreeSet<_> = chunks.iter().map(fields).collect();
    let mut ends = std::collections::BTreeMap::new();
    distinct.iter().all(|((object, offset, stored_bytes), ..)| {
        let end = ends.insert(*object, offset + stored_bytes);
        end.is_none_or(|end| end <= *offset)
    })
}

/// Returns whether two entries are equal, apart from what a file system may not keep.
pub fn is_kept(stored: &Stored, saved: &Stored) -> bool {
    let seconds = |entry: &Stored| {
        let since = entry.modified.duration_since(std::time::UNIX_EPOCH);
        since.map_or(-1, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    };
    stored.path == saved.path
        && stored.node == saved.node
        && (stored.mode == saved.mode || matches!(stored.node, Node::Link { .. }))
        && (stored.modified == saved.modified || !PLAIN_TIMES.contains(&seconds(stored)))
}
