//! Why a call failed.

use std::fmt;

/// Why a call failed. There is one case for each way that a caller can react.
///
/// The text in a case is for people. A call that fails has not changed what is committed. After
/// [`Unavailable`](Self::Unavailable) a save may still take effect later; see [`write()`](crate::write()).
///
/// ```no_run
/// use task_checkpoint::Error;
///
/// /// Whether the same call may succeed later.
/// fn is_retryable(error: &Error) -> bool {
///     matches!(error, Error::Unavailable(_))
/// }
/// ```
// Exhaustive like the WIT variant: adding a case needs a new version of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A newer attempt of this task has begun, so this attempt can save nothing more. Every later save
    /// fails in the same way. Stop.
    Fenced,
    /// The checkpoint holds this number of files instead of one. Use [`restore`](crate::restore).
    NotSingle(u64),
    /// Every checkpoint that could be returned is damaged. Retrying does not help; an operator must
    /// look into it.
    Corrupt(String),
    /// The storage cannot be reached or temporarily refuses requests. Retry later.
    Unavailable(String),
    /// The named limit of the host is reached. Save less, or less often.
    QuotaExceeded(String),
    /// The path leads out of the preopened directories, does not name what the call needs, or cannot be
    /// stored in a checkpoint.
    InvalidPath(String),
    /// This task is not permitted to write to the target or to the storage.
    ReadOnly(String),
    /// The checkpoint's schema is not the one that this task declared.
    SchemaMismatch(String),
    /// Any other error.
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
