//! Work that blocks or computes, kept off the executor where the host has threads; and work that goes
//! on while nobody asks for its result.

use crate::error::Result;

/// Where work that blocks is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On tokio's threads for blocking work; where there are none, as on wasm, at once.
    #[default]
    Pool,
    /// As a task of the runtime's own thread, so that a simulation can be repeated.
    #[cfg(test)]
    One,
}

/// Runs `work` on a thread that may block; on wasm, which has none, at once. Where there are threads
/// it begins when this is called, not when the answer is awaited.
///
/// # Errors
/// `Other` if the runtime is shutting down.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn run<T: Send + 'static>(
    threads: Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    use crate::error::{Error, ErrorKind};

    let running = match threads {
        Threads::Pool => tokio::task::spawn_blocking(work),
        #[cfg(test)]
        Threads::One => tokio::spawn(async { work() }),
    };
    async {
        running.await.map_err(|e| {
            Error::new(ErrorKind::Other, "a storage thread ended before its work").with_source(e)
        })
    }
}

#[cfg(target_family = "wasm")]
pub(crate) async fn run<T: Send + 'static>(
    _threads: Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    Ok(work())
}

/// Starts work that goes on by itself. Dropping the answer does not end it; it is to be short.
///
/// # Errors
/// `Other` if the runtime is shutting down.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    use crate::{Error, ErrorKind};

    let started = tokio::spawn(work);
    async {
        started.await.map_err(|e| {
            Error::new(ErrorKind::Other, "a storage task ended before its work").with_source(e)
        })?
    }
}

/// On one thread nothing goes on by itself.
#[cfg(target_family = "wasm")]
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    work
}

/// At most one piece of work that nobody waits for, unless it is to be sure that it is done. Ends when
/// this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Background {
    #[cfg(not(target_family = "wasm"))]
    running: tokio::task::JoinSet<()>,
}

impl Background {
    /// Begins `work`, after the one before has ended. On wasm, does it.
    pub(crate) async fn begin(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.wait().await;
        #[cfg(not(target_family = "wasm"))]
        self.running.spawn(work);
        #[cfg(target_family = "wasm")]
        work.await;
    }

    /// Waits until nothing runs.
    pub(crate) async fn wait(&mut self) {
        #[cfg(not(target_family = "wasm"))]
        while self.running.join_next().await.is_some() {}
    }
}
