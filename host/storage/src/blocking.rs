//! Work that blocks or computes, kept off the executor where the host has threads; and work that goes
//! on while nobody asks for its result yet.

use crate::Result;

/// Runs `work` on a thread that may block; on wasm, which has none, at once.
///
/// # Errors
/// `Other` if the runtime is shutting down.
#[cfg(not(target_family = "wasm"))]
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    use crate::{Error, ErrorKind};

    tokio::task::spawn_blocking(work).await.map_err(|e| {
        Error::new(ErrorKind::Other, "a storage thread ended before its work").with_source(e)
    })
}

#[cfg(target_family = "wasm")]
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
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
