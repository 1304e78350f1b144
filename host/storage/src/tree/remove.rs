//! Removing existing entries before a tree is created.
//!
//! Nothing here recurses, and few handles are held, no matter how deeply a task has nested its directories:
//! directories deeper than [`MAX_HELD`] are moved up to the top and removed from there.
//!
//! Removal fails with [`FailureKind::Denied`] if permissions forbid it, with [`FailureKind::NotEmpty`] if
//! another process is writing to a directory, and with [`FailureKind::Full`] if the top has no room for a
//! moved name. It fails with [`FailureKind::Other`] if it is cancelled, which is checked before each entry.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links, Listed};
use crate::cancel::Cancel;

/// The maximum number of nested directories held open while the innermost is emptied. Each takes two
/// handles, one of them for its listing.
const MAX_HELD: usize = 16;

/// Removes the entry at a path: a link itself, or a directory with everything in it.
///
/// # Errors
/// The first failure. Entries removed before it stay removed.
pub(super) fn whole<D: DirHandle>(dir: &D, path: &Path, cancel: &Cancel) -> Result<(), Failure> {
    if dir.stat(path, Links::NoFollow)?.kind != Kind::Dir {
        return dir.remove_file(path);
    }
    dir.unlock_dir(path)?;
    contents(&dir.open_dir(path, Links::NoFollow)?, None, cancel)?;
    dir.remove_dir(path)
}

/// Removes everything in a directory except the entry named `kept`. Links are removed, not followed.
///
/// # Errors
/// The first failure. Entries removed before it stay removed, and deeply nested directories may have been
/// moved to `top` under other names.
pub(super) fn contents<D: DirHandle>(
    top: &D,
    kept: Option<&OsStr>,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let mut removal = Removal {
        top,
        levels: Vec::new(),
        moved: 0,
        cancel,
    };
    for entry in top.entries()? {
        let entry = entry?;
        if Some(entry.name.as_os_str()) != kept {
            removal.remove(entry)?;
        }
    }
    let mut next = 0;
    while next < removal.moved {
        let name = moved_name(next).into();
        removal.remove(Listed { name, kind: None })?;
        next += 1;
    }
    Ok(())
}

struct Removal<'a, D: DirHandle> {
    top: &'a D,
    /// The directories from the top's entry to the one being emptied.
    levels: Vec<Level<D>>,
    /// The number of names already used for moved directories.
    moved: u64,
    cancel: &'a Cancel,
}

/// A directory being emptied.
struct Level<D: DirHandle> {
    dir: D,
    name: OsString,
    entries: D::Entries,
}

impl<D: DirHandle> Removal<'_, D> {
    /// Removes an entry of the top.
    fn remove(&mut self, entry: Listed) -> Result<(), Failure> {
        self.remove_or_enter(entry)?;
        while let Some(level) = self.levels.last_mut() {
            if let Some(entry) = level.entries.next() {
                self.remove_or_enter(entry?)?;
            } else if let Some(Level { dir, name, entries }) = self.levels.pop() {
                // Windows cannot remove open files.
                drop((dir, entries));
                unless_gone(self.innermost().remove_dir(Path::new(&name)))?;
            }
        }
        Ok(())
    }

    /// Removes an entry of the innermost directory; if it is a directory, enters it or moves it up.
    fn remove_or_enter(&mut self, entry: Listed) -> Result<(), Failure> {
        let cancelled = |error| Failure::new(FailureKind::Other, error);
        self.cancel.check().map_err(cancelled)?;
        let parent = self.innermost();
        let name = Path::new(&entry.name);
        let kind = match entry.kind {
            Some(kind) => kind,
            None => match unless_gone(parent.stat(name, Links::NoFollow))? {
                Some(stat) => stat.kind,
                None => return Ok(()),
            },
        };
        if kind != Kind::Dir {
            return unless_gone(parent.remove_file(name)).map(drop);
        }
        if unless_gone(parent.unlock_dir(name))?.is_none() {
            return Ok(());
        }
        if self.levels.len() == MAX_HELD {
            let moved = self.unused_name()?;
            return unless_gone(self.innermost().rename(name, self.top, &moved)).map(drop);
        }
        if let Some(dir) = unless_gone(parent.open_dir(name, Links::NoFollow))? {
            let entries = dir.entries()?;
            let name = entry.name;
            self.levels.push(Level { dir, name, entries });
        }
        Ok(())
    }

    fn innermost(&self) -> &D {
        self.levels.last().map_or(self.top, |level| &level.dir)
    }

    /// Returns a name for a moved directory. If an interrupted removal left a directory of that name, it is
    /// removed too.
    fn unused_name(&mut self) -> Result<PathBuf, Failure> {
        loop {
            let name = PathBuf::from(moved_name(self.moved));
            self.moved += 1;
            if unless_gone(self.top.stat(&name, Links::NoFollow))?.is_none() {
                return Ok(name);
            }
        }
    }
}

fn moved_name(number: u64) -> String {
    format!(".task-checkpoint-removing-{number}")
}

/// Maps a missing entry to `None`: a listed name may already have been removed as a moved directory.
fn unless_gone<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(failure) if failure.kind() == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
