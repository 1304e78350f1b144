//! What can be saved and restored: trees outside the storage.

use super::Tree;
use super::target::{Existing, TargetState};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::limits::Limits;

/// A file or directory outside the storage that a save reads.
///
/// The calls block; on hosts with threads they are made on one that may. They are made piece by piece
/// and by turns with those to the storage, so a host with one thread needs no more memory than others.
pub trait TreeSource: Send + Sync + 'static {
    /// Begins to read the tree.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if nothing is there, or something that no tree can hold.
    fn reader(&self, limits: &Limits) -> Result<Box<dyn TreeReader>>;
}

/// A file or directory outside the storage that a restore writes. It is read too, to compare it with the
/// checkpoint.
pub trait TreeTarget: TreeSource {
    /// What is there now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the path leads out of its directory.
    fn state(&self) -> Result<TargetState>;

    /// Begins to create `tree` in place of what is there now. What an interrupted restore has left is
    /// always replaced, an empty directory filled; anything else is replaced only if `existing` permits
    /// it. A directory is marked before it is emptied, so that a process which dies leaves an interrupted
    /// restore; a file is replaced when the new one is whole.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if something is there that may not be replaced, or if the target cannot
    /// hold the tree: then nothing was changed. [`ErrorKind::ReadOnly`] if it is not permitted.
    fn writer(&self, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>>;

    /// Whether permission bits are read and set as they are. Where they are not, they make no difference
    /// between a target and a checkpoint. Default true.
    fn keeps_modes(&self) -> bool {
        true
    }
}

/// A tree that is being read.
pub trait TreeReader: Send {
    /// Puts the next of the contents of the tree's files, one after the other in the order of the
    /// entries, into the beginning of `into`, which is not empty. Returns how many bytes that are; 0
    /// only at the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for something that no tree can hold, [`ErrorKind::QuotaExceeded`] as
    /// soon as more is found than the limits permit.
    fn read(&mut self, into: &mut [u8]) -> Result<usize>;

    /// After the end: the entries, with the sizes that were in fact read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if they are no tree.
    fn finish(self: Box<Self>) -> Result<Tree>;
}

/// A tree that is being made. Dropped before it is finished, what was written counts as an interrupted
/// restore.
pub trait TreeWriter: Send {
    /// Takes the next of the contents, as a [`TreeReader`] gives them.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::QuotaExceeded`] or [`ErrorKind::InvalidPath`], as the
    /// target demands.
    fn write(&mut self, piece: &[u8]) -> Result<()>;

    /// Makes what is left. Everything is durable when it returns.
    ///
    /// # Errors
    /// Those of [`write`](Self::write), and if contents are missing.
    fn finish(self: Box<Self>) -> Result<()>;
}
