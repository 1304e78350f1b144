//! Names of locations, and opening them.

#[cfg(any(feature = "aws-base", feature = "gcp", feature = "azure"))]
mod client;
mod cloud;
mod dir_store;
#[cfg(any(feature = "aws-base", feature = "gcp", feature = "azure"))]
mod environment;
mod errors;
mod local;
mod open;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use object_store::path::Path;

use crate::error::{Error, ErrorKind, Result};

pub use self::open::OpenLocation;

/// Names the place where the checkpoints of one task are stored.
///
/// | form | place |
/// |---|---|
/// | a path, `file:/path`, `file:///path` | a directory of this machine |
/// | `memory:///key` | the memory of this process |
/// | `s3://bucket/key`, `s3a://…` | S3, or a server that speaks its protocol |
/// | `gs://bucket/key`, `gcs://…` | Google Cloud Storage |
/// | `az://container/key`, `azure://…`, `abfs://container@account.dfs.core.windows.net/key` | Azure |
///
/// Paths and keys are literal: `%`, `?`, `#` and every other character have no special meaning. Only a `file:`
/// URL is percent-encoded, as specified by RFC 8089. Schemes are case-insensitive. A URL must not contain parts
/// that would be ignored: a user, a password, a port, or, in a `file:` URL, a query or a fragment. Text that
/// looks like a URL with another scheme is an error; `./run:1` names the directory `run:1`.
///
/// Parsing reads neither the environment nor a disk. Two names are equal if they mean the same place in every
/// process, regardless of their spelling. [`open`](Self::open) resolves relative paths and `..`; parsing does
/// not. [`Display`](fmt::Display) writes the canonical spelling, which parses to the same name.
#[derive(Clone, Debug)]
pub struct Location {
    kind: Kind,
    /// Whether the name was written as a URL. A platform generates URLs even for attempts that stored nothing.
    is_url: bool,
}

/// The kind of place that a location names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A directory, as a normalized path; see `local::normalize`.
    Local(PathBuf),
    Memory(Path),
    S3 {
        bucket: String,
        key: Path,
    },
    Gcs {
        bucket: String,
        key: Path,
    },
    Azure {
        /// `None` means the account that the environment names.
        account: Option<String>,
        container: String,
        key: Path,
    },
}

impl Location {
    fn new(kind: Kind) -> Self {
        let is_url = !matches!(kind, Kind::Local(_));
        Self { kind, is_url }
    }

    /// Names a directory of this machine by its path, which may contain any byte.
    pub fn from_path(path: impl AsRef<std::path::Path>) -> Self {
        Self::new(Kind::Local(local::normalize(path.as_ref())))
    }

    /// Parses a name that may not be Unicode, such as a command line argument. Only a path may be non-Unicode.
    ///
    /// # Errors
    /// As [`FromStr`](std::str::FromStr) of this type.
    pub fn from_os_str(name: &std::ffi::OsStr) -> Result<Self> {
        match name.to_str() {
            Some(text) => text.parse(),
            None if parse::scheme(&name.to_string_lossy()).is_some() => {
                let what = "a URL must be Unicode; percent-encode other bytes in a file: URL";
                Err(parse::invalid(&name.to_string_lossy(), what))
            }
            None => Ok(Self::from_path(name)),
        }
    }

    /// Returns the absolute path if the location is a directory of this machine, otherwise `None`. Resolves
    /// links in the part of the path that exists.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLocation`] if the path is empty, contains a NUL or has a loop of links, or if the
    /// working directory cannot be determined.
    pub fn directory(&self) -> Result<Option<PathBuf>> {
        match &self.kind {
            Kind::Local(path) => local::resolve(path).map(Some).map_err(|(what, source)| {
                let error = Error::new(
                    ErrorKind::InvalidLocation,
                    format!("{:?}: {what}", path.display().to_string()),
                );
                match source {
                    Some(source) => error.with_source(source),
                    None => error,
                }
            }),
            _ => Ok(None),
        }
    }

    /// Returns the same location with another key, for names in records.
    fn shares_storage(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Local(_), Kind::Local(_)) | (Kind::Memory(_), Kind::Memory(_)) => true,
            (Kind::S3 { bucket: a, .. }, Kind::S3 { bucket: b, .. })
            | (Kind::Gcs { bucket: a, .. }, Kind::Gcs { bucket: b, .. }) => a == b,
            (
                Kind::Azure {
                    account: a,
                    container: c,
                    ..
                },
                Kind::Azure {
                    account: b,
                    container: d,
                    ..
                },
            ) => a == b && c == d,
            _ => false,
        }
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Location {}

impl Hash for Location {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (storage, key) = match &self.kind {
            Kind::Local(path) => return f.write_str(&local::name(path)),
            Kind::Memory(key) => return write!(f, "memory:///{key}"),
            Kind::S3 { bucket, key } => (format!("s3://{bucket}"), key),
            Kind::Gcs { bucket, key } => (format!("gs://{bucket}"), key),
            Kind::Azure {
                account: None,
                container,
                key,
            } => (format!("az://{container}"), key),
            Kind::Azure {
                account: Some(account),
                container,
                key,
            } => (
                format!("abfss://{container}@{account}.dfs.core.windows.net"),
                key,
            ),
        };
        f.write_str(&storage)?;
        match key.is_root() {
            true => Ok(()),
            false => write!(f, "/{key}"),
        }
    }
}
