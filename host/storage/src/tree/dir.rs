//! A path beneath an open directory.

#[cfg(all(test, feature = "dir"))]
mod tests;

use std::path::{Component, Path, PathBuf};

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links};
use super::target::{Existing, RESTORING, TargetState, is_marked};
use super::walk::{TreeReader, TreeSource, TreeTarget, TreeWriter};
use super::{Tree, reader, writer};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The longest path that a task may name, in bytes. Linux accepts no longer paths.
const MAX_PATH_BYTES: usize = 4096;

/// A path beneath an open directory, which a save reads or a restore writes.
///
/// Nothing outside the directory is ever read or written, regardless of the path, the links on the disk and
/// the checkpoint. Unix permission bits are preserved if the kind of handle `D` preserves them.
#[derive(Debug)]
pub struct DirTree<D> {
    pub(super) dir: D,
    /// The path without `.` components; empty for the directory itself.
    pub(super) path: PathBuf,
    /// Whether the path [can only mean a directory](means_a_directory).
    pub(super) must_be_dir: bool,
    pub(super) markers: Markers,
}

/// Whether the marker of an interrupted restore permits clearing a directory that has other entries too.
///
/// A task that plants a marker can only lose files that it could remove itself. In an operator's directory,
/// a marker may have come with someone else's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markers {
    Believed,
    Ignored,
}

impl<D: DirHandle> DirTree<D> {
    /// Creates a `DirTree` for `path` beneath `dir`. An empty path or `.` is the directory itself. A path that ends
    /// in `/` or `/.` can only mean a directory, so saving a file from it or restoring a file to it fails.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for absolute paths, paths with `..` or NUL, and paths longer than 4096
    /// bytes. Links are resolved later, and must stay beneath the directory too.
    pub fn new(dir: D, path: &str) -> Result<Self> {
        let invalid = |what: String| Err(Error::new(ErrorKind::InvalidPath, what));
        if path.len() > MAX_PATH_BYTES {
            let length = path.len();
            return invalid(format!(
                "the path has {length} bytes; the maximum is {MAX_PATH_BYTES}"
            ));
        }
        if path.contains('\0') {
            return invalid(format!("{path:?}: a path must not contain NUL"));
        }
        let mut plain = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => plain.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    // `a/../b` may differ from `b`, because `a` may be a link.
                    return invalid(format!(
                        "{path:?}: a path must be relative to its directory and must not contain `..`"
                    ));
                }
            }
        }
        Ok(Self {
            dir,
            path: plain,
            must_be_dir: means_a_directory(path),
            markers: Markers::Believed,
        })
    }

    /// Returns the path in the form that handles take.
    pub(super) fn name(&self) -> &Path {
        match self.path.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.path,
        }
    }

    /// Returns whether the path is a dangling link rather than missing.
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

/// Returns whether a path can only mean a directory, because it ends in `/` or `/.`, as in POSIX.
pub fn means_a_directory(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref().as_os_str().as_encoded_bytes();
    let before_dot = path.strip_suffix(b".").unwrap_or(path);
    let last = before_dot.last().copied().map(char::from);
    last.is_some_and(std::path::is_separator)
}

impl<D: DirHandle> TreeSource for DirTree<D> {
    fn reader(&self, limits: &Limits, cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        reader::reader(self, limits, cancel)
    }
}

impl<D: DirHandle> TreeTarget for DirTree<D> {
    fn state(&self) -> Result<TargetState> {
        self.find_state().map_err(|f| f.at(&self.path))
    }

    fn writer(
        &self,
        tree: &Tree,
        existing: Existing,
        cancel: &Cancel,
    ) -> Result<Box<dyn TreeWriter>> {
        writer::writer(self, tree, existing, cancel)
    }

    fn keeps_modes(&self) -> bool {
        D::KEEPS_MODES
    }
}
