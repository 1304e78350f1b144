//! Removing what lies where a tree is to be created.
//!
//! Nothing here recurses, and few handles are held, however deep a task has nested its directories: what
//! lies deeper than [`MAX_HELD`] is moved up to the top and removed from there.
//!
//! Removal fails with [`FailureKind::Denied`] where permissions forbid it, with [`FailureKind::NotEmpty`] if
//! something else writes to a directory meanwhile, and with [`FailureKind::Full`] if the top has no room for
//! a moved name.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::handle::{DirHandle, Failure, FailureKind, Kind, Links, Listed};

/// How many directories in one another are held open while the innermost is emptied. Each takes two
/// handles, one of them for its listing.
const MAX_HELD: usize = 16;

/// Removes what a path names: a link itself, a directory with everything in it.
///
/// # Errors
/// The first failure. What was removed until then stays removed.
pub(super) fn whole<D: DirHandle>(dir: &D, path: &Path) -> Result<(), Failure> {
    if dir.stat(path, Links::NoFollow)?.kind != Kind::Dir {
        return dir.remove_file(path);
    }
    dir.unlock_dir(path)?;
    contents(&dir.open_dir(path, Links::NoFollow)?, None)?;
    dir.remove_dir(path)
}

/// Removes everything in a directory but the entry named `kept`. Links are removed, not followed.
///
/// # Errors
/// The first failure. What was removed until then stays removed; directories that were nested deeply may
/// lie in `top` under other names.
pub(super) fn contents<D: DirHandle>(top: &D, kept: Option<&OsStr>) -> Result<(), Failure> {
    let mut removal = Removal {
        top,
        levels: Vec::new(),
        moved: 0,
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
    /// The directories from the top's entry to the one that is being emptied.
    levels: Vec<Level<D>>,
    /// How many names of moved directories are used up.
    moved: u64,
}

/// A directory that is being emptied.
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
                // Windows removes nothing that is open.
                drop((dir, entries));
                unless_gone(self.innermost().remove_dir(Path::new(&name)))?;
            }
        }
        Ok(())
    }

    /// Removes an entry of the innermost directory; if it is a directory, enters it or moves it up.
    fn remove_or_enter(&mut self, entry: Listed) -> Result<(), Failure> {
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

    /// A name for a moved directory. What an interrupted removal has left under such a name is removed
    /// with what is moved now.
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

/// `None` if there is nothing to remove: a name may be listed and removed as a moved directory too.
fn unless_gone<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(failure) if failure.kind() == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
