//! The target of a restore: what a disk can represent, and what a restore may replace. All hosts share
//! these rules.

use std::ffi::OsStr;
use std::path::Path;

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links};
use crate::error::{Error, ErrorKind, Result};
use crate::tree::{Node, Tree};

/// The name of the marker file in a directory that is being restored. A process that finds it may clear the
/// directory.
pub(crate) const RESTORING: &str = ".task-checkpoint-restoring";

/// The maximum depth of nested directories. Each level holds a handle.
pub(crate) const MAX_DEPTH: usize = 128;

/// The longest name that file systems commonly support, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The longest link that Linux can create, in bytes: its `PATH_MAX` minus a NUL.
const MAX_LINK_BYTES: usize = 4095;

/// What to do with a target whose content differs from the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`ErrorKind::InvalidPath`] and change nothing.
    Refuse,
    /// Remove everything that is not in the checkpoint.
    Replace,
}

/// The state of the path of a [`TreeTarget`](crate::TreeTarget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Nothing exists there.
    Absent,
    /// A directory without entries.
    EmptyDir,
    /// A directory in which a restore was interrupted, all of which may be cleared.
    Interrupted,
    /// A directory with entries.
    Dir,
    /// Something other than a directory.
    File,
}

/// Checks that a disk can represent `tree` at `path` beneath a directory, which may have to be a directory too. Must
/// precede any removal.
///
/// # Errors
/// [`ErrorKind::InvalidPath`], naming the entry that the disk cannot represent.
pub(super) fn check<D: DirHandle>(tree: &Tree, path: &Path, must_be_dir: bool) -> Result<()> {
    for entry in tree.entries() {
        let here = Path::new(&entry.path);
        if entry.node == Node::Dir && here.components().count() >= MAX_DEPTH {
            return Err(too_deep(here));
        }
        check_unreserved(here)?;
        if entry.name().len() > MAX_NAME_BYTES {
            return Err(name_too_long(here));
        }
        if let Node::Link { target } = &entry.node {
            if target.len() > MAX_LINK_BYTES {
                let what = format!("the link is longer than {MAX_LINK_BYTES} bytes");
                return Err(invalid(here, &what));
            }
            if let Some(reason) = D::refuses_link(target) {
                return Err(invalid(here, reason));
            }
        }
    }
    // Check this before creating the parents.
    let too_long = |name: &OsStr| name.len() > MAX_NAME_BYTES;
    if path.iter().any(too_long) {
        return Err(name_too_long(path));
    }
    match !tree.is_dir() && (must_be_dir || path.as_os_str().is_empty()) {
        true => Err(name_the_file(path)),
        false => Ok(()),
    }
}

/// Returns whether the entry at `path` must be removed before `tree` can be created there. That is so if it is
/// of another kind, and `existing` permits replacing it or an interrupted restore left it.
///
/// # Errors
/// [`ErrorKind::InvalidPath`] if it must not be replaced.
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
        (true, _, _) => Err(invalid(
            path,
            "already has other content; remove it, or permit replacing it",
        )),
        (false, true, _) => Ok(true),
        (false, false, true) => Err(name_the_file(path)),
        (false, false, false) => Err(Failure::from(FailureKind::NotADirectory).at(path)),
    }
}

/// Checks that a path of a tree, relative to its root, is not that of the marker.
///
/// # Errors
/// [`ErrorKind::InvalidPath`]
pub(super) fn check_unreserved(path: &Path) -> Result<()> {
    if path.as_os_str() == RESTORING {
        let what = "this name is reserved for the marker of a restore; rename it";
        return Err(invalid(path, what));
    }
    Ok(())
}

/// Returns whether a directory contains the marker of a restore. Only a file counts as one.
pub(super) fn is_marked<D: DirHandle>(dir: &D) -> Result<bool, Failure> {
    match dir.stat(Path::new(RESTORING), Links::NoFollow) {
        Ok(stat) => Ok(stat.kind == Kind::File),
        Err(failure) if failure.kind() == FailureKind::NotFound => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Returns the temporary name of a file being restored: its own name, truncated to leave room for a suffix.
pub(super) fn staged_name(name: &str) -> String {
    let room = MAX_NAME_BYTES - RESTORING.len() - 1;
    let stem = &name[..name.floor_char_boundary(room)];
    format!(".{stem}{RESTORING}")
}

/// Returns the error for a directory nested more than [`MAX_DEPTH`] deep.
pub(super) fn too_deep(path: &Path) -> Error {
    let what = format!("directories are nested more than {MAX_DEPTH} deep");
    invalid(path, &what)
}

/// Returns the error for restoring a single file onto a directory.
pub(super) fn name_the_file(path: &Path) -> Error {
    let what = "the checkpoint is one file, but this is a directory; name the file to create";
    invalid(path, what)
}

fn name_too_long(path: &Path) -> Error {
    let what = format!("the name is longer than {MAX_NAME_BYTES} bytes");
    invalid(path, &what)
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidPath, format!("{path:?}: {what}"))
}
