//! What a guest learns of an error.

use std::fmt;

use checkpoint_storage::{Error, ErrorKind};

/// What a guest learns of a failed call: the cases of the import's `error`, one for each reaction of the
/// caller.
///
/// Made from a storage [`Error`], it keeps texts about the guest's own paths, sizes and schema. All others
/// are replaced, because they may name the location or the server, which a guest must not learn.
///
/// Exhaustive on purpose: a new case must not compile before every host converts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestError {
    /// A newer attempt of the task has begun.
    Fenced,
    /// The checkpoint holds this many files, not one.
    NotSingle(u64),
    /// Every checkpoint that could be read is damaged.
    Corrupt(String),
    /// The storage cannot be reached, or refuses for now.
    Unavailable(String),
    /// A cap of the host is reached.
    QuotaExceeded(String),
    /// A path leads out of its directory, does not name what the call needs, or cannot be stored.
    InvalidPath(String),
    /// The target or the storage may not be written.
    ReadOnly(String),
    /// The checkpoint has another schema than the declared one.
    SchemaMismatch(String),
    /// Anything else.
    Other(String),
}

impl From<&Error> for GuestError {
    fn from(error: &Error) -> Self {
        let own = || error.to_string();
        match error.kind() {
            ErrorKind::Fenced => Self::Fenced,
            ErrorKind::NotSingle(files) => Self::NotSingle(files),
            ErrorKind::Corrupt => Self::Corrupt("no checkpoint can be restored".into()),
            ErrorKind::Unavailable => {
                Self::Unavailable("the storage does not answer as it should".into())
            }
            ErrorKind::QuotaExceeded => Self::QuotaExceeded(own()),
            ErrorKind::InvalidPath => Self::InvalidPath(own()),
            ErrorKind::ReadOnly => Self::ReadOnly("this may not be written".into()),
            ErrorKind::SchemaMismatch => Self::SchemaMismatch(own()),
            _ => Self::Other("the host failed; its own messages say why".into()),
        }
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("a newer attempt of this task has begun"),
            Self::NotSingle(files) => write!(f, "the checkpoint holds {files} files, not one"),
            Self::Corrupt(text)
            | Self::Unavailable(text)
            | Self::QuotaExceeded(text)
            | Self::InvalidPath(text)
            | Self::ReadOnly(text)
            | Self::SchemaMismatch(text)
            | Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for GuestError {}

/// A rule of the import that a guest has broken. It is told so in the error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The output of a stream is asked for once more.
    OutputTaken,
    /// A stream is committed whose output the guest still holds.
    OutputHeld,
    /// A stream is committed that has ended before.
    StreamOver,
    /// Not as many bytes have arrived as the guest says it has written: what it dropped unflushed is lost.
    Lost {
        /// The bytes that the guest says it has written.
        size: u64,
        /// The bytes that have arrived.
        arrived: u64,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputTaken => f.write_str("the stream of these contents was given out before"),
            Self::OutputHeld => f.write_str("drop the output stream before the commit"),
            Self::StreamOver => f.write_str("the stream is over"),
            Self::Lost { size, arrived } => {
                write!(f, "{size} bytes were written, and {arrived} have arrived")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3://bucket/team/task-17";

    fn told(kind: ErrorKind) -> GuestError {
        let error = Error::new(kind, SECRET).with_source(SECRET);
        GuestError::from(&error)
    }

    #[test]
    fn a_guest_does_not_learn_its_location_from_an_error() {
        for kind in [
            ErrorKind::Fenced,
            ErrorKind::NotSingle(3),
            ErrorKind::Corrupt,
            ErrorKind::Unavailable,
            ErrorKind::ReadOnly,
            ErrorKind::InvalidLocation,
            ErrorKind::Other,
        ] {
            let told = told(kind);
            assert!(!format!("{told:?} {told}").contains(SECRET), "{told:?}");
        }
    }

    #[test]
    fn texts_about_the_guests_own_data_are_kept_without_their_causes() {
        for kind in [
            ErrorKind::QuotaExceeded,
            ErrorKind::InvalidPath,
            ErrorKind::SchemaMismatch,
        ] {
            let error = Error::new(kind, "\"a\": too long").with_source(SECRET);
            assert_eq!(GuestError::from(&error).to_string(), "\"a\": too long");
        }
    }
}
