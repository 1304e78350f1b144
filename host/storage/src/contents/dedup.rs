//! Deduplication: finds chunks that the retained commits already store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::{Chunk, Commit, Contents, ObjectRef};

/// A chunk that is already stored. The index of its object in a commit means nothing here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) object: ObjectRef,
    pub(crate) chunk: Chunk,
}

/// The chunks of retained commits, by the hash of their contents.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks(HashMap<[u8; 32], Known>);

impl KnownChunks {
    /// Collects the chunks of these commits, newest first. The newest copy of a chunk wins, because
    /// it will live longest.
    pub(crate) fn of(retained: &[Arc<Commit>]) -> Self {
        let mut known = HashMap::new();
        for commit in retained {
            let Contents::Chunks { objects, chunks } = &commit.contents else {
                continue;
            };
            for chunk in chunks {
                if let Some(object) = objects.get(chunk.object as usize) {
                    known.entry(chunk.hash).or_insert(Known {
                        object: *object,
                        chunk: *chunk,
                    });
                }
            }
        }
        Self(known)
    }

    pub(crate) fn get(&self, hash: &[u8; 32], size_bytes: usize) -> Option<Known> {
        let known = self.0.get(hash).copied();
        known.filter(|known| known.chunk.size_bytes as usize == size_bytes)
    }
}
