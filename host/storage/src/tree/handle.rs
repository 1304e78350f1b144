//! What a [`DirTree`](crate::DirTree) needs of a directory and of a file that are held open.
//!
//! A path is relative to the directory of the handle and never leaves it, whatever the links on the disk
//! say; `.` is the directory itself. A name is a path of one component.

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind};

/// A directory that is held open.
pub trait DirHandle: Sized + Send + Sync + 'static {
    /// A file of such a directory.
    type File: FileHandle;
    /// The entries of such a directory, one after the other.
    type Entries: Iterator<Item = Result<Listed, Failure>>;

    /// Whether permission bits are read and set.
    const KEEPS_MODES: bool;

    /// Describes what a path names.
    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure>;

    /// Opens a directory.
    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure>;

    /// Opens a file to read it. Must not wait for the other end if it is a pipe.
    fn open_file(&self, path: &Path, links: Links) -> Result<Self::File, Failure>;

    /// Lists the directory, in any order, without `.` and `..`.
    fn entries(&self) -> Result<Self::Entries, Failure>;

    /// Reads a symbolic link.
    fn read_link(&self, name: &Path) -> Result<String, Failure>;

    /// Why no link to `target` can be created here, if so. Default: any can.
    fn refuses_link(_target: &str) -> Option<&'static str> {
        None
    }

    /// Creates a symbolic link that was last modified at `modified`.
    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure>;

    /// Creates a directory.
    /// Fails with [`FailureKind::Exists`] if something has that name already.
    fn create_dir(&self, path: &Path) -> Result<(), Failure>;

    /// Creates a file and opens it to write it.
    /// Fails with [`FailureKind::Exists`] if something has that name already, even a link to nothing.
    fn create_file(&self, name: &Path) -> Result<Self::File, Failure>;

    /// Moves an entry of this directory to another one, where it replaces a file.
    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure>;

    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> Result<(), Failure>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> Result<(), Failure>;

    /// Lets the owner of a directory empty and move it, where permission bits may forbid that. An
    /// interrupted restore may have made some that their owner may not write.
    fn unlock_dir(&self, _path: &Path) -> Result<(), Failure> {
        Ok(())
    }

    /// Sets the permission bits, where they are kept, and the modification time of the directory.
    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure>;

    /// Makes the names in the directory durable.
    fn sync(&self) -> Result<(), Failure>;
}

/// A file that is held open.
pub trait FileHandle: Send + 'static {
    /// Describes the file.
    fn stat(&self) -> Result<Stat, Failure>;

    /// Reads the next bytes into the beginning of `into`. Returns how many; 0 only at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure>;

    /// Writes the next bytes.
    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure>;

    /// Sets the permission bits, where they are kept, and the modification time.
    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure>;

    /// Makes contents and metadata durable.
    fn sync(&self) -> Result<(), Failure>;
}

/// Whether a link in the last component of a path is followed. Links before it always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The path names what the link leads to.
    Follow,
    /// The path names the link.
    NoFollow,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// What it is, if listing the directory says so.
    pub kind: Option<Kind>,
}

/// What is known of a file, directory or link.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// The permission bits, of `0o777`.
    pub mode: u32,
    /// When it was modified last.
    pub modified: SystemTime,
}

/// What something on a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// Something that no checkpoint holds, by the word for it, such as `pipe`.
    Other(&'static str),
}

/// Why an operation on a handle failed.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong in an operation on a handle. Tells apart what a walker or a task can react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing has that name.
    NotFound,
    /// Something has that name already.
    Exists,
    /// The path leads out of the directory.
    Outside,
    /// Permissions, or a read-only file system, forbid it.
    Denied,
    /// The disk, a quota or the largest possible file is full.
    Full,
    /// A name or a link is not Unicode.
    NotUnicode,
    /// A directory is needed, and this is none.
    NotADirectory,
    /// A file is needed, and this is a directory.
    IsADirectory,
    /// A directory that is to be removed has entries.
    NotEmpty,
    /// A link where none is followed, or a circle of links.
    Loop,
    /// The file system cannot hold it, such as a name that is too long.
    Unfit,
    /// Anything else.
    Other,
}

impl Failure {
    /// A failure that `source` describes.
    pub fn new(
        kind: FailureKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self { kind, source }
    }

    /// What went wrong.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The error about a path. The same wording and kind for every host.
    pub(crate) fn at(self, path: impl AsRef<Path>) -> Error {
        let (kind, what) = match self.kind {
            FailureKind::NotFound => (ErrorKind::InvalidPath, "no such file or directory"),
            FailureKind::Exists => (ErrorKind::InvalidPath, "already exists"),
            FailureKind::Outside => (ErrorKind::InvalidPath, "is outside the directory"),
            FailureKind::Denied => (ErrorKind::ReadOnly, "permission denied"),
            FailureKind::Full => (ErrorKind::QuotaExceeded, "no space left"),
            FailureKind::NotUnicode => (
                ErrorKind::InvalidPath,
                "a checkpoint holds Unicode names only; rename it",
            ),
            FailureKind::NotADirectory => {
                (ErrorKind::InvalidPath, "expected a directory, found a file")
            }
            FailureKind::IsADirectory => {
                (ErrorKind::InvalidPath, "expected a file, found a directory")
            }
            FailureKind::NotEmpty => (
                ErrorKind::Other,
                "the directory is not empty; something else writes to it",
            ),
            FailureKind::Loop => (ErrorKind::InvalidPath, "too many symbolic links"),
            FailureKind::Unfit => (ErrorKind::InvalidPath, "the file system cannot hold this"),
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
