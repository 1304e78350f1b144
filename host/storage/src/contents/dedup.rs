//! Deduplication: finds chunks that the newest checkpoint already stores.

use std::collections::HashMap;

use crate::format::{Chunk, Commit, ObjectName};

/// The chunks of a checkpoint and of its description, by their hashes.
///
/// Only of the newest one: its data lives longest, and a map of every retained checkpoint would grow with their number.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    chunks: HashMap<[u8; 32], Chunk>,
    objects: HashMap<ObjectName, u64>,
}

impl KnownChunks {
    /// Collects the chunks of a commit.
    pub(crate) fn of<'a>(commit: &Commit, chunks: impl IntoIterator<Item = &'a Chunk>) -> Self {
        let objects = commit.objects.iter().map(|o| (o.name(), o.size_bytes));
        Self {
            chunks: chunks.into_iter().map(|c| (c.hash, *c)).collect(),
            objects: objects.collect(),
        }
    }

    pub(crate) fn get(&self, hash: &[u8; 32], size_bytes: usize) -> Option<Chunk> {
        let known = self.chunks.get(hash).copied();
        known.filter(|known| known.size_bytes as usize == size_bytes)
    }

    /// Returns the size of a data object that a known chunk lies in.
    pub(crate) fn object_bytes(&self, name: ObjectName) -> Option<u64> {
        self.objects.get(&name).copied()
    }
}
