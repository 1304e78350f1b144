//! Encodes chunks for storage and decodes them: hashing, compression where it helps, and
//! verification.

use bytes::Bytes;
use lz4_flex::block;

use crate::error::{Error, Result};
use crate::format::{Chunk, Codec};

/// The most of a block's middle chunk that is compressed to see whether compressing the block is worth it. Numbers and
/// text show within this much; data that is already compressed or encrypted then costs a fraction of a full attempt.
const SAMPLE_BYTES: usize = 64 << 10;

/// Compression must save at least one byte in this many: less is not worth the time to decompress
/// it.
const WORTH: usize = 16;

/// No byte of an LZ4 block stands for more bytes than this.
const LZ4_MAX_RATIO: u64 = 255;

/// A block as it will be stored.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) stored: Bytes,
    pub(crate) codec: Codec,
    /// BLAKE3 of `stored`.
    pub(crate) stored_hash: [u8; 32],
    /// Its uncompressed size.
    pub(crate) size_bytes: u32,
    /// The hashes and sizes of the chunks in it, one after the other.
    pub(crate) chunks: Vec<([u8; 32], u32)>,
}

/// A chunk that is to be stored, and its hash.
pub(crate) type Hashed = (Bytes, [u8; 32]);

/// Compresses chunks that follow one another together, if that helps. Otherwise each is a block of its own.
pub(crate) fn pack(chunks: &[Hashed]) -> Vec<Packed> {
    let sizes = |(chunk, hash): &Hashed| (*hash, to_u32(chunk.len()));
    match compress(chunks) {
        Some((stored, size_bytes)) => vec![Packed {
            stored_hash: blake3::hash(&stored).into(),
            stored: stored.into(),
            codec: Codec::Lz4,
            size_bytes: to_u32(size_bytes),
            chunks: chunks.iter().map(sizes).collect(),
        }],
        None => chunks
            .iter()
            .map(|(chunk, hash)| Packed {
                stored: chunk.clone(),
                codec: Codec::Raw,
                stored_hash: *hash,
                size_bytes: to_u32(chunk.len()),
                chunks: vec![sizes(&(chunk.clone(), *hash))],
            })
            .collect(),
    }
}

/// Returns the compressed chunks and their uncompressed size.
fn compress(chunks: &[Hashed]) -> Option<(Vec<u8>, usize)> {
    let worth = |whole: usize, compressed: usize| compressed <= whole - whole / WORTH;
    // Sample the middle: files begin with headers that compress better than the rest.
    let (middle, _) = chunks.get(chunks.len() / 2)?;
    let start = (middle.len() / 2).saturating_sub(SAMPLE_BYTES / 2);
    let sample = &middle[start..middle.len().min(start + SAMPLE_BYTES)];
    let is_part = chunks.len() > 1 || sample.len() < middle.len();
    if is_part && !worth(sample.len(), block::compress(sample).len()) {
        return None;
    }
    let joined: Vec<u8>;
    let contents: &[u8] = match chunks {
        [(only, _)] => only,
        several => {
            joined = several
                .iter()
                .map(|(chunk, _)| &chunk[..])
                .collect::<Vec<_>>()
                .concat();
            &joined
        }
    };
    let compressed = block::compress(contents);
    (compressed.len() < contents.len() && worth(contents.len(), compressed.len()))
        .then_some((compressed, contents.len()))
}

/// Chunks and blocks are far shorter than 4 GiB.
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Decodes a block.
pub(crate) fn unpack(stored: Bytes, codec: Codec, size_bytes: u32) -> Result<Bytes> {
    let contents = match codec {
        Codec::Raw => stored,
        Codec::Lz4 => {
            // Allocate no more than the commit says, whatever the block says, and no more than such a block can hold,
            // whatever the commit says.
            if u64::from(size_bytes) > stored.len() as u64 * LZ4_MAX_RATIO {
                return Err(Error::corrupt("a block that is too short for its contents"));
            }
            let mut contents = vec![0; size_bytes as usize];
            let size = block::decompress_into(&stored, &mut contents).map_err(|e| {
                Error::corrupt("a block that cannot be decompressed").with_source(e)
            })?;
            contents.truncate(size);
            contents.into()
        }
    };
    match contents.len() == size_bytes as usize {
        true => Ok(contents),
        false => Err(Error::corrupt("a block of another size")),
    }
}

/// Returns a chunk of a decoded block, after checking its hash.
pub(crate) fn chunk_of(block: &Bytes, chunk: &Chunk) -> Result<Bytes> {
    let start = chunk.start as usize;
    let end = start.saturating_add(chunk.size_bytes as usize);
    match end <= block.len() && blake3::hash(&block[start..end]) == chunk.hash {
        true => Ok(block.slice(start..end)),
        false => Err(Error::corrupt("a chunk that does not match its hash")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::tests::noise::noise;

    #[test]
    fn only_compressible_chunks_are_compressed_and_all_round_trip() {
        let text = Bytes::from("all work and no play ".repeat(10_000));
        for (contents, codec) in [(noise(1, 1 << 20).into(), Codec::Raw), (text, Codec::Lz4)] {
            let size = contents.len() as u32;
            let chunks = [(contents.clone(), blake3::hash(&contents).into())];
            let [packed] = &pack(&chunks)[..] else {
                panic!("one block");
            };
            assert_eq!((packed.codec, packed.size_bytes), (codec, size));
            let back = unpack(packed.stored.clone(), codec, size).unwrap();
            assert_eq!(back, contents);
            // A wrong size is reported as damage, and no more memory than that size is allocated.
            for wrong in [0, size - 1, size + 1] {
                let error = unpack(packed.stored.clone(), codec, wrong).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn chunks_that_follow_one_another_are_compressed_together() {
        let text = Bytes::from("all work and no play ".repeat(1000));
        let parts = [text.slice(..5000), text.slice(5000..9000)];
        let chunks = parts.map(|part| (part.clone(), blake3::hash(&part).into()));
        let packed = pack(&chunks);
        let [block] = &packed[..] else {
            panic!("{packed:?}");
        };
        assert_eq!(block.chunks, [(chunks[0].1, 5000), (chunks[1].1, 4000)]);
        let back = unpack(block.stored.clone(), Codec::Lz4, 9000).unwrap();
        assert_eq!(back, text.slice(..9000));
    }
}
