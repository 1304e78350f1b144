//! Reading a tree from a directory.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use super::{BeneathDir, MARKER, MAX_DEPTH, failed, not_unicode, too_deep, unsupported};
use crate::{Entry, Error, ErrorKind, Node, Result, Tree};

/// The memory through which files are copied: few system calls, and little of it.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

pub(super) fn read(at: &BeneathDir, contents: &mut dyn Write) -> Result<Tree> {
    let metadata = at.metadata().map_err(|e| at.failed(e))?;
    let mut reader = Reader {
        contents,
        entries: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    if metadata.is_dir() {
        let dir = at.open().map_err(|e| at.failed(e))?;
        if dir.symlink_metadata(MARKER).is_ok() {
            let what = format!(
                "{:?}: a restore of this directory was interrupted; restore it again first",
                at.path
            );
            return Err(Error::new(ErrorKind::InvalidPath, what));
        }
        reader.push("", Node::Dir, &metadata);
        reader.directory(&dir, "", 1)?;
    } else if metadata.is_file() {
        let file = open_file(&at.dir, &at.path, FollowSymlinks::Yes)?;
        reader.file(file, "")?;
    } else {
        return Err(unsupported(&at.path, metadata.file_type()));
    }
    Tree::new(reader.entries)
}

struct Reader<'a> {
    contents: &'a mut dyn Write,
    entries: Vec<Entry>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn directory(&mut self, dir: &Dir, path: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(too_deep(Path::new(path)));
        }
        let here = |e| failed(Path::new(path), e);
        let mut names: Vec<OsString> = Vec::new();
        for entry in dir.entries().map_err(here)? {
            names.push(entry.map_err(here)?.file_name());
        }
        // The order of a tree, in which contents follow one another.
        names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        for name in names {
            let Some(text) = name.to_str() else {
                return Err(not_unicode(&Path::new(path).join(&name)));
            };
            let path = match path {
                "" => text.to_owned(),
                parent => format!("{parent}/{text}"),
            };
            self.entry(dir, text, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, name: &str, path: &str, depth: usize) -> Result<()> {
        let here = |e| failed(Path::new(path), e);
        // What a name is, is asked first: opening a pipe would wait for its other end.
        let metadata = dir.symlink_metadata(name).map_err(here)?;
        if metadata.is_dir() {
            let inner = dir.open_dir_nofollow(name).map_err(here)?;
            self.push(path, Node::Dir, &metadata);
            self.directory(&inner, path, depth + 1)
        } else if metadata.is_file() {
            let file = open_file(dir, Path::new(name), FollowSymlinks::No)?;
            self.file(file, path)
        } else if metadata.is_symlink() {
            let target = dir.read_link_contents(name).map_err(here)?;
            let Some(target) = target.to_str() else {
                return Err(not_unicode(Path::new(path)));
            };
            let target = target.to_owned();
            self.push(path, Node::Link { target }, &metadata);
            Ok(())
        } else {
            Err(unsupported(Path::new(path), metadata.file_type()))
        }
    }

    fn file(&mut self, mut file: File, path: &str) -> Result<()> {
        let here = |e| failed(Path::new(path), e);
        let metadata = file.metadata().map_err(here)?;
        // It may have been replaced since it was asked what it is.
        if !metadata.is_file() {
            return Err(unsupported(Path::new(path), metadata.file_type()));
        }
        let mut size_bytes = 0;
        loop {
            let read = file.read(&mut self.buffer).map_err(here)?;
            if read == 0 {
                break;
            }
            self.contents.write_all(&self.buffer[..read]).map_err(|e| {
                Error::new(ErrorKind::Other, "the contents cannot be passed on").with_source(e)
            })?;
            size_bytes += read as u64;
        }
        self.push(path, Node::File { size_bytes }, &metadata);
        Ok(())
    }

    fn push(&mut self, path: &str, node: Node, metadata: &Metadata) {
        let modified = metadata.modified().map(|time| time.into_std());
        self.entries.push(Entry {
            path: path.to_owned(),
            node,
            mode: mode(metadata),
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        });
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
