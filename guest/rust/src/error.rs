//! Why a call failed.

use std::fmt;

use crate::bindings::task::checkpoint::types;

/// Why a call failed: one case for each reaction of the caller.
///
/// The text in a case is for people. A failed call never changes the committed checkpoint.
///
/// ```no_run
/// use task_checkpoint::Error;
///
/// /// Returns whether retrying the call may succeed.
/// fn is_worth_another_try(error: &Error) -> bool {
///     matches!(error, Error::Unavailable(_))
/// }
/// ```
// Exhaustive, because the WIT variant is: adding a case requires a new version of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A newer attempt of this task has begun. This attempt can no longer save: every later
    /// save fails the same way. Stop.
    Fenced,
    /// The checkpoint holds this many files, not one. Use [`restore`](crate::restore).
    NotSingle(u64),
    /// Every available checkpoint is damaged. Retrying does not help, but an operator may be able to.
    Corrupt(String),
    /// The storage is unreachable or temporarily refuses requests. Retry later.
    Unavailable(String),
    /// The call would exceed this limit of the host. Save less, or less often.
    QuotaExceeded(String),
    /// The path is outside the directories that the host grants, names the wrong kind of entry, or
    /// cannot be stored in a checkpoint.
    InvalidPath(String),
    /// This task may not write to the target or the storage.
    ReadOnly(String),
    /// The checkpoint's schema differs from this attempt's.
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
            Self::QuotaExceeded(text) => write!(f, "limit of the host exceeded: {text}"),
            Self::InvalidPath(text) => write!(f, "invalid path: {text}"),
            Self::ReadOnly(text) => write!(f, "read-only: {text}"),
            Self::SchemaMismatch(text) => {
                write!(f, "the checkpoint has a different schema: {text}")
            }
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
