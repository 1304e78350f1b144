//! Inspects a location without changing it: whether its data is intact, what to prune, and whether
//! its storage is suitable.

pub(crate) mod doctor;
mod exists;
pub(crate) mod prune;
pub(crate) mod verify;
