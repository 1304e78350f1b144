//! Canonical encoding: each record has exactly one valid encoding of its payload.

use std::collections::BTreeMap;

use minicbor::Decoder;

use crate::error::{Error, ErrorKind, Result};

/// The first key that changes the meaning of a record: a program that does not know such a key must neither
/// read nor write the location. A program may ignore an unknown key below this one.
const FIRST_REQUIRED_KEY: u64 = 128;

/// Checks that `payload` is canonical, by comparing it with `encoded`, the same fields encoded again. Ignores
/// keys after `last_known` that a reader may ignore. This rejects duplicate or unordered keys, indefinite
/// lengths, superfluous array items and out-of-range values that decoding would silently correct.
///
/// # Errors
/// `Corrupt` if the payload is not canonical. `Other` if it has a key that only a newer program understands.
pub(super) fn check(payload: &[u8], encoded: &[u8], last_known: u64) -> Result<()> {
    let found = fields(payload)?;
    let expected = fields(encoded)?;
    for (key, value) in &expected {
        if found.get(key) != Some(value) {
            return Err(Error::corrupt(
                "the record is not encoded the way a writer encodes it",
            ));
        }
    }
    for key in found.keys().filter(|key| !expected.contains_key(key)) {
        if *key >= FIRST_REQUIRED_KEY {
            return Err(Error::new(
                ErrorKind::Other,
                format!(
                    "the record has the field {key}, which this program does not know; use a newer one"
                ),
            ));
        }
        // A known field that encoding omits because it is null or empty.
        if *key <= last_known {
            return Err(Error::corrupt(
                "the record is not encoded the way a writer encodes it",
            ));
        }
    }
    Ok(())
}

/// Returns the encoded values of a map with ascending unsigned keys, which must fill `bytes`.
fn fields(bytes: &[u8]) -> Result<BTreeMap<u64, &[u8]>> {
    let damaged = |e| Error::corrupt("the record cannot be decoded").with_source(e);
    let mut decoder = Decoder::new(bytes);
    let Some(count) = decoder.map().map_err(damaged)? else {
        return Err(Error::corrupt("the record has an indefinite length"));
    };
    let mut is_shortest = decoder.position() == head_bytes(count);
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let key_start = decoder.position();
        let key = decoder.u64().map_err(damaged)?;
        let start = decoder.position();
        is_shortest &= start - key_start == head_bytes(key);
        decoder.skip().map_err(damaged)?;
        let value = bytes.get(start..decoder.position()).unwrap_or_default();
        let ascends = fields.keys().next_back().is_none_or(|last| *last < key);
        if !ascends {
            return Err(Error::corrupt("the record's fields are not in order"));
        }
        fields.insert(key, value);
    }
    if !is_shortest {
        return Err(Error::corrupt(
            "the record is not encoded the way a writer encodes it",
        ));
    }
    match decoder.position() == bytes.len() {
        true => Ok(fields),
        false => Err(Error::corrupt("the record has bytes after its payload")),
    }
}

/// Returns the size of the shortest encoding of a number, or of the head of a map of so many fields.
fn head_bytes(n: u64) -> usize {
    match n {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error kind for this encoding of the fields `{0: 7, 2: [1]}`, if it is rejected.
    fn verdict(payload: &[u8]) -> Option<ErrorKind> {
        let encoded = [0xa2, 0x00, 0x07, 0x02, 0x81, 0x01];
        check(payload, &encoded, 2).err().map(|error| error.kind())
    }

    #[test]
    fn unknown_fields_below_128_are_ignored() {
        assert_eq!(verdict(&[0xa2, 0x00, 0x07, 0x02, 0x81, 0x01]), None);
        assert_eq!(
            verdict(&[0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x05, 0xf6]),
            None
        );
        let last = [0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x18, 0x7f, 0x00];
        assert_eq!(verdict(&last), None);
    }

    #[test]
    fn unknown_fields_from_128_on_need_a_newer_program() {
        let first = [0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x18, 0x80, 0x00];
        assert_eq!(verdict(&first), Some(ErrorKind::Other));
        let mut greatest = vec![0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x1b];
        greatest.extend([0xff; 8]);
        greatest.push(0x00);
        assert_eq!(verdict(&greatest), Some(ErrorKind::Other));
    }

    #[test]
    fn every_other_encoding_of_the_same_fields_is_damage() {
        for other in [
            // Indefinite lengths of the map and of the array.
            &[0xbf, 0x00, 0x07, 0x02, 0x81, 0x01, 0xff][..],
            &[0xa2, 0x00, 0x07, 0x02, 0x9f, 0x01, 0xff],
            // A duplicate key, and keys out of order.
            &[0xa3, 0x00, 0x07, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[0xa2, 0x02, 0x81, 0x01, 0x00, 0x07],
            // A negative key, and a key that is not a number.
            &[0xa3, 0x20, 0x00, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x61, 0x61, 0x00],
            // A non-minimal number, and an array with one item too many.
            &[0xa2, 0x00, 0x18, 0x07, 0x02, 0x81, 0x01],
            &[0xa2, 0x00, 0x07, 0x02, 0x82, 0x01, 0x01],
            // A known field that is null instead of omitted.
            &[0xa3, 0x00, 0x07, 0x01, 0xf6, 0x02, 0x81, 0x01],
            // Trailing bytes after the map, and a truncated map.
            &[0xa2, 0x00, 0x07, 0x02, 0x81, 0x01, 0x00],
            &[0xa3, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[],
        ] {
            assert_eq!(verdict(other), Some(ErrorKind::Corrupt), "{other:02x?}");
        }
    }
}
