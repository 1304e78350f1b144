//! Runs blocking or CPU-bound work off the executor where the host has threads, and runs short work
//! in the background.

use crate::error::Result;

/// Where blocking work runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On tokio's blocking threads; inline where there are none, as on wasm.
    #[default]
    Pool,
    /// As a task on the runtime's own thread, so that a simulation is repeatable.
    #[cfg(test)]
    One,
}

/// Runs `work` on a thread that may block; inline on wasm, which has no threads. With threads, the
/// work starts when this is called, not when the returned future is awaited. Dropping the future does
/// not stop the work: long work checks a [`Cancel`](crate::cancel::Cancel).
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
            Error::new(
                ErrorKind::Other,
                "a storage thread ended before its work was done",
            )
            .with_source(e)
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

/// Starts background work. Dropping the returned future aborts it.
///
/// # Errors
/// `Other` if the runtime is shutting down.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    use crate::{Error, ErrorKind};

    let started = AbortOnDrop(tokio::spawn(work));
    async {
        started.await.map_err(|e| {
            Error::new(
                ErrorKind::Other,
                "a storage task ended before its work was done",
            )
            .with_source(e)
        })?
    }
}

/// A task that ends with whoever waits for it.
#[cfg(not(target_family = "wasm"))]
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

#[cfg(not(target_family = "wasm"))]
impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

#[cfg(not(target_family = "wasm"))]
impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// With a single thread nothing runs in the background.
#[cfg(target_family = "wasm")]
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    work
}

/// At most one background task, which nobody needs to await except to be sure that it has finished.
/// Dropping this aborts the task.
#[derive(Debug, Default)]
pub(crate) struct Background {
    #[cfg(not(target_family = "wasm"))]
    running: tokio::task::JoinSet<()>,
}

impl Background {
    /// Starts `work` after the previous work has finished. On wasm, runs it to completion.
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
