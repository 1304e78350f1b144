//! Hashes and compresses chunks before they are packed.

use std::collections::HashSet;

use bytes::Bytes;

use crate::contents::codec::{self, Packed};
use crate::contents::dedup::KnownChunks;
use crate::format::{Chunk, Codec};

/// Chunks, and what to do with them.
pub(crate) enum Prepared {
    /// A chunk that is already stored.
    Known(Chunk),
    /// A chunk that came before.
    Repeated([u8; 32]),
    New(Packed),
}

impl Prepared {
    /// Returns what is to be stored, if it shares the buffer of the batch.
    fn raw_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::New(packed) if packed.codec == Codec::Raw => Some(&mut packed.stored),
            _ => None,
        }
    }
}

/// Copies what is to be stored, so that it does not keep the buffer of the batch in memory.
pub(crate) fn detach(batch: &mut [Prepared]) {
    for bytes in batch.iter_mut().filter_map(Prepared::raw_mut) {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

/// Hashes and compresses chunks, unless they are known. Slow, so call it on a blocking thread.
///
/// The chunks of a batch share a buffer. Unless all of the buffer is to be stored, the chunks to be stored are
/// [detached](detach). Otherwise one changed chunk in each of many batches would keep all of these batches in memory until
/// it is uploaded.
pub(crate) fn prepare(batch: Vec<Bytes>, known: &KnownChunks, block_bytes: usize) -> Vec<Prepared> {
    let mut prepared = Vec::new();
    let batch_bytes: usize = batch.iter().map(Bytes::len).sum();
    let mut seen = HashSet::new();
    // New chunks that follow one another.
    let (mut run, mut run_bytes) = (Vec::new(), 0);
    let flush = |run: &mut Vec<codec::Hashed>, prepared: &mut Vec<Prepared>| {
        let packed = codec::pack(&std::mem::take(run));
        prepared.extend(packed.into_iter().map(Prepared::New));
    };
    for chunk in batch {
        let hash: [u8; 32] = blake3::hash(&chunk).into();
        let stored = match known.get(&hash, chunk.len()) {
            Some(known) => Some(Prepared::Known(known)),
            None if !seen.insert(hash) => Some(Prepared::Repeated(hash)),
            None => None,
        };
        if stored.is_some() || run_bytes + chunk.len() > block_bytes {
            flush(&mut run, &mut prepared);
            run_bytes = 0;
        }
        match stored {
            Some(stored) => prepared.push(stored),
            None => {
                run_bytes += chunk.len();
                run.push((chunk, hash));
            }
        }
    }
    flush(&mut run, &mut prepared);
    let raw = prepared.iter_mut().filter_map(Prepared::raw_mut);
    if raw.map(|bytes| bytes.len()).sum::<usize>() < batch_bytes {
        detach(&mut prepared);
    }
    prepared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise::noise;

    #[test]
    fn a_chunk_to_be_stored_keeps_no_other_chunk_in_memory() {
        let chunk = |seed| Bytes::from(noise(seed, 4096));
        let (first, second) = (chunk(1), chunk(2));
        let text = Bytes::from("all work and no play ".repeat(200));
        for others in [vec![first.clone()], vec![text]] {
            let batch = [others, vec![first.clone(), second.clone()]].concat();
            let sizes: Vec<_> = batch.iter().map(Bytes::len).collect();
            let mut shared = Bytes::from(batch.concat());
            let batch = sizes.into_iter().map(|size| shared.split_to(size));
            let prepared = prepare(batch.collect(), &KnownChunks::default(), 0);
            let stored = prepared.into_iter().filter_map(|prepared| match prepared {
                Prepared::New(packed) => Some(packed.stored),
                Prepared::Known(_) | Prepared::Repeated(_) => None,
            });
            for stored in stored {
                assert!(stored.is_unique());
            }
        }
    }
}
