//! Files and directories of this machine, through a capability.

mod read;
mod remove;
#[cfg(test)]
mod tests;
mod write;

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileType, Metadata};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::tree::Tree;
use crate::tree::target::RESTORING;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::{FileTree, TreeReader, TreeWriter};

/// A path beneath a directory that is held open: what a save reads and a restore writes.
///
/// Whatever the path, the links on the disk and the checkpoint say, nothing outside the directory is
/// read or written. Unix permission bits are kept; on other systems files and directories get those
/// of new ones.
#[derive(Debug)]
pub struct DirTree {
    dir: Dir,
    /// Without `.`; empty for the directory itself.
    path: PathBuf,
}

impl DirTree {
    /// `path` beneath `dir`; an empty one, or `.`, is the directory itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for absolute paths and those with `..`. Links are followed later,
    /// and must stay beneath the directory too.
    pub fn new(dir: Dir, path: &str) -> Result<Self> {
        let mut plain = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => plain.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    let what = format!("{path:?} leads out of the directory; name a path in it");
                    return Err(Error::new(ErrorKind::InvalidPath, what));
                }
            }
        }
        if path.contains('\0') {
            return Err(Error::new(ErrorKind::InvalidPath, "a path with NUL"));
        }
        Ok(Self { dir, path: plain })
    }

    /// A path of this machine, with the authority of this process: for operators, not for guests.
    /// The parent must exist.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the parent cannot be opened or the path names nothing in it.
    pub fn ambient(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) if !name.is_empty() => parent,
            // `/`, or a path that ends in `..`: the directory itself.
            _ => path,
        };
        let dir =
            Dir::open_ambient_dir(parent, ambient_authority()).map_err(|e| failed(parent, e))?;
        let name = name.to_str().ok_or_else(|| not_unicode(path))?;
        Self::new(dir, name)
    }

    /// # Errors
    /// As `open_dir`.
    fn open(&self) -> io::Result<Dir> {
        match self.is_root() {
            true => self.dir.try_clone(),
            false => self.dir.open_dir(&self.path),
        }
    }

    fn is_root(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        match self.is_root() {
            true => self.dir.dir_metadata(),
            false => self.dir.metadata(&self.path),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        failed(&self.path, error)
    }
}

impl FileTree for DirTree {
    fn state(&self) -> Result<TargetState> {
        let metadata = match self.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link to nothing is something.
                return match self.dir.symlink_metadata(&self.path) {
                    Ok(_) => Ok(TargetState::File),
                    Err(_) => Ok(TargetState::Absent),
                };
            }
            Err(error) => return Err(self.failed(error)),
        };
        if !metadata.is_dir() {
            return Ok(TargetState::File);
        }
        let dir = self.open().map_err(|e| self.failed(e))?;
        if dir.symlink_metadata(RESTORING).is_ok() {
            return Ok(TargetState::Interrupted);
        }
        let mut entries = dir.entries().map_err(|e| self.failed(e))?;
        match entries.next() {
            Some(_) => Ok(TargetState::Dir),
            None => Ok(TargetState::EmptyDir),
        }
    }

    fn reader(&self, limits: &Limits) -> Result<Box<dyn TreeReader>> {
        read::reader(self, limits)
    }

    fn writer(&self, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>> {
        write::writer(self, tree, existing)
    }
}

/// An error about a path, by what the caller can do about it.
fn failed(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as E;
    let name = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    // cap-std reports an escape as this kind, without a code of the system's.
    let escape = error.kind() == E::PermissionDenied && error.raw_os_error().is_none();
    let (kind, what) = match error.kind() {
        E::NotFound => (ErrorKind::InvalidPath, "there is nothing"),
        _ if escape => (ErrorKind::InvalidPath, "this leads out of the directory"),
        E::PermissionDenied | E::ReadOnlyFilesystem => {
            (ErrorKind::ReadOnly, "this is not permitted")
        }
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => {
            (ErrorKind::QuotaExceeded, "there is no room")
        }
        E::NotADirectory
        | E::IsADirectory
        | E::InvalidFilename
        | E::AlreadyExists
        | E::TooManyLinks
        | E::InvalidInput => (ErrorKind::InvalidPath, "this is not what is needed"),
        // A loop of links has no kind of its own in the standard library that is stable.
        _ => (ErrorKind::Other, "this failed"),
    };
    Error::new(kind, format!("{name:?}: {what}")).with_source(error)
}

fn not_unicode(path: &Path) -> Error {
    let what = format!("{path:?}: a checkpoint holds Unicode names only; rename it");
    Error::new(ErrorKind::InvalidPath, what)
}

fn unsupported(path: &Path, kind: FileType) -> Error {
    let what = format!("{path:?}: a checkpoint holds files, directories and links, not a {kind:?}");
    Error::new(ErrorKind::InvalidPath, what)
}
