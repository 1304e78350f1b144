//! A path beneath a directory that is held open.

#[cfg(all(test, feature = "dir"))]
mod tests;

use std::path::{Component, Path, PathBuf};

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links};
use super::target::{Existing, RESTORING, TargetState, is_marked};
use super::walk::{TreeReader, TreeSource, TreeTarget, TreeWriter};
use super::{Tree, reader, writer};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The longest path that a task may name, in bytes. Linux takes no longer one.
const MAX_PATH_BYTES: usize = 4096;

/// A path beneath a directory that is held open: what a save reads and a restore writes.
///
/// Whatever the path, the links on the disk and the checkpoint say, nothing outside the directory is
/// read or written. Unix permission bits are kept where the kind of handle `D` keeps them.
#[derive(Debug)]
pub struct DirTree<D> {
    pub(super) dir: D,
    /// Without `.`; empty for the directory itself.
    pub(super) path: PathBuf,
    pub(super) markers: Markers,
}

/// Whether the marker of an interrupted restore permits clearing a directory that has other entries too.
///
/// A task that plants one loses nothing but what it could remove by itself. An operator's directory may hold
/// one that came with files of someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markers {
    Believed,
    Ignored,
}

impl<D: DirHandle> DirTree<D> {
    /// `path` beneath `dir`; an empty one, or `.`, is the directory itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for absolute paths, those with `..` or NUL, and those of more than 4096
    /// bytes. Links are followed later, and must stay beneath the directory too.
    pub fn new(dir: D, path: &str) -> Result<Self> {
        let invalid = |what: String| Err(Error::new(ErrorKind::InvalidPath, what));
        if path.len() > MAX_PATH_BYTES {
            let length = path.len();
            return invalid(format!(
                "a path of {length} bytes; {MAX_PATH_BYTES} are allowed"
            ));
        }
        if path.contains('\0') {
            return invalid(format!("{path:?}: a path contains no NUL"));
        }
        let mut plain = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => plain.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(Failure::from(FailureKind::Outside).at(path));
                }
            }
        }
        Ok(Self {
            dir,
            path: plain,
            markers: Markers::Believed,
        })
    }

    /// The path as handles take it.
    pub(super) fn name(&self) -> &Path {
        match self.path.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.path,
        }
    }

    /// Whether the path is a link, which leads to nothing, rather than missing.
    fn is_dangling(&self) -> Result<bool, Failure> {
        match self.dir.stat(self.name(), Links::NoFollow) {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind() == FailureKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn find_state(&self) -> Result<TargetState, Failure> {
        match self.dir.stat(self.name(), Links::Follow) {
            Ok(stat) if stat.kind == Kind::Dir => {}
            Ok(_) => return Ok(TargetState::File),
            Err(failure) if failure.kind() == FailureKind::NotFound => {
                return Ok(match self.is_dangling()? {
                    true => TargetState::File,
                    false => TargetState::Absent,
                });
            }
            Err(failure) => return Err(failure),
        }
        let dir = self.dir.open_dir(self.name(), Links::Follow)?;
        let is_marked = is_marked(&dir)?;
        let mut has_others = false;
        for entry in dir.entries()? {
            if !is_marked || entry?.name != RESTORING {
                has_others = true;
                break;
            }
        }
        Ok(match (is_marked, has_others) {
            (true, true) if self.markers == Markers::Ignored => TargetState::Dir,
            (true, _) => TargetState::Interrupted,
            (false, true) => TargetState::Dir,
            (false, false) => TargetState::EmptyDir,
        })
    }
}

impl<D: DirHandle> TreeSource for DirTree<D> {
    fn reader(&self, limits: &Limits) -> Result<Box<dyn TreeReader>> {
        reader::reader(self, limits)
    }
}

impl<D: DirHandle> TreeTarget for DirTree<D> {
    fn state(&self) -> Result<TargetState> {
        self.find_state().map_err(|f| f.at(&self.path))
    }

    fn writer(&self, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>> {
        writer::writer(self, tree, existing)
    }

    fn keeps_modes(&self) -> bool {
        D::KEEPS_MODES
    }
}
