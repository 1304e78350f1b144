//! The operations that a [`DirTree`](crate::DirTree) needs on open directories and files.
//!
//! A path is relative to the directory of the handle and must never leave it, even through links on the
//! disk; `.` is the directory itself. A name is a path of one component.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind};

/// An open directory.
pub trait DirHandle: Sized + Send + Sync + 'static {
    /// A file of such a directory.
    type File: FileHandle;
    /// An iterator over the entries of such a directory.
    type Entries: Iterator<Item = Result<Listed, Failure>>;

    /// Whether permission bits are preserved.
    const KEEPS_MODES: bool;

    /// Returns the metadata of a path.
    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure>;

    /// Opens a directory.
    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure>;

    /// Opens a file for reading. Must not block if it is a pipe.
    fn open_file(&self, path: &Path, links: Links) -> Result<Self::File, Failure>;

    /// Lists the directory, in any order, without `.` and `..`.
    fn entries(&self) -> Result<Self::Entries, Failure>;

    /// Returns the target of a symbolic link.
    fn read_link(&self, name: &Path) -> Result<String, Failure>;

    /// Returns why a link to `target` cannot be created here, or `None` if it can. Default: `None`.
    fn refuses_link(_target: &str) -> Option<&'static str> {
        None
    }

    /// Creates a symbolic link with this modification time.
    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure>;

    /// Creates a directory.
    /// Fails with [`FailureKind::Exists`] if the name already exists.
    fn create_dir(&self, path: &Path) -> Result<(), Failure>;

    /// Creates a file and opens it for writing.
    /// Fails with [`FailureKind::Exists`] if the name already exists, even as a dangling link.
    fn create_file(&self, name: &Path) -> Result<Self::File, Failure>;

    /// Moves an entry of this directory to another directory, replacing any file of the new name.
    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure>;

    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> Result<(), Failure>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> Result<(), Failure>;

    /// Makes a directory writable, so that it can be emptied and moved. An interrupted restore may have
    /// left directories that their owner may not write.
    fn unlock_dir(&self, _path: &Path) -> Result<(), Failure> {
        Ok(())
    }

    /// Sets the permission bits, if they are preserved, and the modification time of the directory.
    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure>;

    /// Makes the names in the directory durable.
    fn sync(&self) -> Result<(), Failure>;

    /// Opens the file system of the directory, to make many new files durable at once. Returns `None` if it cannot
    /// report every error of that, or if syncing each file is faster. Default: `None`.
    fn file_system(&self) -> Option<Box<dyn FileSystem>> {
        None
    }
}

/// An open file system.
pub trait FileSystem: Send + 'static {
    /// Makes everything durable that was written since this was opened.
    fn sync(&self) -> Result<(), Failure>;
}

/// An open file.
pub trait FileHandle: Send + 'static {
    /// Returns the file's metadata.
    fn stat(&self) -> Result<Stat, Failure>;

    /// Reads the next bytes into the beginning of `into`. Returns the number of bytes; 0 only at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure>;

    /// Writes the next bytes. An implementation may buffer them until [`set_metadata`](Self::set_metadata).
    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure>;

    /// Sets the permission bits, if they are preserved, and the modification time. Nothing is written after this.
    fn set_metadata(&mut self, mode: u32, modified: SystemTime) -> Result<(), Failure>;

    /// Makes contents and metadata durable. Called after [`set_metadata`](Self::set_metadata), which ends what was written.
    fn sync(&self) -> Result<(), Failure>;

    /// Lets the disk write this part of the contents while more is written, so that [`sync`](Self::sync) waits less. A failure
    /// does not matter: `sync` reports what does. Default: does nothing.
    fn write_back(&self, _part: Range<u64>) {}
}

/// Whether to follow a link in the last component of a path. Links before it are always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The path means the target of the link.
    Follow,
    /// The path means the link itself.
    NoFollow,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// Its kind, if the listing includes it.
    pub kind: Option<Kind>,
}

/// The metadata of a file, directory or link.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Its kind.
    pub kind: Kind,
    /// The size of a file in bytes. Ignored for anything else.
    pub size_bytes: u64,
    /// The permission bits, of `0o777`.
    pub mode: u32,
    /// When it was last modified.
    pub modified: SystemTime,
}

/// The kind of an entry on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A kind that checkpoints do not support, with its name, such as `pipe`.
    Other(&'static str),
}

/// Why an operation on a handle failed.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kind of a failed operation on a handle. Distinguishes the cases to which a walker or a task can react.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No such entry exists.
    NotFound,
    /// The name already exists.
    Exists,
    /// The path leads out of the directory.
    Outside,
    /// Permissions or a read-only file system forbid the operation.
    Denied,
    /// The disk or a quota is full, or the file would be too large.
    Full,
    /// A name or a link is not Unicode.
    NotUnicode,
    /// Expected a directory, found something else.
    NotADirectory,
    /// Expected a file, found a directory.
    IsADirectory,
    /// The directory to remove is not empty.
    NotEmpty,
    /// A link where links are not followed, or a loop of links.
    Loop,
    /// The file system cannot represent the entry, for example because its name is too long.
    Unfit,
    /// Anything else.
    Other,
}

impl Failure {
    /// Creates a failure caused by `source`.
    pub fn new(
        kind: FailureKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self { kind, source }
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Converts the failure to an error about a path. All hosts share its wording and kind.
    pub(crate) fn at(self, path: impl AsRef<Path>) -> Error {
        let (kind, what) = match self.kind {
            FailureKind::NotFound => (ErrorKind::InvalidPath, "no such file or directory"),
            FailureKind::Exists => (ErrorKind::InvalidPath, "already exists"),
            FailureKind::Outside => (
                ErrorKind::InvalidPath,
                "the path leads out of the directory",
            ),
            FailureKind::Denied => (ErrorKind::ReadOnly, "permission denied"),
            FailureKind::Full => (ErrorKind::QuotaExceeded, "no space left"),
            FailureKind::NotUnicode => (
                ErrorKind::InvalidPath,
                "checkpoints support only Unicode names; rename it",
            ),
            FailureKind::NotADirectory => {
                (ErrorKind::InvalidPath, "expected a directory, found a file")
            }
            FailureKind::IsADirectory => {
                (ErrorKind::InvalidPath, "expected a file, found a directory")
            }
            FailureKind::NotEmpty => (
                ErrorKind::Other,
                "the directory is not empty; another process is writing to it",
            ),
            FailureKind::Loop => (ErrorKind::InvalidPath, "too many symbolic links"),
            FailureKind::Unfit => (
                ErrorKind::InvalidPath,
                "the file system cannot represent this entry",
            ),
            FailureKind::Other => (ErrorKind::Other, "failed"),
        };
        let mut path = path.as_ref();
        if path.as_os_str().is_empty() {
            path = Path::new(".");
        }
        let error = Error::new(kind, format!("{path:?}: {what}"));
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self { kind, source: None }
    }
}
