//! The log of a location: its slots, its history of restorable checkpoints, its predecessors, and
//! the claim that opens it for writing.

pub(crate) mod claim;
pub(crate) mod history;
pub(crate) mod holdings;
pub(crate) mod predecessors;
pub(crate) mod slot;
pub(crate) mod sweep;
