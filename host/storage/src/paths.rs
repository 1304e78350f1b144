//! Every object path of a location. `FORMAT.md` specifies them.

use object_store::path::Path;

use crate::format::ObjectName;

/// The digits of a sequence number in a path: those of `u64::MAX`, so that paths sort as numbers do.
const SEQUENCE_DIGITS: usize = 20;

pub(crate) fn log(prefix: &Path) -> Path {
    prefix.clone().join("log")
}

pub(crate) fn data(prefix: &Path) -> Path {
    prefix.clone().join("data")
}

pub(crate) fn record(prefix: &Path, sequence: u64) -> Path {
    log(prefix).join(format!("{sequence:020}"))
}

pub(crate) fn object(prefix: &Path, name: ObjectName) -> Path {
    data(prefix).join(format!("{}-{}", name.epoch, name.counter))
}

/// The sequence number of a record's path; `None` for anything else that lies in the log's folder.
pub(crate) fn parse_record(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let digits = name.len() == SEQUENCE_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok())?
}

/// The name of a data object's path; `None` for anything else that lies in the folder.
pub(crate) fn parse_object(path: &Path) -> Option<ObjectName> {
    let (epoch, counter) = path.filename()?.split_once('-')?;
    let name = ObjectName {
        epoch: epoch.parse().ok()?,
        counter: counter.parse().ok()?,
    };
    // Only the one spelling that `object` gives, so that no name has two paths.
    (format!("{}-{}", name.epoch, name.counter) == path.filename()?).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_back_and_nothing_else_does() {
        let prefix = Path::from("a/b");
        assert_eq!(record(&prefix, 7).as_ref(), "a/b/log/00000000000000000007");
        assert_eq!(parse_record(&record(&prefix, u64::MAX)), Some(u64::MAX));
        let name = ObjectName {
            epoch: 12,
            counter: 3,
        };
        assert_eq!(object(&prefix, name).as_ref(), "a/b/data/12-3");
        assert_eq!(parse_object(&object(&prefix, name)), Some(name));
        for other in [
            "log/7",
            "log/0000000000000000000x",
            "log/99999999999999999999",
        ] {
            assert_eq!(parse_record(&Path::from(other)), None, "{other}");
        }
        for other in ["data/1", "data/01-2", "data/1-2-3", "data/+1-2"] {
            assert_eq!(parse_object(&Path::from(other)), None, "{other}");
        }
    }
}
