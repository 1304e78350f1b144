//! Errors, typed by what the caller can do about them.

use std::fmt;
use std::sync::Arc;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. [`kind`](Error::kind) says what to do about it; the text is for people, and
/// does not repeat its [`source`](std::error::Error::source).
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
    /// A newer attempt has claimed the location. Stop: nothing that this attempt saves counts any more.
    Fenced,
    /// The checkpoint holds this many files where one was asked for. Restore it to a directory.
    NotSingle(u64),
    /// What is stored is damaged. Retrying does not help; an older checkpoint may.
    Corrupt,
    /// The storage cannot be reached, or refuses for now. Try again later.
    Unavailable,
    /// A cap of the host is reached. Save less, or raise the cap.
    QuotaExceeded,
    /// A path leads out of its directory, does not name what is needed, or cannot be stored.
    InvalidPath,
    /// The target or the storage may not be written.
    ReadOnly,
    /// The checkpoint was saved under another schema than the one that the task has declared. Migrate
    /// it, or start fresh.
    SchemaMismatch,
    /// The URL of a location, or a setting that it needs, is wrong. Correct it.
    InvalidLocation,
    /// Anything else.
    Other,
}

impl Error {
    /// An error without a source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error and its causes in one line. What a cause repeats is said once.
    pub fn with_causes(&self) -> String {
        causes(self)
    }

    pub(crate) fn fenced() -> Self {
        Self::new(
            ErrorKind::Fenced,
            "a newer attempt has claimed the location",
        )
    }

    /// What a save would have used again is damaged. The next one stores all anew.
    pub(crate) fn reused_corrupt() -> Self {
        let what = "what this save builds upon has turned out damaged meanwhile; save again";
        Self::new(ErrorKind::Unavailable, what)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }
}

/// An error and its causes in one line, for every error alike. What a cause repeats is said once.
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
