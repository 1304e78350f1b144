//! The names of an attempt's data objects, and which of these objects are garbage.
//!
//! A name is used only once, so deleting an object late, twice or in vain does no harm. An object
//! that a commit refers to or may refer to is never deleted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::format::ObjectName;

/// State shared by the saves of one attempt.
#[derive(Debug)]
pub(crate) struct Objects {
    epoch: u64,
    counter: AtomicU64,
    garbage: Mutex<Garbage>,
}

/// Data objects that no commit refers to.
#[derive(Debug, Default)]
struct Garbage {
    /// No commit that names them was ever put: they can be deleted at once.
    unused: Vec<ObjectName>,
    /// A commit that names them was put, and its outcome is unknown. They can be deleted once a
    /// later commit is acknowledged, which decides every slot up to its own.
    undecided: Vec<ObjectName>,
}

/// The objects of a save in flight. They become garbage when this is dropped, unless a commit that
/// refers to them succeeded.
#[derive(Debug)]
pub(crate) struct StagedObjects {
    objects: Arc<Objects>,
    names: Vec<ObjectName>,
    offered: bool,
}

impl Objects {
    pub(crate) fn new(epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            counter: AtomicU64::new(0),
            garbage: Mutex::default(),
        })
    }

    pub(crate) fn stage(self: &Arc<Self>) -> StagedObjects {
        StagedObjects {
            objects: self.clone(),
            names: Vec::new(),
            offered: false,
        }
    }

    /// Takes the objects that can be deleted at any time.
    pub(crate) fn take_unused(&self) -> Vec<ObjectName> {
        std::mem::take(&mut self.lock().unused)
    }

    /// Takes the objects that can be deleted now that a commit is acknowledged.
    pub(crate) fn take_decided(&self) -> Vec<ObjectName> {
        let mut garbage = self.lock();
        let mut names = std::mem::take(&mut garbage.unused);
        names.append(&mut garbage.undecided);
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
        self.names.push(name);
        name
    }

    /// Records that a commit which refers to the objects is about to be put. Call it before the
    /// put, whose future may be dropped in flight. Nothing reverts this: whatever a store answers,
    /// it may be answering a retry of a put that took effect.
    pub(crate) fn offer(&mut self) {
        self.offered = true;
    }

    pub(crate) fn holds(&self, name: ObjectName) -> bool {
        self.names.contains(&name)
    }

    /// Keeps the objects, because the commit succeeded.
    pub(crate) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for StagedObjects {
    fn drop(&mut self) {
        let mut garbage = self.objects.lock();
        match self.offered {
            true => garbage.undecided.append(&mut self.names),
            false => garbage.unused.append(&mut self.names),
        }
    }
}
