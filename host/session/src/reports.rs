//! Events about what a guest's calls ran into.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use checkpoint_storage::{Attempt, Error};
use tracing::{debug, warn};

/// The number of failures of one attempt that are reported as warnings: enough to see what goes wrong, too few to
/// fill a log.
pub(crate) const MAX_WARNINGS: u32 = 50;

/// Reports the failures of one attempt as `tracing` events. Only the first ones are warnings, because a guest can
/// make calls that fail in a loop.
#[derive(Debug)]
pub(crate) struct Reports {
    attempt: Arc<Attempt>,
    /// The number of failures so far.
    count: AtomicU32,
}

impl Reports {
    pub(crate) fn new(attempt: Arc<Attempt>) -> Self {
        Self {
            attempt,
            count: AtomicU32::new(0),
        }
    }

    /// Reports what failed, and why.
    pub(crate) fn failure(&self, what: &str, error: &Error) {
        let location = self.attempt.location();
        let counted = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
        // At the maximum, the count stays.
        let before = counted.unwrap_or(u32::MAX);
        if before < MAX_WARNINGS {
            warn!(%location, "{what}: {}", error.with_causes());
            return;
        }
        if before == MAX_WARNINGS {
            warn!(%location, "{MAX_WARNINGS} calls of this attempt have failed; further failures are events of level debug");
        }
        debug!(%location, "{what}: {}", error.with_causes());
    }
}
