//! Why a call failed.

use std::fmt;

use crate::bindings::task::checkpoint::types;

/// Why a call failed: one case for each reaction of the caller.
///
/// The text that a case carries is for people. No failed call changes what is committed.
///
/// ```no_run
/// use task_checkpoint::Error;
///
/// /// Whether the same call may go through later.
/// fn is_worth_another_try(error: &Error) -> bool {
///     matches!(error, Error::Unavailable(_))
/// }
/// ```
// Exhaustive, because the WIT variant is: a case more is another version of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A newer attempt of this task has begun. Nothing that this attempt saves counts any more;
    /// every later save fails alike. Stop.
    Fenced,
    /// The checkpoint holds this many files, not one. Use [`restore`](crate::restore).
    NotSingle(u64),
    /// Every checkpoint that could be given is damaged. Retrying does not help; an operator may.
    Corrupt(String),
    /// The storage cannot be reached, or refuses for now. Trying again later may help.
    Unavailable(String),
    /// The host's cap of this name is reached. Save less.
    QuotaExceeded(String),
    /// The path leads out of the directories that the host lends, does not name what the call
    /// needs, or has a form that no checkpoint can hold.
    InvalidPath(String),
    /// The target, or the storage, may not be written by this task.
    ReadOnly(String),
    /// The checkpoint was saved under another schema than this attempt's.
    SchemaMismatch(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => write!(f, "a newer attempt of this task has begun"),
            Self::NotSingle(count) => write!(f, "the checkpoint holds {count} files, not one"),
            Self::Corrupt(text) => write!(f, "every checkpoint is damaged: {text}"),
            Self::Unavailable(text) => write!(f, "the storage is unavailable: {text}"),
            Self::QuotaExceeded(text) => write!(f, "a limit of the host is reached: {text}"),
            Self::InvalidPath(text) => write!(f, "invalid path: {text}"),
            Self::ReadOnly(text) => write!(f, "read-only: {text}"),
            Self::SchemaMismatch(text) => write!(f, "saved under another schema: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Fenced => Self::Fenced,
            types::Error::NotSingle(count) => Self::NotSingle(count),
            types::Error::Corrupt(text) => Self::Corrupt(text),
            types::Error::Unavailable(text) => Self::Unavailable(text),
            types::Error::QuotaExceeded(text) => Self::QuotaExceeded(text),
            types::Error::InvalidPath(text) => Self::InvalidPath(text),
            types::Error::ReadOnly(text) => Self::ReadOnly(text),
            types::Error::SchemaMismatch(text) => Self::SchemaMismatch(text),
            types::Error::Other(text) => Self::Other(text),
        }
    }
}
