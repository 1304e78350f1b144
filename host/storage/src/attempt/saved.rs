//! What saves did.

/// What a save did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The checkpoint's position in the log.
    pub sequence: u64,
    /// The size of the checkpoint's contents.
    pub logical_bytes: u64,
    /// What went to the storage for it, the record included.
    pub uploaded_bytes: u64,
}

/// What an attempt has committed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of saves.
    pub saves: u64,
    /// The size of their contents, all saves added up.
    pub logical_bytes: u64,
    /// What went to the storage for them, records included.
    pub uploaded_bytes: u64,
}
