//! The names of an attempt's data objects, and which of these objects are garbage.
//!
//! A name is used only once, so deleting an object late, twice or in vain does no harm. An object
//! that a commit refers to or may refer to is never deleted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contents::usage::{Usage, sum};
use crate::error::Result;
use crate::format::ObjectName;
use crate::limits::Limits;

/// State shared by the saves of one attempt.
#[derive(Debug)]
pub(crate) struct Objects {
    epoch: u64,
    counter: AtomicU64,
    garbage: Mutex<Garbage>,
    usage: Arc<Usage>,
}

/// A data object and its size, which is 0 before its upload begins.
pub(crate) type SizedObject = (ObjectName, u64);

/// Data objects that no commit refers to.
#[derive(Debug, Default)]
struct Garbage {
    /// No commit that names them was ever put: they can be deleted at once.
    unused: Vec<SizedObject>,
    /// A commit that names them was put, and its outcome is unknown. They can be deleted once a
    /// later commit is acknowledged, which decides every slot up to its own.
    undecided: Vec<SizedObject>,
}

/// The objects of a save in flight. They become garbage when this is dropped, unless a commit that
/// refers to them succeeded.
#[derive(Debug)]
pub(crate) struct StagedObjects {
    objects: Arc<Objects>,
    names: Vec<SizedObject>,
    offered: bool,
}

impl Objects {
    pub(crate) fn new(epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            counter: AtomicU64::new(0),
            garbage: Mutex::default(),
            usage: Arc::default(),
        })
    }

    /// Returns what the location holds.
    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub(crate) fn stage(self: &Arc<Self>) -> StagedObjects {
        StagedObjects {
            objects: self.clone(),
            names: Vec::new(),
            offered: false,
        }
    }

    /// Takes the objects that can be deleted at any time.
    pub(crate) fn take_unused(&self) -> Vec<SizedObject> {
        let unused = std::mem::take(&mut self.lock().unused);
        self.usage.take_unused(sum_of(&unused));
        unused
    }

    /// Takes the objects that can be deleted now that a commit is acknowledged.
    pub(crate) fn take_decided(&self) -> Vec<SizedObject> {
        let mut names = self.take_unused();
        let mut undecided = std::mem::take(&mut self.lock().undecided);
        self.usage.unstage(sum_of(&undecided));
        names.append(&mut undecided);
        names
    }

    // A std mutex is enough, because it is never held across an await.
    fn lock(&self) -> MutexGuard<'_, Garbage> {
        self.garbage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StagedObjects {
    /// Returns a name that no data object of this location has had.
    pub(crate) fn next_name(&mut self) -> ObjectName {
        let name = ObjectName {
            epoch: self.objects.epoch,
            counter: self.objects.counter.fetch_add(1, Ordering::Relaxed),
        };
        self.names.push((name, 0));
        name
    }

    /// Counts an object that is about to be uploaded.
    ///
    /// # Errors
    /// `QuotaExceeded` if the location would hold too much with it.
    pub(crate) async fn grow(
        &mut self,
        name: ObjectName,
        size_bytes: u64,
        limits: &Limits,
    ) -> Result<()> {
        let usage = &self.objects.usage;
        usage.check(size_bytes, self.size_bytes(), limits).await?;
        usage.stage(size_bytes);
        let object = self.names.iter_mut().rev().find(|(own, _)| *own == name);
        if let Some((_, size)) = object {
            *size = size_bytes;
        }
        Ok(())
    }

    /// Returns the size of the objects together.
    pub(crate) fn size_bytes(&self) -> u64 {
        sum_of(&self.names)
    }

    /// Records that a commit which refers to the objects is about to be put. Call it before the
    /// put, whose future may be dropped in flight. Nothing reverts this: whatever a store answers,
    /// it may be answering a retry of a put that took effect.
    pub(crate) fn offer(&mut self) {
        self.offered = true;
    }

    pub(crate) fn holds(&self, name: ObjectName) -> bool {
        self.names.iter().any(|(own, _)| *own == name)
    }

    /// Keeps the objects, because the commit succeeded.
    pub(crate) fn keep(mut self) {
        self.objects.usage.unstage(self.size_bytes());
        self.names.clear();
    }
}

impl Drop for StagedObjects {
    fn drop(&mut self) {
        if !self.offered {
            self.objects.usage.discard(self.size_bytes());
        }
        let mut garbage = self.objects.lock();
        match self.offered {
            true => garbage.undecided.append(&mut self.names),
            false => garbage.unused.append(&mut self.names),
        }
    }
}

fn sum_of(objects: &[SizedObject]) -> u64 {
    sum(objects.iter().map(|(_, size_bytes)| *size_bytes))
}
