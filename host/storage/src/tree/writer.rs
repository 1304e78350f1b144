//! Writing a tree to a directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::DirTree;
use super::handle::{DirHandle, Failure, FailureKind, FileHandle, Kind, Links};
use super::remove;
use super::target::{self, Existing, RESTORING, is_marked, name_the_file};
use super::walk::{TreeTarget, TreeWriter};
use crate::cancel::{Cancel, STEP_BYTES};
use crate::error::{Error, Result};
use crate::tree::{Entry, Node, Tree};

/// The number of files to write before syncing them. On a journaling file system the first sync includes the
/// other files, so syncing many together is nearly as fast as syncing one.
const UNSYNCED_FILES: usize = 256;

pub(super) fn writer<D: DirHandle>(
    at: &DirTree<D>,
    tree: &Tree,
    existing: Existing,
    cancel: &Cancel,
) -> Result<Box<dyn TreeWriter>> {
    // Check this before removing anything.
    target::check::<D>(tree, &at.path)?;
    if target::must_remove(at.state()?, tree, existing, &at.path)? {
        remove_root(at, cancel)?;
    }
    let mut writer = DirWriter {
        entries: tree.entries().into(),
        next: 1,
        levels: Vec::new(),
        file: None,
        staged: None,
        unsynced: Vec::new(),
        cancel: cancel.clone(),
    };
    match tree.entries().first().map(|root| &root.node) {
        Some(Node::Dir) => writer.levels.push(Level {
            dir: begin_root(at, cancel)?,
            entry: 0,
        }),
        Some(Node::File { size_bytes }) => {
            let staged = StagedFile::begin(at)?;
            let file = staged.dir.create_file(&staged.staged);
            let file = file.map_err(|f| f.at(&at.path))?;
            writer.staged = Some(staged);
            writer.begin_file(file, 0, *size_bytes)?;
        }
        Some(Node::Link { .. }) | None => return Err(Error::corrupt("the tree has no root")),
    }
    Ok(Box::new(writer))
}

/// Creates the entries of a tree in order, each file as its contents arrive.
struct DirWriter<D: DirHandle> {
    entries: Arc<[Entry]>,
    /// The index of the next entry to create.
    next: usize,
    /// The directories from the root to the current position. The marker stays in the root until everything
    /// beneath it is durable.
    levels: Vec<Level<D>>,
    file: Option<OpenFile<D::File>>,
    /// The only file, if the tree is a single file.
    staged: Option<StagedFile<D>>,
    /// Complete files, with the indices of their entries.
    unsynced: Vec<(D::File, usize)>,
    /// The last field, because the call counts as running until it is dropped.
    cancel: Cancel,
}

/// A directory being filled, and the index of its entry.
struct Level<D> {
    dir: D,
    entry: usize,
}

/// A file that does not have all of its contents yet.
struct OpenFile<F> {
    file: F,
    entry: usize,
    missing: u64,
}

/// A file that appears under its name only when it is complete and durable.
struct StagedFile<D: DirHandle> {
    dir: D,
    name: PathBuf,
    staged: PathBuf,
}

impl<D: DirHandle> TreeWriter for DirWriter<D> {
    fn write(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            self.cancel.check()?;
            let Some(open) = &mut self.file else {
                if self.next_entry()? {
                    continue;
                }
                let what = "the contents are longer than the files of the tree";
                return Err(Error::corrupt(what));
            };
            let most = piece.len().min(STEP_BYTES);
            let most = usize::try_from(open.missing).map_or(most, |n| n.min(most));
            let (part, rest) = piece.split_at(most);
            let (written, entry) = (open.file.write_all(part), open.entry);
            written.map_err(|f| f.at(path_of(&self.entries, entry)))?;
            open.missing -= part.len() as u64;
            piece = rest;
            self.end_file_if_full()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let early = || Error::corrupt("the contents are shorter than the files of the tree");
        if self.file.is_some() {
            return Err(early());
        }
        while self.next_entry()? {
            if self.file.is_some() {
                return Err(early());
            }
        }
        self.sync_files()?;
        while let Some(full) = self.levels.pop() {
            self.cancel.check()?;
            if self.levels.is_empty() {
                // Everything beneath is durable, so the directory is now complete.
                let unmarked = full.dir.remove_file(Path::new(RESTORING));
                unmarked.map_err(|f| f.at(""))?;
            }
            self.finish_dir(full)?;
        }
        match &self.staged {
            None => Ok(()),
            Some(staged) => {
                self.cancel.check()?;
                staged.finish()
            }
        }
    }
}

impl<D: DirHandle> DirWriter<D> {
    /// Creates the next entry. Returns false if there is none.
    fn next_entry(&mut self) -> Result<bool> {
        self.cancel.check()?;
        let (index, entries) = (self.next, self.entries.clone());
        let Some(entry) = entries.get(index) else {
            return Ok(false);
        };
        self.next += 1;
        // The entries of a directory follow it, so an entry outside it means that it is complete.
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        let is_other = |level: &mut Level<D>| path_of(&entries, level.entry) != parent;
        while let Some(full) = self.levels.pop_if(is_other) {
            self.finish_dir(full)?;
        }
        let Some(Level { dir, .. }) = self.levels.last() else {
            return Err(Error::corrupt(
                "an entry's parent is not a directory of the tree",
            ));
        };
        let (name, here) = (Path::new(name), |f: Failure| f.at(&entry.path));
        match &entry.node {
            Node::Dir => {
                dir.create_dir(name).map_err(here)?;
                let dir = dir.open_dir(name, Links::NoFollow).map_err(here)?;
                self.levels.push(Level { dir, entry: index });
            }
            Node::File { size_bytes } => {
                let file = dir.create_file(name).map_err(here)?;
                self.begin_file(file, index, *size_bytes)?;
            }
            Node::Link { target } => dir
                .create_link(name, target, entry.modified)
                .map_err(here)?,
        }
        Ok(true)
    }

    fn begin_file(&mut self, file: D::File, entry: usize, size_bytes: u64) -> Result<()> {
        self.file = Some(OpenFile {
            file,
            entry,
            missing: size_bytes,
        });
        self.end_file_if_full()
    }

    fn end_file_if_full(&mut self) -> Result<()> {
        let Some(OpenFile { file, entry, .. }) = self.file.take_if(|open| open.missing == 0) else {
            return Ok(());
        };
        if let Some(entry) = self.entries.get(entry) {
            let set = file.set_metadata(entry.mode, entry.modified);
            set.map_err(|f| f.at(&entry.path))?;
        }
        self.unsynced.push((file, entry));
        match self.unsynced.len() < UNSYNCED_FILES {
            true => Ok(()),
            false => self.sync_files(),
        }
    }

    fn sync_files(&mut self) -> Result<()> {
        for (file, entry) in self.unsynced.drain(..) {
            self.cancel.check()?;
            let synced = file.sync();
            synced.map_err(|f| f.at(path_of(&self.entries, entry)))?;
        }
        Ok(())
    }

    /// Sets the mode and time of a complete directory. Creating its entries would have changed them.
    fn finish_dir(&self, Level { dir, entry }: Level<D>) -> Result<()> {
        let set = match self.entries.get(entry) {
            Some(entry) => dir.set_metadata(entry.mode, entry.modified),
            None => Ok(()),
        };
        let synced = set.and_then(|()| dir.sync());
        synced.map_err(|f| f.at(path_of(&self.entries, entry)))
    }
}

/// Opens the root directory of the tree, empty except for the marker.
fn begin_root<D: DirHandle>(at: &DirTree<D>, cancel: &Cancel) -> Result<D> {
    let dir = make_dirs(&at.dir, &at.path)?;
    clear(&dir, at, cancel)?;
    Ok(dir)
}

/// Removes what a tree of another kind replaces. A directory is marked before it is emptied, so that one
/// that was emptied in part is recognised.
fn remove_root<D: DirHandle>(at: &DirTree<D>, cancel: &Cancel) -> Result<()> {
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

impl<D: DirHandle> StagedFile<D> {
    fn begin(at: &DirTree<D>) -> Result<Self> {
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

    fn finish(&self) -> Result<()> {
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

fn path_of(entries: &[Entry], index: usize) -> &str {
    entries.get(index).map_or("", |entry| &entry.path)
}
