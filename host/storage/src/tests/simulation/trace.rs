//! The events of a run, in order.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<String>,
    /// The number of requests that processes sent.
    pub(super) operations: u64,
    /// The number of requests that failed for their senders.
    pub(super) failed: u64,
}

impl Trace {
    /// Appends an event. Process 0 is the simulation itself.
    pub(super) fn note(&mut self, at: Duration, process: u32, what: impl fmt::Display) {
        let at = at.as_millis();
        self.lines
            .push(format!("{at:>6} ms, process {process}: {what}"));
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        blake3::hash(self.lines.join("\n").as_bytes())
    }
}
