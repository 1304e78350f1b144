//! Looking at a location without changing it: whether what it holds is whole, and whether its storage is fit.

pub(crate) mod doctor;
mod exists;
pub(crate) mod verify;
