//! The results of saves.

/// The result of one save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The checkpoint's position in the log.
    pub sequence: u64,
    /// The size of the checkpoint's contents.
    pub logical_bytes: u64,
    /// Bytes uploaded for the checkpoint, including its record.
    pub uploaded_bytes: u64,
}

/// Totals of what an attempt has committed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of saves.
    pub saves: u64,
    /// The size of their contents, summed over all saves.
    pub logical_bytes: u64,
    /// Bytes uploaded for them, including records.
    pub uploaded_bytes: u64,
}
