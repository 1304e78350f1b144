//! Errors, typed by what the caller can do about them.

use std::fmt;
use std::sync::Arc;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. [`kind`](Error::kind) says what the caller can do; the message is for people,
/// and does not repeat its [`source`](std::error::Error::source).
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What the caller of a failed call can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A newer attempt has claimed the location. Stop: this attempt can no longer save.
    Fenced,
    /// The checkpoint holds this many files, but exactly one is required. Restore it to a
    /// directory.
    NotSingle(u64),
    /// Stored data is damaged. Retrying does not help; an older checkpoint may.
    Corrupt,
    /// The storage is unreachable or temporarily refuses requests. Retry later.
    Unavailable,
    /// A limit of the host is reached. Save less, or raise the limit.
    QuotaExceeded,
    /// A path leaves its directory, does not name the expected kind of file, or cannot be stored.
    InvalidPath,
    /// The target or the storage is read-only.
    ReadOnly,
    /// The checkpoint was saved with another schema than the task has declared. Migrate it, or
    /// start fresh.
    SchemaMismatch,
    /// The URL of a location, or a setting that it needs, is invalid. Correct it.
    InvalidLocation,
    /// Anything else.
    Other,
}

impl Error {
    /// Creates an error without a source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Returns the same error, caused by `source`.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Formats the error and its causes in one line. Omits causes that the text already contains.
    pub fn with_causes(&self) -> String {
        causes(self)
    }

    pub(crate) fn fenced() -> Self {
        Self::new(
            ErrorKind::Fenced,
            "a newer attempt has claimed the location",
        )
    }

    /// Data that a save would have reused is damaged. The next save stores everything again.
    pub(crate) fn reused_corrupt() -> Self {
        let what = "stored data that this save would have reused is damaged; save again to store everything again";
        Self::new(ErrorKind::Unavailable, what)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }
}

/// Formats any error and its causes in one line. Omits causes that the text already contains.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
