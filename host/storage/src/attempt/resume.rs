//! What an attempt goes on from.

use crate::checkpoint::CheckpointInfo;
#[cfg(doc)]
use crate::error::ErrorKind;

/// What an attempt goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// Nothing: no earlier attempt has committed a checkpoint.
    Fresh,
    /// The newest checkpoint of the earlier attempts.
    Resumed(CheckpointInfo),
    /// An older checkpoint, because what is newer is damaged.
    FellBack {
        /// What this attempt goes on from.
        checkpoint: CheckpointInfo,
        /// The position of the newest damaged record that was passed over.
        damaged: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What to do with a checkpoint that earlier attempts have saved in another form than the one declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// Fail with [`ErrorKind::SchemaMismatch`] when it is asked for.
    Refuse,
    /// Go on as if there were none. The first save replaces it, as any save does.
    StartFresh,
    /// Give it all the same.
    Allow,
}
