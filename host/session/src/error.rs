//! The errors that a guest sees.

use std::fmt;

use checkpoint_storage::{Error, ErrorKind};

/// The error of a guest's call: the cases of the import's `error`, one for each reaction of the caller.
///
/// The conversion from a storage [`Error`] keeps messages about the guest's own paths, sizes and schema.
/// It replaces all others, because they may name the location or the server, which a guest must not
/// learn.
///
/// Exhaustive on purpose: a new case must not compile until every host converts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestError {
    /// A newer attempt of the task has begun.
    Fenced,
    /// The checkpoint holds this many files, not one.
    NotSingle(u64),
    /// Every checkpoint that could be read is damaged.
    Corrupt(String),
    /// The storage is unreachable or temporarily refuses requests.
    Unavailable(String),
    /// The call would exceed a limit set by the host.
    QuotaExceeded(String),
    /// A path leads out of its directory, names the wrong kind of entry, or cannot be stored.
    InvalidPath(String),
    /// The target or the storage is read-only.
    ReadOnly(String),
    /// The checkpoint's schema differs from the declared one.
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
                Self::Unavailable("cannot use the storage now; retry later".into())
            }
            ErrorKind::QuotaExceeded => Self::QuotaExceeded(own()),
            ErrorKind::InvalidPath => Self::InvalidPath(own()),
            ErrorKind::ReadOnly => {
                Self::ReadOnly("cannot write to the target or the storage".into())
            }
            ErrorKind::SchemaMismatch => Self::SchemaMismatch(own()),
            _ => Self::Other("internal error of the host; see the host's log".into()),
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

/// A rule of the import that a guest broke. The guest sees it in the error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The guest asked a second time for the output of a stream.
    OutputTaken,
    /// The guest committed a stream while still holding its output.
    OutputHeld,
    /// The guest committed a stream that had already ended.
    StreamOver,
    /// The guest abandoned a stream that it was writing.
    Abandoned,
    /// Fewer or more bytes arrived than the guest says it wrote: dropping an unflushed stream loses data.
    Lost {
        /// The number of bytes that the guest says it wrote.
        size: u64,
        /// The number of bytes that arrived.
        arrived: u64,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputTaken => f.write_str("the output of this stream can be taken only once"),
            Self::OutputHeld => f.write_str("drop the output stream before committing"),
            Self::StreamOver => f.write_str("the stream has already ended"),
            Self::Abandoned => f.write_str("the task abandoned this save"),
            Self::Lost { size, arrived } => {
                write!(
                    f,
                    "{size} bytes were written, but {arrived} arrived; flush the stream before dropping it"
                )
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
