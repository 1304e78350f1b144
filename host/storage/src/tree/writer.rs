//! Writing a tree to a directory.
//!
//! The thread that brings the contents creates directories and large files, in the order of the tree. Small files and
//! links are created by [`Workers`], in any order. A small tree, or a host with one thread, has no workers.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::begin::{StagedFile, begin_root, remove_root};
use super::dir::DirTree;
use super::handle::{DirHandle, Failure, FileHandle, FileSystem, Links};
use super::job::{Durability, Job, MANY_ENTRIES, OpenDir};
use super::target::{self, Existing, RESTORING};
use super::walk::{TreeTarget, TreeWriter};
use super::workers::{BATCH_ENTRIES, Batch, SMALL_BYTES, Workers};
use crate::cancel::{Cancel, STEP_BYTES};
use crate::error::{Error, Result};
use crate::tree::{Cursor, Entry, Node, Tree};

/// How much of a large file is written before the disk begins to write it. Restoring 1 GiB takes three quarters of the time
/// that it takes if the disk begins at the end. Neither 1 nor 16 MiB was clearly faster.
const WRITE_BACK_BYTES: u64 = 8 << 20;

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
    target::check::<D>(tree, &at.path, at.must_be_dir)?;
    if target::must_remove(at.state()?, tree, existing, &at.path)? {
        remove_root(at, cancel)?;
    }
    let mut cursor = Cursor::default();
    let Some(root) = cursor.next(tree) else {
        return Err(Error::corrupt("the tree has no root"));
    };
    let (mut levels, mut staged, mut file_system) = (Vec::new(), None, None);
    if tree.is_dir() {
        let dir = begin_root(at, cancel)?;
        if tree.len() >= MANY_ENTRIES {
            // Opened before anything is written, because it reports the errors since then.
            file_system = dir.file_system();
        }
        levels.push(Arc::new(OpenDir {
            dir,
            entry: root.clone(),
        }));
    } else {
        staged = Some(StagedFile::begin(at)?);
    }
    let durability = match file_system {
        Some(_) => Durability::AtOnce,
        None => Durability::Each,
    };
    let job = Arc::new(Job::new(durability, cancel));
    let workers = match tree.len() > BATCH_ENTRIES {
        true => Workers::new(&job),
        false => None,
    };
    let mut writer = DirWriter {
        tree: tree.clone(),
        cursor,
        file: None,
        batch: Batch::default(),
        unsynced: Vec::new(),
        workers,
        levels,
        staged,
        file_system,
        job,
    };
    if let (Some(staged), Node::File { size_bytes }) = (&writer.staged, &root.node) {
        let (file, size_bytes) = (staged.create().map_err(|f| f.at(&at.path))?, *size_bytes);
        writer.begin_file(Some(file), root, size_bytes)?;
    }
    Ok(Box::new(writer))
}

/// Creates the entries of a tree, each file as its contents arrive.
struct DirWriter<D: DirHandle> {
    tree: Tree,
    /// The next entry to create.
    cursor: Cursor,
    file: Option<OpenFile<D::File>>,
    /// What the workers create next.
    batch: Batch<D>,
    /// Complete files, with their paths, where there are no workers.
    unsynced: Vec<(D::File, String)>,
    workers: Option<Workers<D>>,
    /// The directories from the root to the current position. The marker stays in the root until everything
    /// beneath it is durable.
    levels: Vec<Arc<OpenDir<D>>>,
    /// The only file, if the tree is a single file.
    staged: Option<StagedFile<D>>,
    /// What makes everything durable at once.
    file_system: Option<Box<dyn FileSystem>>,
    /// The last field, because the call counts as running until it is dropped.
    job: Arc<Job>,
}

/// A file that does not have all of its contents yet.
struct OpenFile<F> {
    /// `None` for one that the workers will create.
    file: Option<F>,
    entry: Entry,
    missing: u64,
    /// What the disk has not begun to write.
    not_begun: Range<u64>,
}

impl<F: FileHandle> OpenFile<F> {
    /// Lets the disk write what it has not begun to write, if that is much.
    fn write_back(&mut self) {
        let Range { start, end } = self.not_begun;
        if end - start < WRITE_BACK_BYTES {
            return;
        }
        if let Some(file) = &self.file {
            file.write_back(start..end);
        }
        self.not_begun = end..end;
    }
}

impl<D: DirHandle> TreeWriter for DirWriter<D> {
    fn write(&mut self, piece: &[u8]) -> Result<()> {
        let written = self.write_all(piece);
        self.stopped_if_failed(written)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let finished = self.finish_all();
        self.stopped_if_failed(finished)
    }
}

impl<D: DirHandle> DirWriter<D> {
    /// After an error nothing more is written, so that the caller may begin again.
    fn stopped_if_failed(&mut self, result: Result<()>) -> Result<()> {
        if let (Err(_), Some(workers)) = (&result, &mut self.workers) {
            workers.stop();
        }
        result
    }

    fn write_all(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            self.job.check()?;
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
            match &mut open.file {
                Some(file) => {
                    let written = file.write_all(part);
                    written.map_err(|f| f.at(&open.entry.path))?;
                }
                None => self.batch.extend(part),
            }
            open.missing -= part.len() as u64;
            open.not_begun.end += part.len() as u64;
            open.write_back();
            piece = rest;
            self.end_file_if_full()?;
        }
        Ok(())
    }

    fn finish_all(&mut self) -> Result<()> {
        let early = || Error::corrupt("the contents are shorter than the files of the tree");
        if self.file.is_some() {
            return Err(early());
        }
        while self.next_entry()? {
            if self.file.is_some() {
                return Err(early());
            }
        }
        self.send_batch()?;
        if let Some(workers) = &mut self.workers {
            workers.finish()?;
        }
        self.sync_files()?;
        if let Some(staged) = &self.staged {
            self.job.check()?;
            return staged.finish();
        }
        while self.levels.len() > 1 {
            self.job.check()?;
            self.end_level()?;
        }
        self.job.check()?;
        if let Some(file_system) = &self.file_system {
            file_system.sync().map_err(|f| f.at(""))?;
            self.job.check()?;
        }
        // Everything beneath is durable, so the directory is now complete.
        match self.levels.pop().and_then(Arc::into_inner) {
            Some(root) => {
                let unmarked = root.dir.remove_file(Path::new(RESTORING));
                unmarked.map_err(|f| f.at(""))?;
                self.job.finish_root(&root)
            }
            None => Err(Error::corrupt("the tree has no root")),
        }
    }

    /// Creates the next entry. Returns false if there is none.
    fn next_entry(&mut self) -> Result<bool> {
        self.job.check()?;
        let Some(entry) = self.cursor.next(&self.tree) else {
            return Ok(false);
        };
        // The entries of a directory follow it, so an entry outside it means that it is complete.
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        let dir = loop {
            match self.levels.last() {
                Some(level) if level.entry.path == parent => break level.clone(),
                Some(_) => self.end_level()?,
                None => {
                    let what = "an entry's parent is not a directory of the tree";
                    return Err(Error::corrupt(what));
                }
            }
        };
        let (name, here) = (Path::new(name), |f: Failure| f.at(&entry.path));
        match &entry.node {
            Node::Dir => {
                dir.dir.create_dir(name).map_err(here)?;
                let dir = dir.dir.open_dir(name, Links::NoFollow).map_err(here)?;
                self.levels.push(Arc::new(OpenDir { dir, entry }));
            }
            Node::File { size_bytes } => {
                let file = match self.workers.is_some() && *size_bytes <= SMALL_BYTES {
                    true => None,
                    false => Some(dir.dir.create_file(name).map_err(here)?),
                };
                let size_bytes = *size_bytes;
                self.begin_file(file, entry, size_bytes)?;
            }
            Node::Link { target } => match self.workers.is_some() {
                true => self.push(entry)?,
                false => dir
                    .dir
                    .create_link(name, target, entry.modified)
                    .map_err(here)?,
            },
        }
        Ok(true)
    }

    /// Leaves the current directory. If workers still fill it, the last of them finishes it.
    fn end_level(&mut self) -> Result<()> {
        match self.levels.pop() {
            Some(full) => self.job.release(full),
            None => Ok(()),
        }
    }

    fn begin_file(&mut self, file: Option<D::File>, entry: Entry, size_bytes: u64) -> Result<()> {
        self.file = Some(OpenFile {
            file,
            entry,
            missing: size_bytes,
            not_begun: 0..0,
        });
        self.end_file_if_full()
    }

    fn end_file_if_full(&mut self) -> Result<()> {
        let Some(OpenFile { file, entry, .. }) = self.file.take_if(|open| open.missing == 0) else {
            return Ok(());
        };
        let Some(mut file) = file else {
            return self.push(entry);
        };
        let set = file.set_metadata(entry.mode, entry.modified);
        set.map_err(|f| f.at(&entry.path))?;
        if self.job.syncs_at_once() {
            return Ok(());
        }
        if self.workers.is_some() {
            // Another thread waits for the disk while this one writes the next file.
            self.batch.push_written(file, entry.path);
            return self.send_batch();
        }
        self.unsynced.push((file, entry.path));
        match self.unsynced.len() < UNSYNCED_FILES {
            true => Ok(()),
            false => self.sync_files(),
        }
    }

    fn sync_files(&mut self) -> Result<()> {
        for (file, path) in self.unsynced.drain(..) {
            self.job.check()?;
            self.job.sync_file(&file, &path)?;
        }
        Ok(())
    }

    /// Lets the workers create an entry of the current directory.
    fn push(&mut self, entry: Entry) -> Result<()> {
        if let Some(level) = self.levels.last() {
            self.batch.push(level.clone(), entry);
        }
        match self.batch.is_full() {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    fn send_batch(&mut self) -> Result<()> {
        match &mut self.workers {
            Some(workers) if !self.batch.is_empty() => {
                workers.send(std::mem::take(&mut self.batch))
            }
            _ => Ok(()),
        }
    }
}
