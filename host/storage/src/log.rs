//! The log of a location: its slots, its history of restorable checkpoints, and the claim that
//! opens it for writing.

pub(crate) mod claim;
pub(crate) mod history;
pub(crate) mod slot;
