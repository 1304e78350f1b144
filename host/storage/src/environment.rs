//! The crate's dependencies on its surroundings: time, random numbers, threads, and the sizes by
//! which it stores. All of them come from here, so that a test can replace them and repeat a run.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::blocking::Threads;
use crate::contents::sizes::Sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{LocationId, WriteId};

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of day, which is stamped on records and trees. Nothing relies on it.
    fn now(&self) -> SystemTime;

    /// Returns a monotonic time, for rates and waits.
    fn instant(&self) -> Instant;
}

/// A source of random bytes.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes`. No two processes may receive the same 16 bytes: they identify the writer of a
    /// record.
    ///
    /// # Errors
    /// If no random bytes are available.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The clock and randomness of an [`OpenLocation`](crate::OpenLocation) and of everything that uses
/// it. The default is the machine's own clock and randomness.
#[derive(Clone, Debug)]
pub struct Environment {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    threads: Threads,
    sizes: Sizes,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            clock: Arc::new(System),
            randomness: Arc::new(System),
            threads: Threads::default(),
            sizes: Sizes::default(),
        }
    }
}

impl Environment {
    /// Uses this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Uses this source of random bytes.
    #[must_use]
    pub fn with_randomness(mut self, randomness: impl Randomness) -> Self {
        self.randomness = Arc::new(randomness);
        self
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn write_id(&self) -> Result<WriteId> {
        self.random().map(WriteId)
    }

    pub(crate) fn location_id(&self) -> Result<LocationId> {
        self.random().map(LocationId)
    }

    fn random(&self) -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes).map_err(|e| {
            Error::new(
                ErrorKind::Other,
                "cannot get random numbers from this machine",
            )
            .with_source(e)
        })?;
        Ok(bytes)
    }

    pub(crate) fn threads(&self) -> Threads {
        self.threads
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }
}

#[cfg(test)]
impl Environment {
    /// Uses one thread, so that a run is repeatable.
    pub(crate) fn on_one_thread() -> Self {
        Self {
            threads: Threads::One,
            ..Self::default()
        }
    }

    /// Uses one thread and small sizes, so that a few KiB make many chunks.
    pub(crate) fn simulated() -> Self {
        Self::on_one_thread().with_sizes(Sizes::small())
    }

    pub(crate) fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }
}

/// This machine's clock and randomness.
#[derive(Debug)]
struct System;

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where this crate asks the machine for the time"
)]
impl Clock for System {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where this crate asks the machine for random bytes"
)]
impl Randomness for System {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}
