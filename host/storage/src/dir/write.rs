//! Writing a tree to a directory, and clearing one.

use std::fs::FileTimes;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, SystemTimeSpec};
use cap_std::fs::{Dir, File, OpenOptions};
use cap_std::time::SystemTime;

use super::read::BUFFER_BYTES;
use super::{BeneathDir, MARKER, MAX_DEPTH, failed, too_deep};
use crate::{Entry, Error, ErrorKind, Node, Result, Tree};

pub(super) fn clear(at: &BeneathDir) -> Result<()> {
    if at.is_root() {
        return empty(&at.dir, |_| true).map_err(|e| at.failed(e));
    }
    let metadata = at
        .dir
        .symlink_metadata(&at.path)
        .map_err(|e| at.failed(e))?;
    let removed = match metadata.is_dir() {
        true => at.dir.remove_dir_all(&at.path),
        false => at.dir.remove_file(&at.path),
    };
    removed.map_err(|e| at.failed(e))
}

pub(super) fn write(at: &BeneathDir, tree: &Tree, contents: &mut dyn Read) -> Result<()> {
    // A tree has a root.
    let Some((root, rest)) = tree.entries().split_first() else {
        return Ok(());
    };
    let buffer = vec![0; BUFFER_BYTES];
    let mut writer = Writer { contents, buffer };
    match root.node {
        Node::Dir => writer.root(at, root, rest),
        _ => writer.only_file(at, root),
    }
}

struct Writer<'a> {
    contents: &'a mut dyn Read,
    buffer: Vec<u8>,
}

/// A directory that is being filled, and what it will be.
struct Level<'a> {
    dir: Dir,
    entry: &'a Entry,
}

impl Writer<'_> {
    /// A file appears under its name when it is whole and durable.
    fn only_file(&mut self, at: &BeneathDir, entry: &Entry) -> Result<()> {
        let (parent, name) = match (at.path.parent(), at.path.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => {
                let what = "the checkpoint is one file; name the file to make, not its directory";
                return Err(Error::new(ErrorKind::InvalidPath, what));
            }
        };
        if at.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let what = format!(
                "{:?}: this is a directory and the checkpoint is one file; name the file to make",
                at.path
            );
            return Err(Error::new(ErrorKind::InvalidPath, what));
        }
        let dir = make_dirs(&at.dir, parent)?;
        let mut staged = std::ffi::OsString::from(".");
        staged.push(name);
        staged.push(".task-checkpoint-restoring");
        let staged = PathBuf::from(staged);
        let here = |e| at.failed(e);
        match dir.remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(here(error)),
            _ => {}
        }
        if let Err(error) = self.file(&dir, &staged, entry) {
            // What stays behind is removed by the next restore.
            let _ = dir.remove_file(&staged);
            return Err(error);
        }
        dir.rename(&staged, &dir, name).map_err(here)?;
        sync(&dir).map_err(here)
    }

    fn root(&mut self, at: &BeneathDir, root: &Entry, rest: &[Entry]) -> Result<()> {
        let here = |e| at.failed(e);
        let dir = make_dirs(&at.dir, &at.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).follow(FollowSymlinks::No);
        dir.open_with(MARKER, &options).map_err(here)?;
        sync(&dir).map_err(here)?;
        empty(&dir, |name| name != MARKER).map_err(here)?;
        let mut levels = vec![Level { dir, entry: root }];
        for entry in rest {
            // The entries of a directory follow it. When one comes that is not in it, it is full.
            let parent = Path::new(&entry.path).parent().unwrap_or(Path::new(""));
            while let Some(full) = levels.pop_if(|level| Path::new(&level.entry.path) != parent) {
                finish(full)?;
            }
            let Some(level) = levels.last() else {
                return Err(Error::corrupt("a tree with an entry in no directory"));
            };
            if let Some(dir) = self.entry(&level.dir, entry)? {
                levels.push(Level { dir, entry });
            }
            if levels.len() > MAX_DEPTH {
                return Err(too_deep(Path::new(&entry.path)));
            }
        }
        while let Some(full) = levels.pop() {
            if levels.is_empty() {
                // Everything beneath is durable, so the directory is whole from here on.
                full.dir.remove_file(MARKER).map_err(here)?;
            }
            finish(full)?;
        }
        Ok(())
    }

    /// Makes an entry in the directory that it belongs to. Returns the handle of a new directory.
    fn entry(&mut self, dir: &Dir, entry: &Entry) -> Result<Option<Dir>> {
        let here = |e| failed(Path::new(&entry.path), e);
        let path = Path::new(&entry.path);
        let name = Path::new(path.file_name().unwrap_or_default());
        match &entry.node {
            Node::Dir => {
                dir.create_dir(name).map_err(here)?;
                return dir.open_dir_nofollow(name).map(Some).map_err(here);
            }
            Node::File { .. } => self.file(dir, name, entry)?,
            Node::Link { target } => {
                link(dir, target, name).map_err(here)?;
                let modified = SystemTimeSpec::Absolute(SystemTime::from_std(entry.modified));
                dir.set_symlink_times(name, None, Some(modified))
                    .map_err(here)?;
            }
        }
        Ok(None)
    }

    fn file(&mut self, dir: &Dir, name: &Path, entry: &Entry) -> Result<()> {
        let Node::File { size_bytes } = entry.node else {
            return Err(Error::corrupt("a tree whose root is a link"));
        };
        let here = |e| failed(Path::new(&entry.path), e);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .follow(FollowSymlinks::No);
        let mut file = dir.open_with(name, &options).map_err(here)?;
        self.copy(size_bytes, &mut file, here)?;
        let file = file.into_std();
        set_metadata(&file, entry)
            .and_then(|()| file.sync_all())
            .map_err(here)
    }

    fn copy(
        &mut self,
        size_bytes: u64,
        file: &mut File,
        here: impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let mut missing = size_bytes;
        while missing > 0 {
            let most =
                usize::try_from(missing).map_or(self.buffer.len(), |n| n.min(self.buffer.len()));
            let part = &mut self.buffer[..most];
            let read = self.contents.read(part);
            let read = read.and_then(|read| match read {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            });
            let read = read.map_err(|e| {
                Error::new(ErrorKind::Other, "the contents end too early").with_source(e)
            })?;
            file.write_all(&part[..read]).map_err(&here)?;
            missing -= read as u64;
        }
        Ok(())
    }
}

/// Gives a directory that is full its mode and time, which making its entries would have changed.
fn finish(level: Level<'_>) -> Result<()> {
    let done = handle(&level.dir).and_then(|file| {
        set_metadata(&file, level.entry)?;
        file.sync_all()
    });
    done.map_err(|e| failed(Path::new(&level.entry.path), e))
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
    dir.create_dir_all(path).map_err(here)?;
    dir.open_dir(path).map_err(here)
}

/// Removes the entries of a directory that `what` asks for. Links are removed, not followed.
fn empty(dir: &Dir, what: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        if !what(&name) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => dir.remove_dir_all(&name)?,
            false => dir.remove_file(&name)?,
        }
    }
    Ok(())
}

fn sync(dir: &Dir) -> io::Result<()> {
    handle(dir)?.sync_all()
}

/// A handle for what cap-std's own does not permit: on Linux it only resolves paths.
fn handle(dir: &Dir) -> io::Result<std::fs::File> {
    Ok(dir.open(".")?.into_std())
}

#[cfg(not(windows))]
fn link(dir: &Dir, target: &str, name: &Path) -> io::Result<()> {
    dir.symlink_contents(target, name)
}

#[cfg(windows)]
fn link(dir: &Dir, target: &str, name: &Path) -> io::Result<()> {
    dir.symlink_file(target, name)
}
