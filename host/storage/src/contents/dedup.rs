//! Deduplication: finds chunks that the newest checkpoint already stores.

use std::collections::{HashMap, HashSet};

use crate::format::{Chunk, Commit, ObjectName};

/// The chunks of a checkpoint and of its description, by their hashes.
///
/// Only of the newest one: its data lives longest, and a map of every retained checkpoint would grow with their number.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    chunks: HashMap<[u8; 32], Chunk>,
    objects: HashMap<ObjectName, u64>,
    /// How much of each data object the nodes of its description take.
    node_bytes: HashMap<ObjectName, u64>,
}

impl KnownChunks {
    /// Collects the chunks of a commit: those of its contents, and the nodes of its description.
    pub(crate) fn of(commit: &Commit, contents: &[Chunk], nodes: &[Chunk]) -> Self {
        let objects = commit.objects.iter().map(|o| (o.name(), o.size_bytes));
        let mut node_bytes: HashMap<_, u64> = HashMap::new();
        let distinct: HashSet<_> = nodes.iter().collect();
        for node in distinct {
            let bytes = node_bytes.entry(node.block.object).or_default();
            *bytes = bytes.saturating_add(node.live_bytes());
        }
        let chunks = contents.iter().chain(nodes);
        Self {
            chunks: chunks.map(|c| (c.hash, *c)).collect(),
            objects: objects.collect(),
            node_bytes,
        }
    }

    /// Returns how many bytes of a data object belong to nodes.
    pub(crate) fn node_bytes(&self, name: ObjectName) -> u64 {
        self.node_bytes.get(&name).copied().unwrap_or_default()
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
