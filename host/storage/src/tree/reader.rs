//! Reading a tree from a directory.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::dir::DirTree;
use super::handle::{DirHandle, Failure, FailureKind, FileHandle, Kind, Links, Stat};
use super::target::{MAX_DEPTH, check_unreserved, is_marked, too_deep};
use super::walk::TreeReader;
use crate::cancel::{Cancel, STEP_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::tree::{ENTRY_BYTES, Entry, Node, Tree, TreeBuilder};

pub(super) fn reader<D: DirHandle>(
    at: &DirTree<D>,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Box<dyn TreeReader>> {
    let here = |f: Failure| f.at(&at.path);
    let stat = at.dir.stat(at.name(), Links::Follow).map_err(here)?;
    let mut reader = DirReader::<D> {
        levels: Vec::new(),
        file: None,
        tree: TreeBuilder::default(),
        found_bytes: 0,
        limits: *limits,
        size_bytes: 0,
        cancel: cancel.clone(),
    };
    match stat.kind {
        Kind::Dir => {
            let dir = at.dir.open_dir(at.name(), Links::Follow).map_err(here)?;
            if is_marked(&dir).map_err(here)? {
                let what = format!(
                    "{:?}: a restore of this directory was interrupted; run the restore again first",
                    at.path
                );
                return Err(Error::new(ErrorKind::InvalidPath, what));
            }
            reader.push(String::new(), Node::Dir, &stat)?;
            reader.enter(dir, String::new())?;
        }
        Kind::File if at.must_be_dir => return Err(here(FailureKind::NotADirectory.into())),
        Kind::File => {
            let file = at.dir.open_file(at.name(), Links::Follow).map_err(here)?;
            reader.begin_file(file, String::new())?;
        }
        Kind::Link => return Err(here(FailureKind::Loop.into())),
        Kind::Other(kind) => return Err(unsupported(&at.path, kind)),
    }
    Ok(Box::new(reader))
}

struct DirReader<D: DirHandle> {
    /// The directories from the root to the current position.
    levels: Vec<Level<D>>,
    file: Option<OpenFile<D::File>>,
    /// The entries so far.
    tree: TreeBuilder,
    /// The size of the description of the entries, and of the names that are still to be read.
    found_bytes: u64,
    limits: Limits,
    /// The total size of the files that are complete.
    size_bytes: u64,
    cancel: Cancel,
}

/// A directory, and its names that are still to be read.
struct Level<D> {
    dir: D,
    path: String,
    names: std::vec::IntoIter<OsString>,
}

/// A file that is being read.
struct OpenFile<F> {
    file: F,
    path: String,
    stat: Stat,
    size_bytes: u64,
}

impl<D: DirHandle> TreeReader for DirReader<D> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let most = into.len().min(STEP_BYTES);
        let into = into.get_mut(..most).unwrap_or_default();
        loop {
            self.cancel.check()?;
            if let Some(open) = &mut self.file {
                let read = open.file.read(into).map_err(|f| f.at(&open.path))?;
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
        self.tree.finish()
    }
}

impl<D: DirHandle> DirReader<D> {
    fn enter(&mut self, dir: D, path: String) -> Result<()> {
        if self.levels.len() == MAX_DEPTH {
            return Err(too_deep(Path::new(&path)));
        }
        let here = |f: Failure| f.at(&path);
        let mut names: Vec<OsString> = Vec::new();
        for entry in dir.entries().map_err(here)? {
            self.cancel.check()?;
            let name = entry.map_err(here)?.name;
            self.found_bytes = self.found_bytes.saturating_add(described_bytes(&name));
            self.limits.check_description(self.found_bytes)?;
            names.push(name);
            self.limits
                .check_entries(self.tree.len().saturating_add(names.len()))?;
        }
        // Sort in the order of a tree, which is also the order of the contents.
        names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        self.levels.push(Level {
            dir,
            path,
            names: names.into_iter(),
        });
        Ok(())
    }

    /// Advances to the next name. Returns false if there is none.
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
        self.found_bytes = self.found_bytes.saturating_sub(described_bytes(&name));
        let Some(text) = name.to_str() else {
            let failure = Failure::from(FailureKind::NotUnicode);
            return Err(failure.at(Path::new(&level.path).join(&name)));
        };
        let path = match level.path.as_str() {
            "" => text.to_owned(),
            parent => format!("{parent}/{text}"),
        };
        self.limits.check_path(&path)?;
        // No restore could write it.
        check_unreserved(Path::new(&path))?;
        let (dir, name) = (&level.dir, Path::new(text));
        let here = |f: Failure| f.at(&path);
        // Check the kind first, because opening a pipe would block.
        let stat = dir.stat(name, Links::NoFollow).map_err(here)?;
        match stat.kind {
            Kind::Dir => {
                let inner = dir.open_dir(name, Links::NoFollow).map_err(here)?;
                self.push(path.clone(), Node::Dir, &stat)?;
                self.enter(inner, path)?;
            }
            Kind::File => {
                let file = dir.open_file(name, Links::NoFollow).map_err(here)?;
                self.begin_file(file, path)?;
            }
            Kind::Link => {
                let target = dir.read_link(name).map_err(here)?;
                self.push(path, Node::Link { target }, &stat)?;
            }
            Kind::Other(kind) => return Err(unsupported(Path::new(&path), kind)),
        }
        Ok(true)
    }

    fn begin_file(&mut self, file: D::File, path: String) -> Result<()> {
        let stat = file.stat().map_err(|f| f.at(&path))?;
        // The entry may have been replaced since its kind was checked.
        match stat.kind {
            Kind::File => {}
            Kind::Dir => return Err(Failure::from(FailureKind::IsADirectory).at(&path)),
            Kind::Link => return Err(Failure::from(FailureKind::Loop).at(&path)),
            Kind::Other(kind) => return Err(unsupported(Path::new(&path), kind)),
        }
        // Fails early, before the contents of a huge sparse file are read.
        self.limits
            .check_size(self.size_bytes.saturating_add(stat.size_bytes))?;
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
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        self.push(open.path, Node::File { size_bytes }, &open.stat)
    }

    fn push(&mut self, path: String, node: Node, stat: &Stat) -> Result<()> {
        self.limits.check_entries(self.tree.len() + 1)?;
        let entry = Entry {
            path,
            node,
            mode: stat.mode,
            modified: stat.modified,
        };
        let bytes = entry.described_bytes();
        self.found_bytes = self.found_bytes.saturating_add(bytes);
        self.limits.check_description(self.found_bytes)?;
        self.tree.push(&entry)
    }
}

/// Returns the least share of the description's size that the entry of this name will have.
fn described_bytes(name: &OsStr) -> u64 {
    (ENTRY_BYTES + name.len()) as u64
}

fn unsupported(path: &Path, kind: &str) -> Error {
    let what =
        format!("{path:?}: checkpoints support files, directories and links, but this is a {kind}");
    Error::new(ErrorKind::InvalidPath, what)
}
