//! Attempts.
use std::num::NonZeroUsize;
use std::time::SystemTime;

use bytes::Bytes;

use crate::{Existing, FileTree, Location, Result};

/// What an attempt is told when it begins.
#[derive(Clone, Debug)]
pub struct AttemptSettings {}

impl Default for AttemptSettings {
    fn default() -> Self {
        Self {}
    }
}

impl AttemptSettings {
    /// The number of the attempt, counted from 0, for people. Default 0.
    pub fn number(self, _number: u32) -> Self {
        self
    }
    /// The BLAKE3 digest of the component that runs. Default none.
    pub fn component(self, _digest: [u8; 32]) -> Self {
        self
    }
    /// An earlier attempt's location, where that is another one. Default none.
    pub fn previous(self, _previous: Location) -> Self {
        self
    }
    /// How many checkpoints are kept. Default 3.
    pub fn keep(self, _keep: NonZeroUsize) -> Self {
        self
    }
}

/// What an attempt goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// Nothing was committed.
    Fresh,
    /// The newest checkpoint.
    Resumed(CheckpointInfo),
    /// An older checkpoint.
    FellBack {
        /// What this attempt goes on from.
        checkpoint: CheckpointInfo,
        /// The newest damaged checkpoint that was passed over.
        damaged: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is known of a checkpoint without reading its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Position in the log.
    pub sequence: u64,
    /// The number of the attempt that saved it.
    pub attempt: u32,
    /// When it was saved, by that host's clock.
    pub saved_at: SystemTime,
    /// The size of its contents.
    pub logical_bytes: u64,
    /// The number of its files.
    pub files: u64,
    /// The URL of the location that holds it.
    pub location: String,
}

/// What a save did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Position in the log.
    pub sequence: u64,
    /// Size of the contents.
    pub logical_bytes: u64,
    /// Size of what was put, the record included.
    pub uploaded_bytes: u64,
}

/// What an attempt has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Committed saves.
    pub saves: u64,
    /// The size of their contents.
    pub logical_bytes: u64,
    /// The size of what was put for them.
    pub uploaded_bytes: u64,
}

/// One run of a task, which owns its location until a newer one begins.
#[derive(Debug)]
pub struct Attempt {}

impl Attempt {
    /// Claims the location.
    pub async fn begin(_location: Location, _settings: AttemptSettings) -> Result<Self> {
        todo!()
    }
    /// What this attempt goes on from. Fails with `Corrupt` if every checkpoint is damaged.
    pub async fn resume_point(&self) -> Result<ResumePoint> {
        todo!()
    }
    /// Whether there is a checkpoint that `read` or `restore` would give.
    pub async fn prev_exists(&self) -> Result<bool> {
        todo!()
    }
    /// The contents of the only file of the checkpoint.
    pub async fn read(&self) -> Result<Option<Bytes>> {
        todo!()
    }
    /// Replaces the checkpoint by one unnamed file.
    pub async fn write(&self, _contents: Bytes) -> Result<Saved> {
        todo!()
    }
    /// Replaces the checkpoint by a tree.
    pub async fn save(&self, _source: impl FileTree) -> Result<Saved> {
        todo!()
    }
    /// Makes `target` equal to the checkpoint and returns its sequence.
    pub async fn restore(&self, _target: impl FileTree, _existing: Existing) -> Result<Option<u64>> {
        todo!()
    }
    /// What this attempt has saved.
    pub fn totals(&self) -> Totals {
        todo!()
    }
}
