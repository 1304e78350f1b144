//! The checkpoints that a task is given.

use std::time::Duration;

/// A committed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its position in the log. Positions increase with every checkpoint, but need not be consecutive.
    pub sequence: u64,
    /// The number of the attempt that saved it. The first attempt is 0.
    pub attempt: u32,
    /// The time since it was saved, by the host's clock; zero if that clock was set back.
    pub age: Duration,
    /// The annotations that the task saved with it.
    pub annotations: Vec<(String, String)>,
    /// Its schema, if the task declared one.
    pub schema: Option<String>,
}

/// The contents of a checkpoint, and which checkpoint they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The contents of its only file.
    pub bytes: Vec<u8>,
    /// The checkpoint. It is this attempt's own newest save, if there is one.
    pub checkpoint: Checkpoint,
}

/// What this attempt found when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// No earlier attempt has committed a checkpoint.
    Fresh,
    /// The newest checkpoint of the earlier attempts.
    Resumed(Checkpoint),
    /// An older checkpoint, because every newer one is damaged.
    FellBack(FallBack),
}

/// How far an attempt fell back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallBack {
    /// The checkpoint that this attempt resumes from.
    pub checkpoint: Checkpoint,
    /// The newest damaged checkpoint that was skipped.
    pub damaged: u64,
    /// A human-readable description of the damage.
    pub reason: String,
}
