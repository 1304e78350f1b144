//! Inspects a location without changing it: whether its data is intact, and whether its storage is
//! suitable.

pub(crate) mod doctor;
mod exists;
pub(crate) mod verify;
