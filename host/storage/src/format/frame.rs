//! The frame of every record: magic, version, kind, length and hash around the payload.

use crate::error::{Error, ErrorKind, Result};
use crate::format::MAX_RECORD_BYTES;

/// As in PNG: a non-text byte, line ends and an end-of-file character, which careless copying
/// changes.
const MAGIC: [u8; 8] = *b"\x93TCKL\r\n\x1a";
/// The magics of records that were written before the first release. Each differs from the one above in several bits: one
/// flipped bit is damage.
const OLD_MAGICS: [[u8; 8]; 2] = [*b"\x93TCKP\r\n\x1a", *b"\x93CKPT\r\n\x1a"];
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Claim = 1,
    Commit = 2,
}

pub(super) fn encode(kind: Kind, payload: &[u8]) -> Result<Vec<u8>> {
    let total = HEADER_BYTES + payload.len() + HASH_BYTES;
    let length = u32::try_from(payload.len()).ok();
    let Some(length) = length.filter(|_| total as u64 <= MAX_RECORD_BYTES) else {
        return Err(Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "the record would have {total} bytes, more than the {MAX_RECORD_BYTES} that a record may have; \
                 use smaller annotations, keep fewer checkpoints or save less in one checkpoint"
            ),
        ));
    };
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(kind as u16).to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Kind, &[u8])> {
    let parts = bytes
        .split_last_chunk::<HASH_BYTES>()
        .and_then(|(body, hash)| Some((body, hash, body.split_first_chunk::<HEADER_BYTES>()?)));
    let Some((body, hash, (header, payload))) = parts else {
        return Err(Error::corrupt("the record is cut short"));
    };
    if OLD_MAGICS.iter().any(|old| header.starts_with(old)) {
        return Err(Error::new(
            ErrorKind::Other,
            "the record was written by a version before 0.1.0, whose format is not read any more; use that version, or begin in a new location",
        ));
    }
    if header[..8] != MAGIC {
        return Err(Error::corrupt("not a record"));
    }
    // Check the hash before the version: a flipped bit is damage, not a future format.
    if blake3::hash(body) != *hash {
        return Err(Error::corrupt("a record that does not match its hash"));
    }
    let version = u16::from_le_bytes([header[8], header[9]]);
    let kind = u16::from_le_bytes([header[10], header[11]]);
    let length = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    if version != VERSION {
        return Err(Error::new(
            ErrorKind::Other,
            format!(
                "the record has format version {version}, but this program reads {VERSION}; use a newer one"
            ),
        ));
    }
    if length as usize != payload.len() {
        return Err(Error::corrupt(
            "the record's length differs from its header",
        ));
    }
    match kind {
        1 => Ok((Kind::Claim, payload)),
        2 => Ok((Kind::Commit, payload)),
        _ => Err(Error::corrupt(format!("unknown record kind {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_older_format_is_not_damaged() {
        for old in OLD_MAGICS {
            let mut bytes = encode(Kind::Commit, b"payload").unwrap();
            bytes[..8].copy_from_slice(&old);
            let error = decode(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other);
            assert!(error.to_string().contains("before 0.1.0"), "{error}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(Kind::Claim, b"payload").unwrap();
        assert_eq!(decode(&bytes).unwrap(), (Kind::Claim, &b"payload"[..]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for length in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..length]).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
}
