//! The host's request to stop.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use wit_bindgen::{FutureRead, FutureReader};

use super::bindings::task::checkpoint::checkpointer;

thread_local! {
    /// The future of an earlier call that did not wait to the end. A task may call `stopping` in each of its steps, and
    /// a composed task cannot give a future back to its host.
    static UNUSED: Cell<Option<FutureReader<u64>>> = const { Cell::new(None) };
}

/// Waits until the host asks the task to stop, and returns the time until it ends the task.
pub async fn stopping() -> Duration {
    let future = UNUSED.take().unwrap_or_else(checkpointer::stopping);
    let left = Waiting(Some(Box::pin(future.into_future()))).await;
    Duration::from_millis(left)
}

/// Waits for a future, and keeps it if this is dropped before.
struct Waiting(Option<Pin<Box<FutureRead<u64>>>>);

impl Future for Waiting {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let Some(read) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = read.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // If the host has asked meanwhile, it says so to the next call, too.
        if let Some(Err(future)) = self.0.take().map(|mut read| read.as_mut().cancel()) {
            UNUSED.set(Some(future));
        }
    }
}
