//! The payloads of records: CBOR (RFC 8949) maps with small integers as keys.
//!
//! Decoding validates, so the rest of the crate may rely on what a record says about itself.

use std::num::NonZeroUsize;

use minicbor::{CborLen, Decode, Encode};

use super::MAX_RETAINED;
use crate::error::{Error, Result};

/// Identifies one write. Random, because racing hosts know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteId(pub(crate) [u8; 16]);

/// Converts the field that says how many checkpoints to keep.
pub(super) fn keep(field: u32) -> Result<NonZeroUsize> {
    let keep = usize::try_from(field).ok().and_then(NonZeroUsize::new);
    keep.filter(|keep| *keep <= MAX_RETAINED)
        .ok_or_else(|| Error::corrupt("the record keeps an impossible number of checkpoints"))
}

/// Converts a number of checkpoints to keep to its field.
pub(super) fn keep_field(keep: NonZeroUsize) -> u32 {
    u32::try_from(keep.min(MAX_RETAINED).get()).unwrap_or(u32::MAX)
}

pub(super) fn to_vec<T: Encode<()> + CborLen<()>>(fields: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(minicbor::len(fields));
    match minicbor::encode(fields, &mut bytes) {
        Ok(()) => bytes,
        // Writing to a Vec never fails, and no field has a fallible encoder.
        Err(error) => unreachable!("{error}"),
    }
}

pub(super) fn from_slice<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let fields = decoder
        .decode()
        .map_err(|e| Error::corrupt("the record's payload cannot be decoded").with_source(e))?;
    if decoder.position() != bytes.len() {
        return Err(Error::corrupt(
            "the record has trailing bytes after its payload",
        ));
    }
    Ok(fields)
}
