//! Deduplication: finds chunks that the newest checkpoint already stores.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::format::{Chunk, Commit, ObjectName};

/// The chunks of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct StoredChunks {
    /// Those of its contents, and then the nodes of its description.
    chunks: Vec<Chunk>,
    /// How many of them are nodes.
    nodes: usize,
}

impl StoredChunks {
    /// `chunks` are those of the contents, and then this number of nodes.
    pub(crate) fn new(chunks: Vec<Chunk>, nodes: usize) -> Self {
        Self { chunks, nodes }
    }

    fn nodes(&self) -> &[Chunk] {
        let contents = self.chunks.len().saturating_sub(self.nodes);
        self.chunks.get(contents..).unwrap_or_default()
    }
}

/// The chunks of a checkpoint and of its description, by their hashes.
///
/// Only of the newest one: its data lives longest, and an index of every retained checkpoint would grow with their number.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    stored: Arc<StoredChunks>,
    /// The places of the chunks, in the order of their hashes. A map would take several times the memory.
    by_hash: Vec<u32>,
    objects: HashMap<ObjectName, u64>,
    /// How much of each data object the nodes of its description take.
    node_bytes: HashMap<ObjectName, u64>,
}

impl KnownChunks {
    /// Collects the chunks of a commit.
    pub(crate) fn of(commit: &Commit, stored: Arc<StoredChunks>) -> Self {
        let objects = commit.objects.iter().map(|o| (o.name(), o.size_bytes));
        let mut node_bytes: HashMap<_, u64> = HashMap::new();
        let distinct: HashSet<_> = stored.nodes().iter().collect();
        for node in distinct {
            let bytes = node_bytes.entry(node.block.object).or_default();
            *bytes = bytes.saturating_add(node.live_bytes());
        }
        let mut by_hash: Vec<u32> = (0..).take(stored.chunks.len()).collect();
        by_hash.sort_unstable_by_key(|place| hash_at(&stored.chunks, *place));
        Self {
            stored,
            by_hash,
            objects: objects.collect(),
            node_bytes,
        }
    }

    /// Returns how many bytes of a data object belong to nodes.
    pub(crate) fn node_bytes(&self, name: ObjectName) -> u64 {
        self.node_bytes.get(&name).copied().unwrap_or_default()
    }

    pub(crate) fn get(&self, hash: &[u8; 32], size_bytes: usize) -> Option<Chunk> {
        let chunks = &self.stored.chunks;
        let compare = |place: &u32| hash_at(chunks, *place).cmp(&Some(hash));
        let place = self.by_hash.binary_search_by(compare).ok()?;
        let known = chunks.get(*self.by_hash.get(place)? as usize)?;
        (known.size_bytes as usize == size_bytes).then_some(*known)
    }

    /// Returns the size of a data object that a known chunk lies in.
    pub(crate) fn object_bytes(&self, name: ObjectName) -> Option<u64> {
        self.objects.get(&name).copied()
    }
}

fn hash_at(chunks: &[Chunk], place: u32) -> Option<&[u8; 32]> {
    chunks.get(place as usize).map(|chunk| &chunk.hash)
}
