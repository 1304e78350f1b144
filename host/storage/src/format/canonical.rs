//! One meaning, one encoding: what a record's payload may look like besides what its fields say.

use std::collections::BTreeMap;

use minicbor::Decoder;

use crate::error::{Error, ErrorKind, Result};

/// A key from here on changes what a record means: a program that does not know it must neither read nor write
/// the location. A program may ignore an unknown key below.
const FIRST_REQUIRED_KEY: u64 = 128;

/// Checks that `payload` is what the writer of `encoded`, the same fields encoded again, would have written,
/// but for keys after `last_known` that a reader may ignore. So there are no duplicate or unordered keys, no indefinite
/// lengths, no superfluous array items and no values out of range that decoding would have mended.
///
/// # Errors
/// `Corrupt` if it is anything else; `Other` if it has a key that a newer program requires.
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
        // A known field that encoding leaves out: null, or empty.
        if *key <= last_known {
            return Err(Error::corrupt(
                "the record is not encoded the way a writer encodes it",
            ));
        }
    }
    Ok(())
}

/// The encoded values of a map with ascending unsigned keys, which is all of `bytes`.
fn fields(bytes: &[u8]) -> Result<BTreeMap<u64, &[u8]>> {
    let damaged = |e| Error::corrupt("the record cannot be decoded").with_source(e);
    let mut decoder = Decoder::new(bytes);
    let Some(count) = decoder.map().map_err(damaged)? else {
        return Err(Error::corrupt("the record has an indefinite length"));
    };
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let key = decoder.u64().map_err(damaged)?;
        let start = decoder.position();
        decoder.skip().map_err(damaged)?;
        let value = bytes.get(start..decoder.position()).unwrap_or_default();
        let ascends = fields.keys().next_back().is_none_or(|last| *last < key);
        if !ascends {
            return Err(Error::corrupt("the record's fields are not in order"));
        }
        fields.insert(key, value);
    }
    match decoder.position() == bytes.len() {
        true => Ok(fields),
        false => Err(Error::corrupt("the record has bytes after its payload")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a record of the fields `{0: 7, 2: [1]}` that looks like this.
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
            // Of indefinite length, outside and inside.
            &[0xbf, 0x00, 0x07, 0x02, 0x81, 0x01, 0xff][..],
            &[0xa2, 0x00, 0x07, 0x02, 0x9f, 0x01, 0xff],
            // Twice the same key, and keys out of order.
            &[0xa3, 0x00, 0x07, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[0xa2, 0x02, 0x81, 0x01, 0x00, 0x07],
            // A negative key, and one that is no number.
            &[0xa3, 0x20, 0x00, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[0xa3, 0x00, 0x07, 0x02, 0x81, 0x01, 0x61, 0x61, 0x00],
            // A longer form of a number, and an array with one item too many.
            &[0xa2, 0x00, 0x18, 0x07, 0x02, 0x81, 0x01],
            &[0xa2, 0x00, 0x07, 0x02, 0x82, 0x01, 0x01],
            // A known field that is null instead of left out.
            &[0xa3, 0x00, 0x07, 0x01, 0xf6, 0x02, 0x81, 0x01],
            // Something after the map, and less than it announces.
            &[0xa2, 0x00, 0x07, 0x02, 0x81, 0x01, 0x00],
            &[0xa3, 0x00, 0x07, 0x02, 0x81, 0x01],
            &[],
        ] {
            assert_eq!(verdict(other), Some(ErrorKind::Corrupt), "{other:02x?}");
        }
    }
}
