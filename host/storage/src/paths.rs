//! Builds and parses every object path of a location. `FORMAT.md` specifies them.

use std::ops::Range;

use object_store::path::Path;

use crate::format::ObjectName;

/// The numbers that are slots. Nobody counts to the last of them, so a file of a greater number is foreign, and
/// cannot keep a location from being opened by lying at the end of its log.
pub(crate) const SLOTS: Range<u64> = 1..1 << 63;

/// The digits of a record's name. All names have as many, so that they sort as numbers do.
const NAME_DIGITS: usize = 20;

pub(crate) fn log(prefix: &Path) -> Path {
    prefix.clone().join("log")
}

pub(crate) fn data(prefix: &Path) -> Path {
    prefix.clone().join("data")
}

pub(crate) fn record(prefix: &Path, sequence: u64) -> Path {
    log(prefix).join(record_name(sequence))
}

/// Returns the name of a record in the log's folder. It is the number of slots from this one on, so the newest record
/// comes first in every list, and finding it takes one page however long the log is.
pub(crate) fn record_name(sequence: u64) -> String {
    // Forged records may name what is no slot. Its name is no record's.
    format!("{:020}", SLOTS.end.saturating_sub(sequence))
}

pub(crate) fn object(prefix: &Path, name: ObjectName) -> Path {
    data(prefix).join(format!("{}-{}", name.epoch, name.counter))
}

/// Parses the sequence number of a record's path; `None` for anything else in or beneath the log's
/// folder.
pub(crate) fn parse_record(prefix: &Path, path: &Path) -> Option<u64> {
    let sequence = parse_record_name(path.filename()?)?;
    (record(prefix, sequence) == *path).then_some(sequence)
}

pub(crate) fn parse_record_name(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.then(|| name.parse().ok())??;
    let sequence = SLOTS.end.checked_sub(number);
    sequence.filter(|sequence| SLOTS.contains(sequence))
}

/// Parses the name of a data object's path; `None` for anything else in or beneath the folder.
pub(crate) fn parse_object(prefix: &Path, path: &Path) -> Option<ObjectName> {
    let name = parse_object_name(path.filename()?)?;
    (object(prefix, name) == *path).then_some(name)
}

pub(crate) fn parse_object_name(text: &str) -> Option<ObjectName> {
    let (epoch, counter) = text.split_once('-')?;
    let name = ObjectName {
        epoch: epoch.parse().ok()?,
        counter: counter.parse().ok()?,
    };
    // Accept only the spelling that `object` produces, so that no name has two paths.
    (format!("{}-{}", name.epoch, name.counter) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_back_and_nothing_else_does() {
        let prefix = Path::from("a/b");
        assert_eq!(record(&prefix, 7).as_ref(), "a/b/log/09223372036854775801");
        let last = SLOTS.end - 1;
        assert_eq!(record_name(last), "00000000000000000001");
        for sequence in [1, 2, 7, last] {
            assert_eq!(
                parse_record(&prefix, &record(&prefix, sequence)),
                Some(sequence)
            );
        }
        assert!(record_name(8) < record_name(7) && record_name(last) < record_name(1));
        for none in [0, SLOTS.end, u64::MAX] {
            assert_eq!(parse_record_name(&record_name(none)), None);
        }
        let name = ObjectName {
            epoch: 12,
            counter: 3,
        };
        assert_eq!(object(&prefix, name).as_ref(), "a/b/data/12-3");
        assert_eq!(parse_object(&prefix, &object(&prefix, name)), Some(name));
        for other in [
            "a/b/log/7",
            "a/b/log/0000000000000000000x",
            "a/b/log/99999999999999999999",
            "a/b/log/x/09223372036854775801",
            "a/b/log/00000000000000000000",
            "a/b/log/09223372036854775808",
            "a/b/log/18446744073709551615",
        ] {
            assert_eq!(parse_record(&prefix, &Path::from(other)), None, "{other}");
        }
        for other in ["1", "01-2", "1-2-3", "+1-2", "x/1-2"] {
            let other = format!("a/b/data/{other}");
            assert_eq!(parse_object(&prefix, &Path::from(other)), None);
        }
    }
}
