//! Writing a tree to a directory.

use std::path::Path;

use checkpoint_storage::target::{self, MAX_DEPTH, RESTORING, name_the_file};
use checkpoint_storage::{
    Entry, Error, ErrorKind, Existing, FileTree, Node, Result, Tree, TreeWriter,
};
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};

use super::{Beneath, failed, names, open_dir, open_inner, to_wasi};

/// How many files are written before they are synced. The first sync of a journal takes the others'
/// contents with it, so syncing many at a time is nearly as fast as one.
const UNSYNCED_FILES: usize = 256;

pub(super) fn writer(at: &Beneath, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>> {
    let entries = tree.entries().to_vec();
    // Before anything is removed.
    check_links(tree)?;
    let path = Path::new(&at.path);
    target::check(tree, path)?;
    if target::gives_way(at.state()?, tree, existing, path)? {
        remove(&at.dir, at.name()).map_err(|e| at.failed(e))?;
    }
    let whole = match tree.is_dir() {
        true => Whole::Dir(begin_root(at)?),
        false => Whole::File(Staged::begin(at)?),
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

/// WASI makes no link to an absolute path.
fn check_links(tree: &Tree) -> Result<()> {
    let is_absolute =
        |entry: &&Entry| matches!(&entry.node, Node::Link { target } if target.starts_with('/'));
    match tree.entries().iter().find(is_absolute) {
        None => Ok(()),
        Some(Entry { path, .. }) => Err(Error::new(
            ErrorKind::InvalidPath,
            format!(
                "{path:?}: this link leads to an absolute path, which WASI does not make; `wasm-checkpoint run` and `export` do"
            ),
        )),
    }
}

/// Removes a file, a link or a directory with all that is in it. Links are not followed.
fn remove(dir: &Descriptor, name: &str) -> Result<(), ErrorCode> {
    if dir.stat_at(PathFlags::empty(), name)?.type_ != DescriptorType::Directory {
        return dir.unlink_file_at(name);
    }
    clear(&open_inner(dir, name)?, |_| true)?;
    dir.remove_directory_at(name)
}

/// Removes what is in a directory and of a name that goes.
fn clear(dir: &Descriptor, goes: impl Fn(&str) -> bool) -> Result<(), ErrorCode> {
    // By a stack of its own, because a task may nest directories as deep as it likes.
    let mut open: Vec<(Option<String>, Descriptor, Vec<String>)> = Vec::new();
    let mut here = names(dir)?;
    here.retain(|name| goes(name));
    loop {
        let depth = open.len();
        let (parent, pending) = match open.last_mut() {
            Some((_, inner, pending)) => (&*inner, pending),
            None => (dir, &mut here),
        };
        let Some(name) = pending.pop() else {
            let Some((name, _, _)) = open.pop() else {
                return Ok(());
            };
            let parent = open.last().map_or(dir, |(_, inner, _)| inner);
            if let Some(name) = name {
                parent.remove_directory_at(&name)?;
            }
            continue;
        };
        if parent.stat_at(PathFlags::empty(), &name)?.type_ == DescriptorType::Directory {
            if depth == MAX_DEPTH {
                return Err(ErrorCode::Loop);
            }
            let inner = open_inner(parent, &name)?;
            let pending = names(&inner)?;
            open.push((Some(name), inner, pending));
        } else {
            parent.unlink_file_at(&name)?;
        }
    }
}

/// Makes the entries of a tree one after the other, each file as its contents arrive.
struct Writer {
    whole: Whole,
    entries: Vec<Entry>,
    /// The index of the next entry to be made.
    next: usize,
    /// The directories from the root to where the writing is.
    levels: Vec<Level>,
    file: Option<OpenFile>,
    unsynced: Vec<Descriptor>,
}

/// What the tree is as a whole.
enum Whole {
    /// The directory, in which the marker lies until everything beneath is durable.
    Dir(Option<Descriptor>),
    File(Staged),
}

/// A directory that is being filled, and the index of its entry.
struct Level {
    dir: Descriptor,
    entry: usize,
}

/// A file that lacks some of its contents.
struct OpenFile {
    file: Descriptor,
    entry: usize,
    written: u64,
    size_bytes: u64,
}

/// A file that appears under its name when it is whole and durable.
struct Staged {
    dir: Descriptor,
    name: String,
    staged: String,
}

impl TreeWriter for Writer {
    fn write(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            while self.file.is_none() {
                if !self.next_entry()? {
                    let what = "more contents than the files of the tree hold";
                    return Err(corrupt(what));
                }
            }
            let Some(open) = &mut self.file else { continue };
            let missing = open.size_bytes - open.written;
            let most = usize::try_from(missing).map_or(piece.len(), |n| n.min(piece.len()));
            let part = piece.get(..most).unwrap_or(piece);
            let written = open.file.write(part, open.written);
            let entry = open.entry;
            let written = written.map_err(|e| failed(path_of(&self.entries, entry), e))?;
            // No host writes more than it was given.
            let written = written.min(part.len() as u64);
            if written == 0 {
                let what = "nothing is written any more";
                return Err(Error::new(ErrorKind::Other, what));
            }
            open.written += written;
            piece = piece.get(written as usize..).unwrap_or_default();
            self.end_file_if_full()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let early = || corrupt("the contents end too early");
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
            if self.levels.is_empty() {
                // Everything beneath is durable, so the directory is whole from here on.
                full.dir
                    .unlink_file_at(RESTORING)
                    .map_err(|e| failed("", e))?;
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
        let Some(entry) = self.entries.get(index).cloned() else {
            return Ok(false);
        };
        self.next += 1;
        if index == 0 {
            match &mut self.whole {
                Whole::Dir(dir) => {
                    self.levels
                        .extend(dir.take().map(|dir| Level { dir, entry: 0 }));
                }
                Whole::File(staged) => {
                    let file = create(&staged.dir, &staged.staged);
                    self.begin_file(file.map_err(|e| failed("", e))?, &entry, 0)?;
                }
            }
            return Ok(true);
        }
        // The entries of a directory follow it. When one comes that is not in it, it is full.
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        while let Some(full) = self
            .levels
            .pop_if(|level| path_of(&self.entries, level.entry) != parent)
        {
            self.finish_dir(full)?;
        }
        let Some(level) = self.levels.last() else {
            return Err(corrupt("a tree with an entry in no directory"));
        };
        let here = |e| failed(&entry.path, e);
        match &entry.node {
            Node::Dir => {
                level.dir.create_directory_at(name).map_err(here)?;
                let dir = open_inner(&level.dir, name).map_err(here)?;
                self.levels.push(Level { dir, entry: index });
            }
            Node::File { .. } => {
                let file = create(&level.dir, name).map_err(here)?;
                self.begin_file(file, &entry, index)?;
            }
            Node::Link { target } => {
                level.dir.symlink_at(target, name).map_err(here)?;
                let time = NewTimestamp::Timestamp(to_wasi(entry.modified));
                let (flags, keep) = (PathFlags::empty(), NewTimestamp::NoChange);
                level
                    .dir
                    .set_times_at(flags, name, keep, time)
                    .map_err(here)?;
            }
        }
        Ok(true)
    }

    fn begin_file(&mut self, file: Descriptor, entry: &Entry, index: usize) -> Result<()> {
        let Node::File { size_bytes } = entry.node else {
            return Err(corrupt("a tree whose root is a link"));
        };
        self.file = Some(OpenFile {
            file,
            entry: index,
            written: 0,
            size_bytes,
        });
        self.end_file_if_full()
    }

    fn end_file_if_full(&mut self) -> Result<()> {
        let full = |open: &mut OpenFile| open.written == open.size_bytes;
        let Some(open) = self.file.take_if(full) else {
            return Ok(());
        };
        self.set_time(&open.file, open.entry)?;
        self.unsynced.push(open.file);
        match self.unsynced.len() < UNSYNCED_FILES {
            true => Ok(()),
            false => self.sync_files(),
        }
    }

    fn sync_files(&mut self) -> Result<()> {
        for file in self.unsynced.drain(..) {
            file.sync().map_err(|e| failed("", e))?;
        }
        Ok(())
    }

    /// Gives a directory that is full its time, which making its entries has changed.
    fn finish_dir(&self, level: Level) -> Result<()> {
        self.set_time(&level.dir, level.entry)?;
        let here = |e| failed(path_of(&self.entries, level.entry), e);
        level.dir.sync().map_err(here)
    }

    fn set_time(&self, at: &Descriptor, entry: usize) -> Result<()> {
        let Some(entry) = self.entries.get(entry) else {
            return Ok(());
        };
        let time = NewTimestamp::Timestamp(to_wasi(entry.modified));
        let set = at.set_times(NewTimestamp::NoChange, time);
        set.map_err(|e| failed(&entry.path, e))
    }
}

impl Staged {
    fn begin(at: &Beneath) -> Result<Self> {
        let (parent, name) = at.path.rsplit_once('/').unwrap_or(("", &at.path));
        if name.is_empty() {
            return Err(name_the_file(Path::new(&at.path)));
        }
        let dir = make_dirs(at, parent)?;
        let staged = target::staged_name(name);
        // What a restore that was interrupted has left.
        match dir.unlink_file_at(&staged) {
            Ok(()) | Err(ErrorCode::NoEntry) => {}
            Err(code) => return Err(at.failed(code)),
        }
        let name = name.to_owned();
        Ok(Self { dir, name, staged })
    }

    fn finish(&self) -> Result<()> {
        let renamed = self.dir.rename_at(&self.staged, &self.dir, &self.name);
        let synced = renamed.and_then(|()| self.dir.sync());
        synced.map_err(|e| failed(&self.name, e))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone if it was finished. What cannot be removed now is by the next restore.
        let _ = self.dir.unlink_file_at(&self.staged);
    }
}

/// Opens the directory that the tree will be, empty but for the marker.
fn begin_root(at: &Beneath) -> Result<Option<Descriptor>> {
    let here = |e| at.failed(e);
    let dir = make_dirs(at, &at.path)?;
    let (flags, open) = (PathFlags::empty(), OpenFlags::CREATE);
    dir.open_at(flags, RESTORING, open, DescriptorFlags::WRITE)
        .map_err(here)?;
    dir.sync().map_err(here)?;
    clear(&dir, |name| name != RESTORING).map_err(here)?;
    Ok(Some(dir))
}

/// Opens a directory beneath another one, which is made if it is missing.
fn make_dirs(at: &Beneath, path: &str) -> Result<Descriptor> {
    let here = |e| failed(path, e);
    let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    let mut dir = open_dir(&at.dir, ".", flags).map_err(here)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        dir = match open_dir(&dir, name, flags) {
            Err(ErrorCode::NoEntry) => {
                dir.create_directory_at(name).map_err(here)?;
                // The name of a new directory is durable when its parent is.
                dir.sync().map_err(here)?;
                open_dir(&dir, name, flags).map_err(here)?
            }
            opened => opened.map_err(here)?,
        };
    }
    Ok(dir)
}

fn create(dir: &Descriptor, name: &str) -> Result<Descriptor, ErrorCode> {
    let open = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    dir.open_at(PathFlags::empty(), name, open, DescriptorFlags::WRITE)
}

fn path_of(entries: &[Entry], index: usize) -> &str {
    entries.get(index).map_or("", |entry| &entry.path)
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}
