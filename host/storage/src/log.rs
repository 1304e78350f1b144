//! The log of a location: its slots, what can be restored from it, and the claim that opens it for writing.

pub(crate) mod claim;
pub(crate) mod history;
pub(crate) mod slot;
