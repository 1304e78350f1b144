//! What an attempt resumes from.

use crate::checkpoint::CheckpointInfo;
#[cfg(doc)]
use crate::error::ErrorKind;

/// What an attempt resumes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// No earlier attempt has committed a checkpoint.
    Fresh,
    /// The newest checkpoint of the earlier attempts.
    Resumed(CheckpointInfo),
    /// An older checkpoint, because every newer one is damaged.
    FellBack {
        /// The checkpoint that this attempt resumes from.
        checkpoint: CheckpointInfo,
        /// The position of the newest damaged record that was skipped.
        damaged: u64,
        /// Why that record is damaged.
        reason: String,
    },
}

/// What to do with a checkpoint that earlier attempts saved with another schema than the declared
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// Fail reads with [`ErrorKind::SchemaMismatch`].
    Refuse,
    /// Ignore the checkpoint and start fresh. The first save replaces it, like any save.
    StartFresh,
    /// Return the checkpoint anyway.
    Allow,
}
