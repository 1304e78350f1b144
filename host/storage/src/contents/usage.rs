//! How many bytes a location holds, as its attempt knows, and whether a save may add more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::path::Path;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Everything in a location that counts against [`Limits::stored_bytes`]. The saves of an attempt share it, so that
/// several at a time cannot exceed the quota together.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    bytes: Mutex<Bytes>,
    /// Notified when a deletion ends.
    deleted: Notify,
}

/// Sums of sizes. They saturate, because a forged record may state any size.
#[derive(Debug, Default)]
struct Bytes {
    /// Records that are never deleted.
    permanent: u64,
    /// Records and data of the checkpoints that are retained, or that are still read or reused.
    kept: u64,
    /// Data objects of saves in flight, and of saves whose outcome is unknown.
    staged: u64,
    /// Data objects of failed saves, which are deleted before the next save stores anything, or at once if the quota
    /// refused their save.
    unused: u64,
    /// Objects whose deletion is in flight.
    deleting: u64,
    /// Objects that could not be deleted. Deleting them is tried again with every other deletion.
    undeleted: BTreeMap<Path, u64>,
}

impl Bytes {
    fn undeleted(&self) -> u64 {
        sum(self.undeleted.values().copied())
    }

    /// Returns what stays unless another commit succeeds.
    fn lasting(&self) -> u64 {
        sum([self.permanent, self.kept, self.staged, self.undeleted()])
    }
}

impl Usage {
    /// Sets the size of the records that are never deleted, and that of the checkpoints that are.
    pub(crate) fn set_records(&self, permanent: u64, kept: u64) {
        let mut bytes = self.lock();
        (bytes.permanent, bytes.kept) = (permanent, kept);
    }

    /// Returns what is left of a quota for the next save. What is being deleted, or will be before that save,
    /// does not count.
    pub(crate) fn left(&self, limits: &Limits) -> u64 {
        limits.stored_bytes.saturating_sub(self.lock().lasting())
    }

    /// Waits for deletions in flight if `more` bytes would exceed the quota with them.
    ///
    /// # Errors
    /// `QuotaExceeded` if the bytes would exceed the quota even then. `save` is the part of what is stored already
    /// that belongs to this save.
    pub(crate) async fn check(&self, more: u64, save: u64, limits: &Limits) -> Result<()> {
        loop {
            let deleted = self.deleted.notified();
            {
                let bytes = self.lock();
                let lasting = sum([bytes.lasting(), bytes.unused, more]);
                if sum([lasting, bytes.deleting]) <= limits.stored_bytes {
                    return Ok(());
                }
                if bytes.deleting == 0 {
                    return Err(bytes.refusal(sum([more, save]), limits.stored_bytes));
                }
            }
            deleted.await;
        }
    }

    /// Counts a data object of a save in flight.
    pub(crate) fn stage(&self, bytes: u64) {
        let mut sizes = self.lock();
        sizes.staged = sum([sizes.staged, bytes]);
    }

    /// Counts staged data objects as unused.
    pub(crate) fn discard(&self, bytes: u64) {
        self.unstage(bytes);
        let mut sizes = self.lock();
        sizes.unused = sum([sizes.unused, bytes]);
    }

    /// No longer counts staged data objects.
    pub(crate) fn unstage(&self, bytes: u64) {
        let mut sizes = self.lock();
        sizes.staged = sizes.staged.saturating_sub(bytes);
    }

    /// No longer counts unused data objects.
    pub(crate) fn take_unused(&self, bytes: u64) {
        let mut sizes = self.lock();
        sizes.unused = sizes.unused.saturating_sub(bytes);
    }

    /// Begins to delete objects, given with their sizes, and those that could not be deleted before.
    pub(crate) fn delete(
        self: &Arc<Self>,
        objects: impl IntoIterator<Item = (Path, u64)>,
    ) -> Deletion {
        let mut sizes = self.lock();
        let mut left = std::mem::take(&mut sizes.undeleted);
        left.extend(objects);
        sizes.deleting = sum([sizes.deleting, sum(left.values().copied())]);
        drop(sizes);
        Deletion {
            usage: self.clone(),
            left,
        }
    }

    // A std mutex is enough, because it is never held across an await.
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes {
    /// Returns why a save that needs `needed` bytes is refused.
    fn refusal(&self, needed: u64, most: u64) -> Error {
        let permanent = self.permanent;
        let undeleted = self.undeleted();
        let what = if sum([permanent, needed]) > most && needed <= most {
            format!(
                "the records of earlier attempts occupy {permanent} of the {most} bytes that this host permits \
                 in the storage, and are never deleted; permit more, or continue in a new location with this one \
                 as the previous one"
            )
        } else if undeleted > 0 {
            format!(
                "more than the {most} bytes in the storage that this host permits (including retained checkpoints, \
                 and {undeleted} bytes that could not be deleted)"
            )
        } else {
            format!(
                "more than the {most} bytes in the storage that this host permits (including retained checkpoints)"
            )
        };
        Error::new(ErrorKind::QuotaExceeded, what)
    }
}

/// Objects that are being deleted. Those not [confirmed](Self::confirm) when it is dropped count as stored.
#[derive(Debug)]
pub(crate) struct Deletion {
    usage: Arc<Usage>,
    left: BTreeMap<Path, u64>,
}

impl Deletion {
    /// Returns the objects that are left to delete, in ascending order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.left.keys()
    }

    /// Records the answer to one deletion.
    pub(crate) fn confirm(&mut self, answer: object_store::Result<Path>) {
        let deleted = match answer {
            Ok(path) => self.left.remove_entry(&path),
            // Some storages report what is gone already, with a name of their own.
            Err(object_store::Error::NotFound { path, .. }) => {
                let mut left = self.left.keys();
                let gone = left.find(|left| path.ends_with(left.as_ref())).cloned();
                gone.and_then(|gone| self.left.remove_entry(&gone))
            }
            Err(_) => None,
        };
        if let Some((_, size_bytes)) = deleted {
            let mut sizes = self.usage.lock();
            sizes.deleting = sizes.deleting.saturating_sub(size_bytes);
        }
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.left);
        let mut sizes = self.usage.lock();
        sizes.deleting = sizes.deleting.saturating_sub(sum(left.values().copied()));
        sizes.undeleted.extend(left);
        drop(sizes);
        self.usage.deleted.notify_waiters();
    }
}

/// Adds sizes that may be forged.
pub(crate) fn sum(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}
