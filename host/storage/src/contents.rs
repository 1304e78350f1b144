//! The contents of checkpoints: cut into chunks, packed into data objects, and read back.

mod buffers;
pub(crate) mod chunks;
pub(crate) mod codec;
pub(crate) mod cutter;
pub(crate) mod dedup;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod objects;
pub(crate) mod packer;
pub(crate) mod prepare;
pub(crate) mod read;
pub(crate) mod sizes;
pub(crate) mod stage;
pub(crate) mod usage;
mod window;
