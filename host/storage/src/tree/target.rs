//! Where a checkpoint is restored to: what a disk can hold, and what a restore may replace. The same for
//! every host, however it opens the directory.

use std::ffi::OsStr;
use std::path::Path;

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links};
use crate::error::{Error, ErrorKind, Result};
use crate::tree::{Node, Tree};

/// The name of the file that lies in a directory while that is being restored. Whoever finds it may clear
/// the directory.
pub(crate) const RESTORING: &str = ".task-checkpoint-restoring";

/// How deep directories may lie in one another. Each level holds a handle.
pub(crate) const MAX_DEPTH: usize = 128;

/// The longest name that file systems commonly hold, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The longest link that Linux makes, in bytes: its `PATH_MAX` less a NUL.
const MAX_LINK_BYTES: usize = 4095;

/// What to do with a target that has other content than the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`ErrorKind::InvalidPath`] and change nothing.
    Refuse,
    /// Remove what is not in the checkpoint.
    Replace,
}

/// What lies at the path of a [`TreeTarget`](crate::TreeTarget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Nothing.
    Absent,
    /// A directory without entries.
    EmptyDir,
    /// A directory in which a restore was interrupted: all of it may be cleared.
    Interrupted,
    /// A directory with entries.
    Dir,
    /// Something that is no directory.
    File,
}

/// Whether a disk can hold `tree` at `path` beneath a directory. Checked before anything is removed.
///
/// # Errors
/// [`ErrorKind::InvalidPath`], which names what it cannot hold.
pub(super) fn check<D: DirHandle>(tree: &Tree, path: &Path) -> Result<()> {
    for entry in tree.entries() {
        let here = Path::new(&entry.path);
        if entry.node == Node::Dir && here.components().count() >= MAX_DEPTH {
            return Err(too_deep(here));
        }
        if entry.path == RESTORING {
            let what = "this name is reserved for a directory that is being restored";
            return Err(invalid(here, what));
        }
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        if name.len() > MAX_NAME_BYTES {
            return Err(name_too_long(here));
        }
        if let Node::Link { target } = &entry.node {
            if target.len() > MAX_LINK_BYTES {
                let what = format!("a link of more than {MAX_LINK_BYTES} bytes");
                return Err(invalid(here, &what));
            }
            if let Some(reason) = D::refuses_link(target) {
                return Err(invalid(here, reason));
            }
        }
    }
    // Before its parents are created.
    let too_long = |name: &OsStr| name.len() > MAX_NAME_BYTES;
    if path.iter().any(too_long) {
        return Err(name_too_long(path));
    }
    match !tree.is_dir() && path.as_os_str().is_empty() {
        true => Err(name_the_file(path)),
        false => Ok(()),
    }
}

/// Whether what is at `path` must be removed before `tree` can be created there: what is of another kind, if
/// `existing` permits it or an interrupted restore left it.
///
/// # Errors
/// [`ErrorKind::InvalidPath`] if it may not be replaced.
pub(super) fn must_remove(
    state: TargetState,
    tree: &Tree,
    existing: Existing,
    path: &Path,
) -> Result<bool> {
    let (is_dir, replace) = match state {
        TargetState::Absent => return Ok(false),
        TargetState::File => (false, existing == Existing::Replace),
        TargetState::Dir | TargetState::EmptyDir => (true, existing == Existing::Replace),
        TargetState::Interrupted => (true, true),
    };
    match (is_dir == tree.is_dir(), replace, is_dir) {
        (true, replace, _) if replace || state == TargetState::EmptyDir => Ok(false),
        (true, _, _) => Err(invalid(path, "has other content")),
        (false, true, _) => Ok(true),
        (false, false, true) => Err(name_the_file(path)),
        (false, false, false) => Err(Failure::from(FailureKind::NotADirectory).at(path)),
    }
}

/// Whether the marker of a restore lies in a directory. Only a file is one.
pub(super) fn is_marked<D: DirHandle>(dir: &D) -> Result<bool, Failure> {
    match dir.stat(Path::new(RESTORING), Links::NoFollow) {
        Ok(stat) => Ok(stat.kind == Kind::File),
        Err(failure) if failure.kind() == FailureKind::NotFound => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The name of a file while it is being restored: as much of its own as leaves room for the rest.
pub(super) fn staged_name(name: &str) -> String {
    let room = MAX_NAME_BYTES - RESTORING.len() - 1;
    let stem = &name[..name.floor_char_boundary(room)];
    format!(".{stem}{RESTORING}")
}

/// The error for a directory in more than [`MAX_DEPTH`] others.
pub(super) fn too_deep(path: &Path) -> Error {
    let what = format!("directories are nested more than {MAX_DEPTH} deep");
    invalid(path, &what)
}

/// The error for a file that is to be created where a directory is.
pub(super) fn name_the_file(path: &Path) -> Error {
    let what = "the checkpoint is one file and this is a directory; name the file to create";
    invalid(path, what)
}

fn name_too_long(path: &Path) -> Error {
    let what = format!("a name of more than {MAX_NAME_BYTES} bytes");
    invalid(path, &what)
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidPath, format!("{path:?}: {what}"))
}
