//! Writing a tree to a directory.

use std::fs::FileTimes;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, OpenOptions};

use super::{DirTree, failed, remove};
use crate::error::{Error, Result};
use crate::tree::target::Existing;
use crate::tree::target::{self, RESTORING, name_the_file};
use crate::tree::walk::{FileTree, TreeWriter};
use crate::tree::{Entry, Node, Tree};

pub(super) fn writer(at: &DirTree, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>> {
    let entries = tree.entries().to_vec();
    // Before anything is removed.
    target::check(tree, &at.path)?;
    if target::gives_way(at.state()?, tree, existing, &at.path)? {
        remove::whole(&at.dir, &at.path).map_err(|e| at.failed(e))?;
    }
    let Some(root) = entries.first() else {
        return Err(Error::corrupt("a tree without a root"));
    };
    let whole = match root.node {
        Node::Dir => Whole::Dir(begin_root(at)?),
        _ => Whole::File(Staged::begin(at)?),
    };
    Ok(Box::new(Writer {
        whole,
        entries,
        next: 0,
        levels: Vec::new(),
        file: None,
        unsynced: Vec::new(),
    }))
}

/// How many files are written before they are synced. The first sync of a journal takes the others'
/// contents with it, so syncing many at a time is nearly as fast as one.
const UNSYNCED_FILES: usize = 256;

/// Makes the entries of a tree one after the other, each file as its contents arrive.
struct Writer {
    whole: Whole,
    entries: Vec<Entry>,
    /// The index of the next entry to be made.
    next: usize,
    /// The directories from the root to where the writing is.
    levels: Vec<Level>,
    file: Option<OpenFile>,
    unsynced: Vec<File>,
}

/// What the tree is as a whole.
enum Whole {
    /// The directory, in which the marker lies until everything beneath is durable.
    Dir(Dir),
    File(Staged),
}

/// A directory that is being filled, and the index of its entry.
struct Level {
    dir: Dir,
    entry: usize,
}

/// A file that lacks some of its contents.
struct OpenFile {
    file: File,
    entry: usize,
    missing: u64,
}

/// A file that appears under its name when it is whole and durable.
struct Staged {
    dir: Dir,
    name: PathBuf,
    staged: PathBuf,
}

impl TreeWriter for Writer {
    fn write(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            while self.file.is_none() {
                if !self.next_entry()? {
                    return Err(Error::corrupt(
                        "more contents than the files of the tree hold",
                    ));
                }
            }
            let Some(open) = &mut self.file else { continue };
            let most = usize::try_from(open.missing).map_or(piece.len(), |n| n.min(piece.len()));
            let (part, rest) = piece.split_at(most);
            let written = open.file.write_all(part);
            written.map_err(|e| self.failed_at(self.next - 1, e))?;
            piece = rest;
            if let Some(open) = &mut self.file {
                open.missing -= part.len() as u64;
            }
            self.end_file_if_full()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.file.is_some() {
            return Err(Error::corrupt("the contents end too early"));
        }
        while self.next_entry()? {
            if self.file.is_some() {
                return Err(Error::corrupt("the contents end too early"));
            }
        }
        self.sync_files()?;
        while let Some(full) = self.levels.pop() {
            if self.levels.is_empty() {
                // Everything beneath is durable, so the directory is whole from here on.
                full.dir
                    .remove_file(RESTORING)
                    .map_err(|e| failed(Path::new(""), e))?;
            }
            self.finish_dir(full)?;
        }
        match &self.whole {
            Whole::Dir(_) => Ok(()),
            Whole::File(staged) => staged.finish(),
        }
    }
}

impl Writer {
    /// Goes on to the next entry. False if there is none.
    fn next_entry(&mut self) -> Result<bool> {
        let index = self.next;
        let Some(entry) = self.entries.get(index) else {
            return Ok(false);
        };
        self.next += 1;
        if index == 0 {
            match &self.whole {
                Whole::Dir(dir) => {
                    let dir = dir.try_clone().map_err(|e| self.failed_at(0, e))?;
                    self.levels.push(Level { dir, entry: 0 });
                }
                Whole::File(staged) => {
                    let (dir, name) = (staged.dir.try_clone(), staged.staged.clone());
                    let dir = dir.map_err(|e| self.failed_at(0, e))?;
                    self.begin_file(&dir, &name, 0)?;
                }
            }
            return Ok(true);
        }
        // The entries of a directory follow it. When one comes that is not in it, it is full.
        let path = PathBuf::from(&entry.path);
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        while let Some(full) = {
            let entries = &self.entries;
            let is_parent = |level: &Level| {
                entries
                    .get(level.entry)
                    .is_some_and(|e| Path::new(&e.path) == parent)
            };
            self.levels.pop_if(|level| !is_parent(level))
        } {
            self.finish_dir(full)?;
        }
        let Some(level) = self.levels.last() else {
            return Err(Error::corrupt("a tree with an entry in no directory"));
        };
        let dir = level
            .dir
            .try_clone()
            .map_err(|e| self.failed_at(index, e))?;
        self.make(&dir, &name, index)?;
        Ok(true)
    }

    /// Makes an entry in the directory that it belongs to.
    fn make(&mut self, dir: &Dir, name: &Path, index: usize) -> Result<()> {
        let Some(entry) = self.entries.get(index) else {
            return Ok(());
        };
        let here = |e| failed(Path::new(&entry.path), e);
        match &entry.node {
            Node::Dir => {
                dir.create_dir(name).map_err(here)?;
                let dir = dir.open_dir_nofollow(name).map_err(here)?;
                self.levels.push(Level { dir, entry: index });
            }
            Node::File { .. } => self.begin_file(dir, name, index)?,
            Node::Link { target } => {
                link(dir, target, name).map_err(here)?;
                set_link_time(dir, name, entry.modified).map_err(here)?;
            }
        }
        Ok(())
    }

    fn begin_file(&mut self, dir: &Dir, name: &Path, index: usize) -> Result<()> {
        let size_bytes = match self.entries.get(index).map(|entry| &entry.node) {
            Some(Node::File { size_bytes }) => *size_bytes,
            _ => return Err(Error::corrupt("a tree whose root is a link")),
        };
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .follow(FollowSymlinks::No);
        let file = dir.open_with(name, &options);
        self.file = Some(OpenFile {
            file: file.map_err(|e| self.failed_at(index, e))?,
            entry: index,
            missing: size_bytes,
        });
        self.end_file_if_full()
    }

    fn end_file_if_full(&mut self) -> Result<()> {
        let Some(full) = self.file.take_if(|open| open.missing == 0) else {
            return Ok(());
        };
        let file = full.file.into_std();
        if let Some(entry) = self.entries.get(full.entry) {
            set_metadata(&file, entry).map_err(|e| self.failed_at(full.entry, e))?;
        }
        self.unsynced.push(File::from_std(file));
        match self.unsynced.len() < UNSYNCED_FILES {
            true => Ok(()),
            false => self.sync_files(),
        }
    }

    fn sync_files(&mut self) -> Result<()> {
        for file in self.unsynced.drain(..) {
            file.sync_all().map_err(|e| failed(Path::new(""), e))?;
        }
        Ok(())
    }

    /// Gives a directory that is full its mode and time, which making its entries would have changed.
    fn finish_dir(&self, level: Level) -> Result<()> {
        let done = handle(&level.dir).and_then(|file| {
            if let Some(entry) = self.entries.get(level.entry) {
                set_metadata(&file, entry)?;
            }
            file.sync_all()
        });
        done.map_err(|e| self.failed_at(level.entry, e))
    }

    fn failed_at(&self, index: usize, error: io::Error) -> Error {
        let path = self.entries.get(index).map_or("", |entry| &entry.path);
        failed(Path::new(path), error)
    }
}

/// Opens the directory that the tree will be, empty but for the marker.
fn begin_root(at: &DirTree) -> Result<Dir> {
    let here = |e| at.failed(e);
    let dir = make_dirs(&at.dir, &at.path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).follow(FollowSymlinks::No);
    dir.open_with(RESTORING, &options).map_err(here)?;
    sync(&dir).map_err(here)?;
    remove::contents(&dir, |name| name != RESTORING).map_err(here)?;
    Ok(dir)
}

impl Staged {
    fn begin(at: &DirTree) -> Result<Self> {
        let (parent, name) = match (at.path.parent(), at.path.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => return Err(name_the_file(&at.path)),
        };
        let dir = make_dirs(&at.dir, parent)?;
        let staged = PathBuf::from(target::staged_name(&name.to_string_lossy()));
        // What a restore that was interrupted has left.
        match dir.remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at.failed(error)),
            _ => {}
        }
        let name = name.to_owned();
        Ok(Self { dir, name, staged })
    }

    fn finish(&self) -> Result<()> {
        self.dir
            .rename(&self.staged, &self.dir, &self.name)
            .and_then(|()| sync(&self.dir))
            .map_err(|e| failed(&self.name, e))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone if it was finished. What cannot be removed now is by the next restore.
        let _ = self.dir.remove_file(&self.staged);
    }
}

fn set_metadata(file: &std::fs::File, entry: &Entry) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(entry.modified))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        // Never more than these bits: a stored tree must not make a program that runs as its owner.
        file.set_permissions(PermissionsExt::from_mode(entry.mode & 0o777))?;
    }
    Ok(())
}

/// Opens a directory beneath another one, which is made if it is missing.
fn make_dirs(dir: &Dir, path: &Path) -> Result<Dir> {
    let here = |e| failed(path, e);
    if path.as_os_str().is_empty() {
        return dir.try_clone().map_err(here);
    }
    if let Ok(there) = dir.open_dir(path) {
        return Ok(there);
    }
    dir.create_dir_all(path).map_err(here)?;
    // The names of new directories are durable when their parents are.
    for parent in path.ancestors().skip(1) {
        let parent = match parent.as_os_str().is_empty() {
            true => dir.try_clone(),
            false => dir.open_dir(parent),
        };
        parent.and_then(|parent| sync(&parent)).map_err(here)?;
    }
    dir.open_dir(path).map_err(here)
}

fn sync(dir: &Dir) -> io::Result<()> {
    handle(dir)?.sync_all()
}

/// A handle for what cap-std's own does not permit: on Linux it only resolves paths.
fn handle(dir: &Dir) -> io::Result<std::fs::File> {
    Ok(dir.open(".")?.into_std())
}

/// Not by cap-std, which panics at a time before 1970.
#[cfg(unix)]
fn set_link_time(dir: &Dir, name: &Path, modified: SystemTime) -> io::Result<()> {
    use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

    let (seconds, nanoseconds) = match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let (borrowed, nanoseconds) = match before.subsec_nanos() {
                0 => (0, 0),
                some => (1, 1_000_000_000 - some),
            };
            let seconds = i64::try_from(before.as_secs());
            (seconds.map(|s| (-s).saturating_sub(borrowed)), nanoseconds)
        }
    };
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds.unwrap_or(i64::MAX),
            tv_nsec: nanoseconds.into(),
        },
    };
    Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(unix))]
fn set_link_time(_dir: &Dir, _name: &Path, _modified: SystemTime) -> io::Result<()> {
    Ok(())
}

#[cfg(not(windows))]
fn link(dir: &Dir, target: &str, name: &Path) -> io::Result<()> {
    dir.symlink_contents(target, name)
}

#[cfg(windows)]
fn link(dir: &Dir, target: &str, name: &Path) -> io::Result<()> {
    dir.symlink_file(target, name)
}
