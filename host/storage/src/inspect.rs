//! Inspects a location without changing it: whether its data is intact, and whether its storage is
//! suitable.

pub(crate) mod doctor;
pub(crate) mod verify;
