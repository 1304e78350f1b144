//! Sources of saves and targets of restores: trees outside the storage.

use super::Tree;
use super::target::{Existing, TargetState};
use crate::cancel::Cancel;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::limits::Limits;

/// A file or directory outside the storage that a save reads.
///
/// The calls block. Hosts with threads run them on a thread that may block. Calls read one piece at a time
/// and alternate with storage requests, so a host with one thread needs no more memory than others.
pub trait TreeSource: Send + Sync + 'static {
    /// Begins to read the tree. This and the reader check `cancel` before each step of at most 1 MiB or
    /// one entry, because a directory may have a million empty files.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the path does not exist or a tree cannot represent it.
    /// [`ErrorKind::Other`] if the call is cancelled.
    fn reader(&self, limits: &Limits, cancel: &Cancel) -> Result<Box<dyn TreeReader>>;
}

/// A file or directory outside the storage that a restore writes. A restore also reads it, to compare it with
/// the checkpoint.
pub trait TreeTarget: TreeSource {
    /// Returns the current state of the target.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the path leads out of its directory.
    fn state(&self) -> Result<TargetState>;

    /// Begins to create `tree` in place of the current content. Always replaces the remains of an
    /// interrupted restore and fills an empty directory; replaces anything else only if `existing` permits
    /// it. Marks a directory before emptying it, so that a process that dies leaves an interrupted restore.
    /// Replaces a file only once the new one is complete.
    ///
    /// This and the writer check `cancel` before each step of at most 1 MiB or one entry. A cancelled
    /// restore leaves what a process that dies leaves.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the content must not be replaced or the target cannot represent the
    /// tree; the target is unchanged then. [`ErrorKind::ReadOnly`] if writing is not permitted.
    /// [`ErrorKind::Other`] if the call is cancelled.
    fn writer(
        &self,
        tree: &Tree,
        existing: Existing,
        cancel: &Cancel,
    ) -> Result<Box<dyn TreeWriter>>;

    /// Returns whether permission bits are preserved. If not, comparing a target with a checkpoint ignores
    /// them. Default: true.
    fn keeps_modes(&self) -> bool {
        true
    }
}

/// Reads a tree.
pub trait TreeReader: Send {
    /// Reads the next contents into the beginning of `into`, which must not be empty. The contents of all
    /// files follow one another in the order of the entries. Returns the number of bytes; 0 only at the
    /// end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for an entry that a tree cannot represent. [`ErrorKind::QuotaExceeded`]
    /// as soon as the contents exceed the limits.
    fn read(&mut self, into: &mut [u8]) -> Result<usize>;

    /// Returns the entries, with the sizes that were actually read. Call it after the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the entries are not a valid tree.
    fn finish(self: Box<Self>) -> Result<Tree>;
}

/// Creates a tree. Dropping it before it is finished leaves an interrupted restore. If it has threads, each of them
/// holds a clone of the [`Cancel`] until it has taken its last step.
pub trait TreeWriter: Send {
    /// Writes the next contents, in the order in which a [`TreeReader`] reads them.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::QuotaExceeded`] or [`ErrorKind::InvalidPath`], depending on
    /// the target.
    fn write(&mut self, piece: &[u8]) -> Result<()>;

    /// Creates the remaining entries. Everything is durable when it returns.
    ///
    /// # Errors
    /// Those of [`write`](Self::write). Also fails if contents are missing.
    fn finish(self: Box<Self>) -> Result<()>;
}
