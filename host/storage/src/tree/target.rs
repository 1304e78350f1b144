//! Where a checkpoint is restored to: what a directory on a disk can hold, and what gives way to it. The
//! same for every host, however it opens the directory.

use std::ffi::OsStr;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::tree::{Node, Tree};

/// The name of the file that lies in a directory while that is being restored. Whoever finds it may clear
/// the directory.
pub const RESTORING: &str = ".task-checkpoint-restoring";

/// How deep directories may lie in one another. Each level holds a handle.
pub const MAX_DEPTH: usize = 128;

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

/// What lies at the path of a [`FileTree`](crate::FileTree).
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

/// Whether a disk can hold `tree` at `path` beneath a directory. To be asked before anything is removed.
///
/// # Errors
/// [`ErrorKind::InvalidPath`], which names what it cannot hold.
pub fn check(tree: &Tree, path: &Path) -> Result<()> {
    for entry in tree.entries() {
        let here = Path::new(&entry.path);
        if entry.node == Node::Dir && here.components().count() >= MAX_DEPTH {
            return Err(too_deep(here));
        }
        if entry.path == RESTORING {
            return Err(invalid(here, "the name is kept for what is being restored"));
        }
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        if name.len() > MAX_NAME_BYTES {
            return Err(invalid(here, "longer than a name on a disk may be"));
        }
        if matches!(&entry.node, Node::Link { target } if target.len() > MAX_LINK_BYTES) {
            return Err(invalid(here, "longer than a link on a disk may be"));
        }
    }
    // Before its parents are made.
    let too_long = |name: &OsStr| name.len() > MAX_NAME_BYTES;
    if path.iter().any(too_long) {
        return Err(invalid(path, "longer than a name on a disk may be"));
    }
    match !tree.is_dir() && path.as_os_str().is_empty() {
        true => Err(name_the_file(path)),
        false => Ok(()),
    }
}

/// Whether what is at `path` is to be removed before `tree` can be made there: what is of another kind, if
/// `existing` permits it or an interrupted restore left it.
///
/// # Errors
/// [`ErrorKind::InvalidPath`] if it does not give way.
pub fn gives_way(state: TargetState, tree: &Tree, existing: Existing, path: &Path) -> Result<bool> {
    let (is_dir, replace) = match state {
        TargetState::Absent => return Ok(false),
        TargetState::File => (false, existing == Existing::Replace),
        TargetState::Dir | TargetState::EmptyDir => (true, existing == Existing::Replace),
        TargetState::Interrupted => (true, true),
    };
    match (is_dir == tree.is_dir(), replace, is_dir) {
        (true, replace, _) if replace || state == TargetState::EmptyDir => Ok(false),
        (true, _, _) => Err(invalid(path, "there is something else")),
        (false, true, _) => Ok(true),
        (false, false, true) => Err(name_the_file(path)),
        (false, false, false) => Err(invalid(path, "this is no directory")),
    }
}

/// The name under which a file is restored until it is whole: as much of its own as leaves room for the rest.
pub fn staged_name(name: &str) -> String {
    let room = MAX_NAME_BYTES - RESTORING.len() - 1;
    let stem = &name[..name.floor_char_boundary(room)];
    format!(".{stem}{RESTORING}")
}

/// The error for a directory in more than [`MAX_DEPTH`] others.
pub fn too_deep(path: &Path) -> Error {
    let what = format!("more than {MAX_DEPTH} directories in one another");
    invalid(path, &what)
}

/// The error for a file that is to be made where a directory is.
pub fn name_the_file(path: &Path) -> Error {
    let what = "the checkpoint is one file and this is a directory; name the file to make";
    invalid(path, what)
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidPath, format!("{path:?}: {what}"))
}
