//! Limits on what a task may store, and on what a stored tree may create on this machine.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Metadata;
use crate::tree::MAX_PATH_BYTES;
use crate::tree::Tree;

/// Caps on what a task stores. A restore also checks the tree against them before anything is
/// written, because stored data may be forged.
///
/// Exceeding any of them is [`ErrorKind::QuotaExceeded`]; no committed checkpoint is lost by it.
/// The defaults are far above what a task needs and far below what harms a host that has room for
/// its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The size of a checkpoint's contents, in bytes. Default 64 GiB.
    pub checkpoint_bytes: u64,
    /// What the location may occupy in the storage, in bytes: the retained checkpoints, what replaced ones
    /// leave until it is deleted, the records that are never deleted (a claim for each attempt, and its last
    /// record), and a save in flight with its record. Claims alone are never refused; each has a few hundred
    /// bytes. Default 256 GiB: a few of the largest checkpoints.
    pub stored_bytes: u64,
    /// The number of files, directories and links in a checkpoint. Default one million: a save or a
    /// restore holds all of them in memory. A checkpoint of more than 4,194,304 entries, or whose description
    /// takes more than 256 MiB, cannot be saved, whatever this says.
    pub entries: u64,
    /// The size of the description of a checkpoint's tree, in bytes: the lengths of all names (not paths) and of the
    /// targets of links, and 64 for each entry. Default 128 MiB, a million entries with names of 70
    /// bytes: a save or a restore holds the description in memory.
    pub tree_bytes: u64,
    /// The length of a path in a checkpoint, in bytes. Default and maximum 3072: Linux's `PATH_MAX`
    /// less room for the path of the target.
    pub path_bytes: usize,
    /// The size of contents that [`Attempt::read`](crate::Attempt::read) returns, in bytes. Larger ones
    /// are refused before anything is fetched; read them as a stream. Default 1 GiB: the host holds them
    /// in memory, however small the objects that compress to them.
    pub read_bytes: u64,
    /// The saves of an attempt per minute. A burst of as many is allowed; further saves are refused
    /// until the rate permits them. A background save that a newer one replaces does not count.
    /// Default 6000: each save leaves a record to list and delete.
    pub saves_per_minute: u32,
    /// The disk space that the copies of directories for the background saves of an attempt take
    /// together, in bytes, counted in blocks of 4 KiB; holes take none. A copy that does not fit beside
    /// the others waits until the save in flight has ended. Default 64 GiB: one copy of the largest
    /// checkpoint.
    pub spool_bytes: u64,
    /// The memory that the contents of the background writes of an attempt take together, in bytes. A
    /// write that does not fit beside the one in flight waits until that has ended. Default 1 GiB: a
    /// task with more state can write it in the foreground, which copies a few MiB at a time.
    pub background_bytes: u64,
    /// The total size of a save's annotations (keys and values) and schema, in bytes. Default 16
    /// KiB: everyone who lists checkpoints reads them.
    pub annotation_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            checkpoint_bytes: 64 << 30,
            stored_bytes: 256 << 30,
            entries: 1_000_000,
            tree_bytes: 128 << 20,
            read_bytes: 1 << 30,
            path_bytes: MAX_PATH_BYTES,
            saves_per_minute: 6000,
            spool_bytes: 64 << 30,
            background_bytes: 1 << 30,
            annotation_bytes: 16 << 10,
        }
    }
}

impl Limits {
    /// Checks a whole tree.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub(crate) fn check_tree(&self, tree: &Tree) -> Result<()> {
        self.check_entries(tree.len())?;
        self.check_path_bytes(tree.longest_path_bytes())?;
        self.check_description(tree.described_bytes())?;
        // A size that overflows exceeds every cap.
        self.check_size(tree.size_bytes().unwrap_or(u64::MAX))
    }

    /// Checks the number of entries. A [`TreeReader`](crate::TreeReader) calls this as it finds
    /// them.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub(crate) fn check_entries(&self, count: usize) -> Result<()> {
        within(
            count as u64,
            self.entries,
            "files, directories and links in a checkpoint",
        )
    }

    /// Checks the size of a tree's description. A [`TreeReader`](crate::TreeReader) calls this as it
    /// finds the entries.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub(crate) fn check_description(&self, tree_bytes: u64) -> Result<()> {
        let what = "bytes in the names and entries of a checkpoint";
        within(tree_bytes, self.tree_bytes, what)
    }

    /// Checks the size of contents that are to be read into memory.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub(crate) fn check_read(&self, size_bytes: u64) -> Result<()> {
        if size_bytes <= self.read_bytes {
            return Ok(());
        }
        let message = format!(
            "the checkpoint has {size_bytes} bytes, but this host permits {} to be read into memory at once; \
             read it as a stream, or restore it to a file",
            self.read_bytes
        );
        Err(Error::new(ErrorKind::QuotaExceeded, message))
    }

    /// Checks the length of a path.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub(crate) fn check_path(&self, path: &str) -> Result<()> {
        self.check_path_bytes(path.len())
    }

    fn check_path_bytes(&self, bytes: usize) -> Result<()> {
        let most = self.path_bytes.min(MAX_PATH_BYTES);
        within(bytes as u64, most as u64, "bytes in a path")
    }

    /// Checks the size of a checkpoint's contents.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub fn check_size(&self, size_bytes: u64) -> Result<()> {
        within(size_bytes, self.checkpoint_bytes, "bytes in a checkpoint")
    }

    /// Returns metadata with a guest's annotations. Checks them before it builds anything, and counts an
    /// annotation without text as one byte. If a key occurs twice, both count, and the last value holds.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub fn annotated(&self, annotations: Vec<(String, String)>) -> Result<Metadata> {
        let sizes = annotations.iter();
        let sizes = sizes.map(|(key, value)| (key.len() + value.len()).max(1) as u64);
        let what = "bytes in the annotations of a checkpoint";
        within(sizes.sum(), self.annotation_bytes as u64, what)?;
        Ok(Metadata::annotated(annotations))
    }

    /// Checks the size of a checkpoint's annotations and schema.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]
    pub fn check_metadata(&self, metadata: &Metadata) -> Result<()> {
        let what = "bytes in the annotations and the schema of a checkpoint";
        within(
            metadata.size_bytes() as u64,
            self.annotation_bytes as u64,
            what,
        )
    }
}

fn within(found: u64, most: u64, what: &str) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    let message = format!("more than the {most} {what} that this host permits");
    Err(Error::new(ErrorKind::QuotaExceeded, message))
}

/// The rate limit on saves: a token bucket that holds one minute's saves and refills over time.
#[derive(Debug)]
pub(crate) struct SaveRate {
    per_minute: u32,
    due: f64,
    at: Option<Instant>,
}

impl SaveRate {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            due: per_minute.into(),
            at: None,
        }
    }

    /// Counts a save.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if the rate is exceeded.
    pub(crate) fn count(&mut self, now: Instant) -> Result<()> {
        let most = f64::from(self.per_minute);
        let passed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.due = (self.due + passed.as_secs_f64() * most / 60.0).min(most);
        if self.due < 1.0 {
            let message = format!(
                "more than the {} saves per minute that this host permits; save less often",
                self.per_minute
            );
            return Err(Error::new(ErrorKind::QuotaExceeded, message));
        }
        self.due -= 1.0;
        Ok(())
    }

    /// Gives back a save that was counted but not begun.
    pub(crate) fn give_back(&mut self) {
        self.due = (self.due + 1.0).min(self.per_minute.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made otherwise"
    )]
    fn saves_beyond_the_rate_are_refused_until_they_are_due() {
        let mut rate = SaveRate::new(2);
        let start = Instant::now();
        rate.count(start).unwrap();
        rate.count(start).unwrap();
        let refused = rate.count(start).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
        let half_a_minute_on = start + Duration::from_secs(31);
        rate.count(half_a_minute_on).unwrap();
        rate.count(half_a_minute_on).unwrap_err();
    }
}
