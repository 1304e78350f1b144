//! Reading a tree from a directory.

use std::path::Path;

use checkpoint_storage::target::{MAX_DEPTH, RESTORING, too_deep};
use checkpoint_storage::{Entry, Error, ErrorKind, Limits, Node, Result, Tree, TreeReader};
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, OpenFlags, PathFlags,
};

use super::{Beneath, failed, from_wasi, names, open_inner};

/// WASI says nothing of permission bits, so these stand for them.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// As much as is read at a time: the host copies it.
const PIECE_BYTES: usize = 1 << 20;

pub(super) fn reader(at: &Beneath, limits: &Limits) -> Result<Box<dyn TreeReader>> {
    let here = |e| at.failed(e);
    let stat = at
        .dir
        .stat_at(PathFlags::SYMLINK_FOLLOW, at.name())
        .map_err(here)?;
    let mut reader = Reader {
        levels: Vec::new(),
        file: None,
        entries: Vec::new(),
        limits: *limits,
    };
    match stat.type_ {
        DescriptorType::Directory => {
            let dir = at.open().map_err(here)?;
            if dir.stat_at(PathFlags::empty(), RESTORING).is_ok() {
                let what = format!(
                    "{:?}: a restore of this directory was interrupted; restore it again first",
                    at.path
                );
                return Err(Error::new(ErrorKind::InvalidPath, what));
            }
            reader.push(String::new(), Node::Dir, &stat)?;
            reader.enter(dir, String::new())?;
        }
        DescriptorType::RegularFile => {
            let flags = PathFlags::SYMLINK_FOLLOW;
            let file = at
                .dir
                .open_at(flags, at.name(), OpenFlags::empty(), DescriptorFlags::READ);
            reader.begin_file(file.map_err(here)?, String::new())?;
        }
        kind => return Err(unsupported(&at.path, kind)),
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
    dir: Descriptor,
    path: String,
    names: std::vec::IntoIter<String>,
}

/// A file that is being read.
struct OpenFile {
    file: Descriptor,
    path: String,
    stat: DescriptorStat,
    size_bytes: u64,
}

impl TreeReader for Reader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(open) = &mut self.file {
                let wanted = into.len().min(PIECE_BYTES) as u64;
                let read = open.file.read(wanted, open.size_bytes);
                let (piece, _) = read.map_err(|e| failed(&open.path, e))?;
                // No host gives more than it was asked for; if one does, this is no place to panic.
                if let Some(room) = into.get_mut(..piece.len())
                    && !piece.is_empty()
                {
                    room.copy_from_slice(&piece);
                    open.size_bytes += piece.len() as u64;
                    return Ok(piece.len());
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
    fn enter(&mut self, dir: Descriptor, path: String) -> Result<()> {
        if self.levels.len() == MAX_DEPTH {
            return Err(too_deep(Path::new(&path)));
        }
        let mut names = names(&dir).map_err(|e| failed(&path, e))?;
        self.limits
            .check_entries(self.entries.len().saturating_add(names.len()))?;
        // The order of a tree, in which contents follow one another.
        names.sort_unstable();
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
        let path = match level.path.as_str() {
            "" => name.clone(),
            parent => format!("{parent}/{name}"),
        };
        self.limits.check_path(&path)?;
        let here = |e| failed(&path, e);
        // What a name is, is asked first: opening a pipe would wait for its other end.
        let stat = level.dir.stat_at(PathFlags::empty(), &name).map_err(here)?;
        match stat.type_ {
            DescriptorType::Directory => {
                let inner = open_inner(&level.dir, &name).map_err(here)?;
                self.push(path.clone(), Node::Dir, &stat)?;
                self.enter(inner, path)?;
            }
            DescriptorType::RegularFile => {
                let (flags, open) = (PathFlags::empty(), OpenFlags::empty());
                let file = level.dir.open_at(flags, &name, open, DescriptorFlags::READ);
                self.begin_file(file.map_err(here)?, path)?;
            }
            DescriptorType::SymbolicLink => {
                let target = level.dir.readlink_at(&name).map_err(here)?;
                self.push(path, Node::Link { target }, &stat)?;
            }
            kind => return Err(unsupported(&path, kind)),
        }
        Ok(true)
    }

    fn begin_file(&mut self, file: Descriptor, path: String) -> Result<()> {
        let stat = file.stat().map_err(|e| failed(&path, e))?;
        // It may have been replaced since it was asked what it is.
        if stat.type_ != DescriptorType::RegularFile {
            return Err(unsupported(&path, stat.type_));
        }
        self.file = Some(OpenFile {
            file,
            path,
            stat,
            size_bytes: 0,
        });
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(open) = self.file.take() else {
            return Ok(());
        };
        let size_bytes = open.size_bytes;
        self.push(open.path, Node::File { size_bytes }, &open.stat)
    }

    fn push(&mut self, path: String, node: Node, stat: &DescriptorStat) -> Result<()> {
        self.limits.check_entries(self.entries.len() + 1)?;
        self.entries.push(Entry {
            path,
            mode: if node == Node::Dir {
                DIR_MODE
            } else {
                FILE_MODE
            },
            node,
            modified: from_wasi(stat.data_modification_timestamp),
        });
        Ok(())
    }
}

fn unsupported(path: &str, kind: DescriptorType) -> Error {
    let what = format!("{path:?}: a checkpoint holds files, directories and links, not a {kind:?}");
    Error::new(ErrorKind::InvalidPath, what)
}
