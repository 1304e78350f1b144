//! A resource with at most one holder at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A slot for one holder at a time. All clones are the same slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<AtomicBool>);

/// Holds a slot until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Slot);

impl Slot {
    /// Takes the slot. Returns `None` if another holder has it.
    pub(crate) fn take(&self) -> Option<Held> {
        match self.0.swap(true, Ordering::AcqRel) {
            true => None,
            false => Some(Held(self.clone())),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
