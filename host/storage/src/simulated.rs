//! What is different while the tests simulate: sizes, so that a few KiB are as many chunks and data objects
//! as a few MiB are elsewhere; and threads, of which there is one, so that a run can be repeated. In a build
//! without tests nothing is.

/// A size as it is meant, but in a simulation.
#[cfg(not(test))]
pub(crate) const fn scaled(bytes: usize) -> usize {
    bytes
}

#[cfg(not(any(test, target_family = "wasm")))]
pub(crate) use tokio::task::spawn_blocking;

#[cfg(test)]
pub(crate) use self::switched::{scaled, simulate, spawn_blocking};

#[cfg(test)]
mod switched {
    use std::cell::Cell;

    use tokio::task::JoinHandle;

    /// The smallest chunks that the cutting allows are larger than what this makes of them.
    const SCALE: usize = 256;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// What this thread does in `work` is a simulation.
    pub(crate) fn simulate<T>(work: impl FnOnce() -> T) -> T {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(false);
            }
        }
        ON.set(true);
        // When it panics too: the next test may run on the same thread.
        let _off = Off;
        work()
    }

    pub(crate) fn scaled(bytes: usize) -> usize {
        match ON.get() {
            true => bytes / SCALE,
            false => bytes,
        }
    }

    pub(crate) fn spawn_blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match ON.get() {
            true => tokio::spawn(async { work() }),
            false => tokio::task::spawn_blocking(work),
        }
    }
}
