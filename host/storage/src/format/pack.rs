//! Data objects: chunks one after the other, followed by an index by which every byte can be
//! verified, including chunks that no commit refers to any more.

use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"\x93TCKD\r\n\x1a";
/// The largest data object that is written or read. It is read into memory as a whole when it is verified.
pub(crate) const MAX_OBJECT_BYTES: u64 = 64 << 20;

const HASH_BYTES: usize = 32;
const ENTRY_BYTES: usize = 4 + HASH_BYTES;
/// Magic, count and the hash of the index.
const TRAILER_BYTES: usize = 8 + 4 + HASH_BYTES;

/// A chunk as its object's index describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredChunk {
    pub(crate) bytes: u32,
    /// BLAKE3 of the chunk as it is stored.
    pub(crate) hash: [u8; 32],
}

/// Encodes the bytes that follow the chunks.
pub(crate) fn encode_index(chunks: &[StoredChunk]) -> Vec<u8> {
    let mut index = Vec::with_capacity(index_bytes(chunks.len()) as usize);
    for chunk in chunks {
        index.extend_from_slice(&chunk.bytes.to_le_bytes());
        index.extend_from_slice(&chunk.hash);
    }
    index.extend_from_slice(&MAGIC);
    // A data object is closed long before it holds that many chunks.
    index.extend_from_slice(
        &u32::try_from(chunks.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    let hash = blake3::hash(&index);
    index.extend_from_slice(hash.as_bytes());
    index
}

/// Returns the encoded size of an index of this many chunks.
pub(crate) fn index_bytes(chunks: usize) -> u64 {
    (chunks * ENTRY_BYTES + TRAILER_BYTES) as u64
}

/// Checks every byte of a data object. Returns the chunks that it holds, one after the other.
///
/// # Errors
/// `Corrupt`, with the reason.
pub(crate) fn verify(object: &[u8]) -> Result<Vec<StoredChunk>> {
    let Some((rest, hash)) = object.split_last_chunk::<HASH_BYTES>() else {
        return Err(Error::corrupt("the data object is truncated"));
    };
    let parts = rest.split_last_chunk::<4>().and_then(|(rest, count)| {
        Some((rest.split_last_chunk::<8>()?, u32::from_le_bytes(*count)))
    });
    let Some(((rest, &MAGIC), count)) = parts else {
        return Err(Error::corrupt("not a data object"));
    };
    let start = (count as usize)
        .checked_mul(ENTRY_BYTES)
        .and_then(|length| rest.len().checked_sub(length));
    let Some((mut chunks, index)) = start.and_then(|start| rest.split_at_checked(start)) else {
        return Err(Error::corrupt("the data object's index is invalid"));
    };
    if blake3::hash(&object[chunks.len()..object.len() - HASH_BYTES]) != *hash {
        return Err(Error::corrupt(
            "the data object's index does not match its hash",
        ));
    }
    let mut stored = Vec::with_capacity(count as usize);
    for (number, entry) in index.chunks_exact(ENTRY_BYTES).enumerate() {
        let Some((length, hash)) = entry.split_first_chunk::<4>() else {
            return Err(Error::corrupt("the data object's index is invalid"));
        };
        let bytes = u32::from_le_bytes(*length);
        let Some((chunk, rest)) = chunks.split_at_checked(bytes as usize) else {
            return Err(Error::corrupt("the data object's index is invalid"));
        };
        let actual: [u8; HASH_BYTES] = blake3::hash(chunk).into();
        if actual != hash {
            return Err(Error::corrupt(format!("chunk {number} is damaged")));
        }
        stored.push(StoredChunk {
            bytes,
            hash: actual,
        });
        chunks = rest;
    }
    match chunks.is_empty() {
        true => Ok(stored),
        false => Err(Error::corrupt("the data object holds more than its chunks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut object = b"firstsecond".to_vec();
        let chunk = |bytes: &[u8]| StoredChunk {
            bytes: bytes.len() as u32,
            hash: blake3::hash(bytes).into(),
        };
        let index = encode_index(&[chunk(b"first"), chunk(b"second")]);
        assert_eq!(index.len() as u64, index_bytes(2));
        object.extend(index);
        let stored = verify(&object).unwrap();
        assert_eq!(stored, [chunk(b"first"), chunk(b"second")]);
        for bit in 0..object.len() * 8 {
            let mut flipped = object.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            verify(&flipped).unwrap_err();
        }
        for length in 0..object.len() {
            verify(&object[..length]).unwrap_err();
        }
    }
}
