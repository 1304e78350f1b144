//! What this crate takes from the world around it: the time, random numbers, threads, and the sizes of what
//! it stores. Everything comes from here, so that a test can replace it and repeat a run.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::blocking::Threads;
use crate::contents::sizes::Sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::format::WriteId;

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day, which records and trees are stamped with. Nothing relies on it.
    fn now(&self) -> SystemTime;

    /// A time that never goes back, for rates and waits.
    fn instant(&self) -> Instant;
}

/// A source of random bytes.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes`. No two processes may be given the same 16 bytes: they tell whose a record is.
    ///
    /// # Errors
    /// If the source has none.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// What an [`OpenLocation`](crate::OpenLocation) and everything that uses it take from the world. The default
/// is the machine's own clock and randomness.
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
    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Takes random bytes from here.
    #[must_use]
    pub fn with_randomness(mut self, randomness: impl Randomness) -> Self {
        self.randomness = Arc::new(randomness);
        self
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn write_id(&self) -> Result<WriteId> {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes).map_err(|e| {
            Error::new(ErrorKind::Other, "this machine gives no random numbers").with_source(e)
        })?;
        Ok(WriteId(bytes))
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
    /// One thread and small sizes, so that a run can be repeated and a few KiB are many chunks.
    pub(crate) fn simulated() -> Self {
        Self {
            threads: Threads::One,
            sizes: Sizes::small(),
            ..Self::default()
        }
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
