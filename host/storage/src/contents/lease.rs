//! Leases, which keep a checkpoint from being deleted while it is read or reused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a checkpoint must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is being read, as a whole or as a stream.
    Read,
    /// It is being restored to a tree.
    Restore,
    /// A save in flight reuses its chunks.
    Reuse,
}

/// The leases of one attempt on the checkpoints in its log.
///
/// Taking one needs the exclusive access that the attempt's lock provides, so a caller that finds a
/// checkpoint holds a lease on it before any save can retire it.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Arc<Mutex<Held>>,
    next: u64,
}

/// The leases held, in the order in which they were taken.
type Held = BTreeMap<u64, Terms>;

#[derive(Debug)]
struct Terms {
    #[expect(dead_code, reason = "shown by Debug, to see what keeps a checkpoint")]
    purpose: Purpose,
    sequences: Vec<u64>,
}

/// Prevents the deletion of checkpoints until it is dropped.
#[derive(Debug)]
#[must_use = "checkpoints are kept only while the lease is held"]
pub(crate) struct Lease {
    id: u64,
    held: Arc<Mutex<Held>>,
}

impl Leases {
    /// Leases the checkpoints with these sequence numbers.
    pub(crate) fn take(
        &mut self,
        purpose: Purpose,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Lease {
        let id = self.next;
        self.next += 1;
        let sequences = sequences.into_iter().collect();
        lock(&self.held).insert(id, Terms { purpose, sequences });
        Lease {
            id,
            held: self.held.clone(),
        }
    }

    /// Returns whether anyone holds a lease on this checkpoint.
    pub(crate) fn cover(&self, sequence: u64) -> bool {
        let held = lock(&self.held);
        held.values()
            .any(|terms| terms.sequences.contains(&sequence))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.id);
    }
}

// A std mutex is enough, because it is never held across an await.
fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_kept_until_its_last_lease_is_dropped() {
        let mut leases = Leases::default();
        let read = leases.take(Purpose::Read, [7]);
        let save = leases.take(Purpose::Reuse, [7, 9]);
        assert!(leases.cover(7) && leases.cover(9) && !leases.cover(8));
        drop(save);
        assert!(leases.cover(7) && !leases.cover(9));
        drop(read);
        assert!(!leases.cover(7));
    }
}
