//! The list of chunks that a save makes.

use std::collections::HashMap;

use crate::format::Chunk;

/// How much of a hash the index holds. The chunk has the rest.
type Prefix = [u8; 16];

/// The chunks of contents or of a description, in order. All of them are in memory, so the index holds places and parts of
/// hashes rather than chunks.
#[derive(Debug, Default)]
pub(crate) struct List {
    chunks: Vec<Chunk>,
    /// The places of the chunks that this save has stored.
    stored: HashMap<Prefix, u32>,
}

impl List {
    /// Adds a chunk of an earlier save, or one that is in the list already.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.chunks.push(chunk);
    }

    /// Adds a chunk that this save has stored.
    pub(crate) fn push_stored(&mut self, chunk: Chunk) {
        if let (Some(prefix), Ok(place)) = (prefix(&chunk.hash), self.chunks.len().try_into()) {
            self.stored.insert(prefix, place);
        }
        self.chunks.push(chunk);
    }

    /// Returns a chunk that this save has stored.
    pub(crate) fn find(&self, hash: &[u8; 32]) -> Option<Chunk> {
        let place = self.stored.get(&prefix(hash)?)?;
        let chunk = self.chunks.get(*place as usize)?;
        (chunk.hash == *hash).then_some(*chunk)
    }

    pub(crate) fn chunks_mut(&mut self) -> &mut [Chunk] {
        &mut self.chunks
    }

    pub(crate) fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }
}

fn prefix(hash: &[u8; 32]) -> Option<Prefix> {
    hash.first_chunk().copied()
}
