//! Reading a tree from a directory.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use super::{DirTree, failed, not_unicode, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::tree::target::{MAX_DEPTH, RESTORING, too_deep};
use crate::tree::walk::TreeReader;
use crate::tree::{Entry, Node, Tree};

pub(super) fn reader(at: &DirTree, limits: &Limits) -> Result<Box<dyn TreeReader>> {
    let metadata = at.metadata().map_err(|e| at.failed(e))?;
    let mut reader = Reader {
        levels: Vec::new(),
        file: None,
        entries: Vec::new(),
        limits: *limits,
    };
    if metadata.is_dir() {
        let dir = at.open().map_err(|e| at.failed(e))?;
        if dir.symlink_metadata(RESTORING).is_ok() {
            let what = format!(
                "{:?}: a restore of this directory was interrupted; restore it again first",
                at.path
            );
            return Err(Error::new(ErrorKind::InvalidPath, what));
        }
        reader.push(String::new(), Node::Dir, &metadata)?;
        reader.enter(dir, String::new())?;
    } else if metadata.is_file() {
        let file = open_file(&at.dir, &at.path, FollowSymlinks::Yes)?;
        reader.begin_file(file, String::new())?;
    } else {
        return Err(unsupported(&at.path, metadata.file_type()));
    }
    Ok(Box::new(reader))
}

struct Reader {
    /// The directories from the root to where the reading is.
    levels: Vec<Level>,
    file: Option<OpenFile>,
    entries: Vec<Entry>,
    limits: Limits,
}

/// A directory, and the names in it that are still to be read.
struct Level {
    dir: Dir,
    path: String,
    names: std::vec::IntoIter<OsString>,
}

/// A file that is being read.
struct OpenFile {
    file: File,
    path: String,
    metadata: Metadata,
    size_bytes: u64,
}

impl TreeReader for Reader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(open) = &mut self.file {
                let here = |e| failed(Path::new(&open.path), e);
                let read = open.file.read(into).map_err(here)?;
                open.size_bytes += read as u64;
                if read > 0 {
                    return Ok(read);
                }
                self.end_file()?;
            } else if !self.next_entry()? {
                return Ok(0);
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Tree::new(self.entries)
    }
}

impl Reader {
    fn enter(&mut self, dir: Dir, path: String) -> Result<()> {
        if self.levels.len() == MAX_DEPTH {
            return Err(too_deep(Path::new(&path)));
        }
        let here = |e| failed(Path::new(&path), e);
        let mut names: Vec<OsString> = Vec::new();
        for entry in dir.entries().map_err(here)? {
            names.push(entry.map_err(here)?.file_name());
            self.limits
                .check_entries(self.entries.len().saturating_add(names.len()))?;
        }
        // The order of a tree, in which contents follow one another.
        names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        self.levels.push(Level {
            dir,
            path,
            names: names.into_iter(),
        });
        Ok(())
    }

    /// Goes on to the next name. False if there is none.
    fn next_entry(&mut self) -> Result<bool> {
        let (level, name) = loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(false);
            };
            match level.names.next() {
                Some(name) => break (level, name),
                None => self.levels.pop(),
            };
        };
        let Some(name) = name.to_str() else {
            return Err(not_unicode(&Path::new(&level.path).join(&name)));
        };
        let path = match level.path.as_str() {
            "" => name.to_owned(),
            parent => format!("{parent}/{name}"),
        };
        self.limits.check_path(&path)?;
        let here = |e| failed(Path::new(&path), e);
        // What a name is, is asked first: opening a pipe would wait for its other end.
        let metadata = level.dir.symlink_metadata(name).map_err(here)?;
        if metadata.is_dir() {
            let inner = level.dir.open_dir_nofollow(name).map_err(here)?;
            self.push(path.clone(), Node::Dir, &metadata)?;
            self.enter(inner, path)?;
        } else if metadata.is_file() {
            let file = open_file(&level.dir, Path::new(name), FollowSymlinks::No)?;
            self.begin_file(file, path)?;
        } else if metadata.is_symlink() {
            let target = level.dir.read_link_contents(name).map_err(here)?;
            let Some(target) = target.to_str() else {
                return Err(not_unicode(Path::new(&path)));
            };
            let target = target.to_owned();
            self.push(path, Node::Link { target }, &metadata)?;
        } else {
            return Err(unsupported(Path::new(&path), metadata.file_type()));
        }
        Ok(true)
    }

    fn begin_file(&mut self, file: File, path: String) -> Result<()> {
        let metadata = file.metadata().map_err(|e| failed(Path::new(&path), e))?;
        // It may have been replaced since it was asked what it is.
        if !metadata.is_file() {
            return Err(unsupported(Path::new(&path), metadata.file_type()));
        }
        self.file = Some(OpenFile {
            file,
            path,
            metadata,
            size_bytes: 0,
        });
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(open) = self.file.take() else {
            return Ok(());
        };
        let size_bytes = open.size_bytes;
        self.push(open.path, Node::File { size_bytes }, &open.metadata)
    }

    fn push(&mut self, path: String, node: Node, metadata: &Metadata) -> Result<()> {
        self.limits.check_entries(self.entries.len() + 1)?;
        let modified = metadata.modified().map(|time| time.into_std());
        self.entries.push(Entry {
            path,
            node,
            mode: mode(metadata),
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        });
        Ok(())
    }
}

fn open_file(dir: &Dir, name: &Path, follow: FollowSymlinks) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(follow);
    // Should the file turn into a pipe just now, this must not wait for its other end.
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, NONBLOCK);
    dir.open_with(name, &options).map_err(|e| failed(name, e))
}

/// `O_NONBLOCK`, which has no effect on files.
#[cfg(unix)]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    use cap_std::fs::MetadataExt;

    metadata.mode() & 0o777
}

#[cfg(not(unix))]
fn mode(metadata: &Metadata) -> u32 {
    match metadata.is_dir() {
        true => 0o755,
        false => 0o644,
    }
}
