//! Encodes chunks for storage and decodes them: hashing, compression where it helps, and
//! verification.

use bytes::Bytes;
use lz4_flex::block;

use crate::error::{Error, Result};
use crate::format::Codec;

/// The part of a chunk that is compressed to see whether it is worth it. Numbers and text show
/// within this much; data that is already compressed or encrypted then costs only a sixteenth of a
/// full attempt.
const SAMPLE_BYTES: usize = 64 << 10;

/// Compression must save at least one byte in this many: less is not worth the time to decompress
/// it.
const WORTH: usize = 16;

/// No byte of an LZ4 block stands for more bytes than this.
const LZ4_MAX_RATIO: u64 = 255;

/// A chunk as it will be stored.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) stored: Bytes,
    pub(crate) codec: Codec,
    /// BLAKE3 of `stored`.
    pub(crate) stored_hash: [u8; 32],
}

/// Compresses a chunk if that helps.
pub(crate) fn pack(contents: Bytes, hash: [u8; 32]) -> Packed {
    match compress(&contents) {
        Some(stored) => Packed {
            stored_hash: blake3::hash(&stored).into(),
            stored: stored.into(),
            codec: Codec::Lz4,
        },
        None => Packed {
            stored: contents,
            codec: Codec::Raw,
            stored_hash: hash,
        },
    }
}

fn compress(contents: &[u8]) -> Option<Vec<u8>> {
    let worth = |whole: usize, compressed: usize| compressed <= whole - whole / WORTH;
    // Sample the middle: files begin with headers that compress better than the rest.
    let start = (contents.len() / 2).saturating_sub(SAMPLE_BYTES / 2);
    let sample = &contents[start..contents.len().min(start + SAMPLE_BYTES)];
    if !worth(sample.len(), block::compress(sample).len()) {
        return None;
    }
    let compressed = block::compress(contents);
    (compressed.len() < contents.len() && worth(contents.len(), compressed.len()))
        .then_some(compressed)
}

/// Decodes a chunk and checks that its contents have exactly the expected length and hash.
pub(crate) fn unpack(
    stored: Bytes,
    codec: Codec,
    size_bytes: u32,
    hash: [u8; 32],
) -> Result<Bytes> {
    let contents = match codec {
        Codec::Raw => stored,
        Codec::Lz4 => {
            // Allocate no more than the commit says, whatever the block says, and no more than such a block can hold,
            // whatever the commit says.
            if u64::from(size_bytes) > stored.len() as u64 * LZ4_MAX_RATIO {
                return Err(Error::corrupt("a chunk that is too short for its contents"));
            }
            let mut contents = vec![0; size_bytes as usize];
            let size = block::decompress_into(&stored, &mut contents).map_err(|e| {
                Error::corrupt("a chunk that cannot be decompressed").with_source(e)
            })?;
            contents.truncate(size);
            contents.into()
        }
    };
    if contents.len() != size_bytes as usize || blake3::hash(&contents) != hash {
        return Err(Error::corrupt("a chunk that does not match its hash"));
    }
    Ok(contents)
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
            let hash = blake3::hash(&contents).into();
            let packed = pack(contents.clone(), hash);
            assert_eq!(packed.codec, codec);
            let size = contents.len() as u32;
            let back = unpack(packed.stored.clone(), codec, size, hash).unwrap();
            assert_eq!(back, contents);
            // A wrong size is reported as damage, and no more memory than that size is allocated.
            for wrong in [0, size - 1, size + 1] {
                let error = unpack(packed.stored.clone(), codec, wrong, hash).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }
}
