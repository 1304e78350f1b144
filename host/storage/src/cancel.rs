//! Cancels the work of a call that nobody waits for any more.
//!
//! Dropping a future stops everything that it awaits, but not a closure that a thread is running. So each
//! call that reads or writes a tree holds a [`CancelOnDrop`], and the code on the thread checks its
//! [`Cancel`] before every step, which is at most 1 MiB or one file. If it has several threads, each takes such steps.

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// The most bytes that are read or written between two checks.
pub(crate) const STEP_BYTES: usize = 1 << 20;

/// Tells work on another thread that its call was cancelled. All clones belong to the same call.
#[derive(Clone, Debug)]
pub struct Cancel {
    cancelled: watch::Receiver<bool>,
    /// Kept while the work may take another step. See [`Running`].
    _running: Option<watch::Receiver<()>>,
    /// The same for a part of the call.
    _part: Option<watch::Receiver<()>>,
}

impl Cancel {
    /// Returns a token for work that nobody cancels.
    #[must_use]
    pub fn never() -> Self {
        Self {
            cancelled: watch::channel(false).1,
            _running: None,
            _part: None,
        }
    }

    /// Returns a token for a part of the call that `running` waits for.
    pub(crate) fn among(&self, running: &Running) -> Self {
        Self {
            _part: Some(running.0.subscribe()),
            ..self.clone()
        }
    }

    /// Checks that the work shall continue. Call it before every step of at most 1 MiB or one file.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] if the call was cancelled.
    pub fn check(&self) -> Result<()> {
        match *self.cancelled.borrow() {
            false => Ok(()),
            true => Err(cancelled()),
        }
    }

    /// Waits for `step`, or until the call is cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] if the call was cancelled.
    #[cfg(any(test, all(feature = "dir", not(target_family = "wasm"))))]
    pub(crate) async fn or<T>(&self, step: impl Future<Output = T>) -> Result<T> {
        use futures::future::{Either, select};

        let mut cancelled = self.cancelled.clone();
        let ended = async {
            if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
                // Nobody can cancel it any more.
                std::future::pending::<()>().await;
            }
        };
        match select(std::pin::pin!(ended), std::pin::pin!(step)).await {
            Either::Left(((), _)) => Err(self::cancelled()),
            Either::Right((done, _)) => Ok(done),
        }
    }
}

fn cancelled() -> Error {
    let what = "cancelled, because nobody waits for the result any more";
    Error::new(ErrorKind::Other, what)
}

/// Cancels work when it is dropped: with the future of the call that holds it, for example.
#[derive(Debug)]
pub struct CancelOnDrop {
    cancelled: watch::Sender<bool>,
    token: Cancel,
}

impl CancelOnDrop {
    pub(crate) fn new() -> Self {
        Self::among(None)
    }

    fn among(running: Option<watch::Receiver<()>>) -> Self {
        let (sender, cancelled) = watch::channel(false);
        let token = Cancel {
            cancelled,
            _running: running,
            _part: None,
        };
        Self {
            cancelled: sender,
            token,
        }
    }

    /// Returns the token that the work checks.
    #[must_use]
    pub fn token(&self) -> Cancel {
        self.token.clone()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.cancelled.send_replace(true);
    }
}

/// The calls that are running, and the cancelled ones whose last step has not ended.
#[derive(Debug)]
pub(crate) struct Running(watch::Sender<()>);

impl Default for Running {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Running {
    pub(crate) fn begin(&self) -> CancelOnDrop {
        CancelOnDrop::among(Some(self.0.subscribe()))
    }

    /// Waits until nothing runs.
    pub(crate) async fn ended(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_token_is_cancelled_when_its_call_is_dropped() {
        let call = CancelOnDrop::new();
        let token = call.token();
        token.check().unwrap();
        drop(call);
        token.check().unwrap_err();
        token.or(std::future::pending::<()>()).await.unwrap_err();
        Cancel::never().check().unwrap();
    }

    #[tokio::test]
    async fn a_call_runs_until_its_last_token_is_gone() {
        let running = Running::default();
        running.ended().await;
        let call = running.begin();
        let token = call.token();
        drop(call);
        assert!(running.ended().now_or_never().is_none());
        drop(token);
        running.ended().await;
    }
}
