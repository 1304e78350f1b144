//! What all threads that write a tree know of it, and how its files and directories become durable.

use std::sync::Arc;

use super::handle::{DirHandle, FileHandle};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::tree::Entry;

/// The number of entries from which syncing the whole file system is faster than syncing each file, also beside a
/// process that writes 1 GiB after another: it waits for the data of that process too.
pub(super) const MANY_ENTRIES: usize = 2000;

/// How a tree is being written.
pub(super) struct Job {
    durability: Durability,
    /// The last field, because the call counts as running until it is dropped.
    cancel: Cancel,
}

/// When files and directories are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Each when it is complete. The root, whose marker says that something is missing, comes last.
    Each,
    /// All together, by syncing their file system once they are complete.
    AtOnce,
}

/// A directory being filled, and its entry. It is complete once nobody shares it any more.
pub(super) struct OpenDir<D> {
    pub(super) dir: D,
    pub(super) entry: Entry,
}

impl Job {
    pub(super) fn new(durability: Durability, cancel: &Cancel) -> Self {
        Self {
            durability,
            cancel: cancel.clone(),
        }
    }

    /// Checks that the call was not cancelled.
    pub(super) fn check(&self) -> Result<()> {
        self.cancel.check()
    }

    pub(super) fn syncs_at_once(&self) -> bool {
        self.durability == Durability::AtOnce
    }

    pub(super) fn sync_file(&self, file: &impl FileHandle, path: &str) -> Result<()> {
        match self.durability {
            Durability::Each => file.sync().map_err(|f| f.at(path)),
            Durability::AtOnce => Ok(()),
        }
    }

    /// Finishes a directory if the caller was the last to fill it.
    pub(super) fn release<D: DirHandle>(&self, dir: Arc<OpenDir<D>>) -> Result<()> {
        match Arc::into_inner(dir) {
            Some(dir) => self.finish_dir(&dir),
            None => Ok(()),
        }
    }

    /// Finishes the root after its marker is removed. Everything beneath it is durable.
    pub(super) fn finish_root<D: DirHandle>(&self, root: &OpenDir<D>) -> Result<()> {
        self.finish_dir(root)?;
        match self.durability {
            Durability::Each => Ok(()),
            Durability::AtOnce => root.dir.sync().map_err(|f| f.at("")),
        }
    }

    /// Sets the mode and time of a complete directory. Creating its entries would have changed them.
    fn finish_dir<D: DirHandle>(&self, OpenDir { dir, entry }: &OpenDir<D>) -> Result<()> {
        let set = dir.set_metadata(entry.mode, entry.modified);
        let synced = set.and_then(|()| match self.durability {
            Durability::Each => dir.sync(),
            Durability::AtOnce => Ok(()),
        });
        synced.map_err(|f| f.at(&entry.path))
    }
}
