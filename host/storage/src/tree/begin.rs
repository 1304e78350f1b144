//! Opening the target of a restore: clearing what was there, and staging a single file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::dir::DirTree;
use super::handle::{DirHandle, Failure, FailureKind, Kind, Links};
use super::remove;
use super::target::{self, RESTORING, is_marked, name_the_file};
use crate::cancel::Cancel;
use crate::error::Result;

/// Opens the root directory of the tree, empty except for the marker.
pub(super) fn begin_root<D: DirHandle>(at: &DirTree<D>, cancel: &Cancel) -> Result<D> {
    let dir = make_dirs(&at.dir, &at.path)?;
    clear(&dir, at, cancel)?;
    Ok(dir)
}

/// Removes what a tree of another kind replaces. A directory is marked before it is emptied, so that one
/// that was emptied in part is recognised.
pub(super) fn remove_root<D: DirHandle>(at: &DirTree<D>, cancel: &Cancel) -> Result<()> {
    let here = |f: Failure| f.at(&at.path);
    let (top, name) = (&at.dir, at.name());
    if top.stat(name, Links::NoFollow).map_err(here)?.kind != Kind::Dir {
        return top.remove_file(name).map_err(here);
    }
    top.unlock_dir(name).map_err(here)?;
    let dir = top.open_dir(name, Links::NoFollow).map_err(here)?;
    clear(&dir, at, cancel)?;
    cancel.check()?;
    let unmarked = dir.remove_file(Path::new(RESTORING));
    // Windows cannot remove an open directory.
    drop(dir);
    unmarked.and_then(|()| top.remove_dir(name)).map_err(here)
}

/// Marks a directory, and removes everything else from it.
fn clear<D: DirHandle>(dir: &D, at: &DirTree<D>, cancel: &Cancel) -> Result<()> {
    cancel.check()?;
    mark(dir, cancel)
        .and_then(|()| remove::contents(dir, Some(OsStr::new(RESTORING)), cancel))
        .map_err(|f| f.at(&at.path))
}

/// Creates the marker in a directory, durably. An earlier restore may already have left it there.
fn mark<D: DirHandle>(dir: &D, cancel: &Cancel) -> Result<(), Failure> {
    let marker = Path::new(RESTORING);
    match dir.create_file(marker) {
        Ok(_) => {}
        Err(failure) if failure.kind() == FailureKind::Exists => {
            if !is_marked(dir)? {
                // Not a marker, but ordinary content with that name.
                remove::whole(dir, marker, cancel)?;
                dir.create_file(marker)?;
            }
        }
        Err(failure) => return Err(failure),
    }
    dir.sync()
}

/// A file that appears under its name only when it is complete and durable.
pub(super) struct StagedFile<D: DirHandle> {
    dir: D,
    name: PathBuf,
    staged: PathBuf,
}

impl<D: DirHandle> StagedFile<D> {
    pub(super) fn begin(at: &DirTree<D>) -> Result<Self> {
        let (parent, name) = match (at.path.parent(), at.path.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => return Err(name_the_file(&at.path)),
        };
        let dir = make_dirs(&at.dir, parent)?;
        let staged = PathBuf::from(target::staged_name(&name.to_string_lossy()));
        // Left by an interrupted restore.
        match dir.remove_file(&staged) {
            Err(failure) if failure.kind() != FailureKind::NotFound => {
                return Err(failure.at(&at.path));
            }
            _ => {}
        }
        let name = name.to_owned();
        Ok(Self { dir, name, staged })
    }

    pub(super) fn create(&self) -> Result<D::File, Failure> {
        self.dir.create_file(&self.staged)
    }

    pub(super) fn finish(&self) -> Result<()> {
        let renamed = self.dir.rename(&self.staged, &self.dir, &self.name);
        let synced = renamed.and_then(|()| self.dir.sync());
        synced.map_err(|f| f.at(&self.name))
    }
}

impl<D: DirHandle> Drop for StagedFile<D> {
    fn drop(&mut self) {
        // It no longer exists if the restore finished. If removal fails, the next restore removes it.
        let _ = self.dir.remove_file(&self.staged);
    }
}

/// Opens a directory beneath another one. Creates it and its parents if they are missing.
fn make_dirs<D: DirHandle>(top: &D, path: &Path) -> Result<D> {
    let open = |path: &Path| top.open_dir(path, Links::Follow);
    let mut dir = open(Path::new(".")).map_err(|f| f.at(path))?;
    let mut here = PathBuf::new();
    for name in path {
        here.push(name);
        dir = match open(&here) {
            Err(failure) if failure.kind() == FailureKind::NotFound => top
                .create_dir(&here)
                // A new directory's name is durable only once its parent is synced.
                .and_then(|()| dir.sync())
                .and_then(|()| open(&here)),
            opened => opened,
        }
        .map_err(|f| f.at(&here))?;
    }
    Ok(dir)
}
