//! Work that blocks or computes, kept off the executor where the host has threads.

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
