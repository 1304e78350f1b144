//! Background saves: the guest computes while the host stores its state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use checkpoint_storage::{Attempt, Error, ErrorKind, Metadata, Result, Saved, TreeSource};
use tokio::sync::{Mutex, watch};

#[cfg(not(target_family = "wasm"))]
use self::native::{Job, Staging};
use crate::reports::Reports;

#[cfg(not(target_family = "wasm"))]
mod native;

/// The background saves of one attempt. At most one is in flight and one is queued; a newer save
/// replaces the queued one. So a guest that saves faster than the storage accepts skips old states
/// instead of waiting, unless the limits on the host's copies make it wait for the save in flight.
///
/// The next call reports a failed save, once.
#[derive(Debug)]
pub(crate) struct BackgroundSaves {
    attempt: Arc<Attempt>,
    queue: Arc<Mutex<Queue>>,
    /// The number of saves that have ended.
    ended: watch::Sender<u64>,
    #[cfg(not(target_family = "wasm"))]
    staging: Staging,
    #[cfg(not(target_family = "wasm"))]
    reports: Arc<Reports>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The task that saves, while it runs.
    #[cfg(not(target_family = "wasm"))]
    running: Option<tokio::task::JoinHandle<()>>,
    #[cfg(not(target_family = "wasm"))]
    waiting: Option<Job>,
    /// Whether the attempt has ended, so that nothing more is saved.
    is_closed: bool,
    /// The newest completed save, until `flush` returns it.
    done: Option<Saved>,
    /// The newest failure, until a call reports it.
    failed: Option<Error>,
}

impl BackgroundSaves {
    #[cfg_attr(
        target_family = "wasm",
        expect(unused_variables, reason = "each save fails in the call that makes it")
    )]
    pub(crate) fn new(attempt: Arc<Attempt>, reports: Arc<Reports>) -> Self {
        Self {
            #[cfg(not(target_family = "wasm"))]
            staging: Staging::new(attempt.limits()),
            #[cfg(not(target_family = "wasm"))]
            reports,
            attempt,
            queue: Arc::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// Waits until all saves have ended, and returns the newest save that no earlier flush has
    /// returned.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn flush(&self) -> Result<Option<Saved>> {
        self.settle().await?;
        Ok(self.queue.lock().await.done.take())
    }

    /// Waits until all saves have ended. Called before a read, so that a guest reads its own saves.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.wait().await;
        self.report_failure().await
    }

    /// Accepts no more saves, waits until all have ended, and returns a failure that no call has reported
    /// yet. Aborts what has not ended within the timeout.
    pub(crate) async fn end(&self, timeout: Duration) -> Option<Error> {
        self.queue.lock().await.is_closed = true;
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(()) => self.queue.lock().await.failed.clone(),
            Err(_) => {
                self.abort().await;
                let what = "the last background save was not committed: the storage took too long";
                Some(Error::new(ErrorKind::Unavailable, what))
            }
        }
    }

    /// Drops the queued save and waits for the one in flight. Called before a foreground save, which is
    /// newer than both.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn supersede(&self) -> Result<()> {
        self.drop_waiting().await;
        self.settle().await
    }

    async fn wait(&self) {
        let mut ended = self.ended.subscribe();
        while self.queue.lock().await.is_running() {
            // `self` owns the sender, so the channel cannot be closed.
            let _ = ended.changed().await;
        }
    }

    async fn report_failure(&self) -> Result<()> {
        match self.queue.lock().await.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// wasm has no threads for background work, so each save is made immediately and nothing is copied.
#[cfg(target_family = "wasm")]
impl BackgroundSaves {
    /// Replaces the checkpoint with one unnamed file with these contents.
    ///
    /// # Errors
    /// Those of [`Attempt::write`].
    pub(crate) async fn write(
        &self,
        _size: usize,
        contents: impl FnOnce() -> Bytes,
        metadata: Metadata,
    ) -> Result<()> {
        self.report_failure().await?;
        let saved = self.attempt.write(contents()).metadata(metadata).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }

    /// Replaces the checkpoint with the file or directory `source`.
    ///
    /// # Errors
    /// Those of [`Attempt::save`].
    pub(crate) async fn save(&self, source: impl TreeSource, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        let saved = self.attempt.save(source).metadata(metadata).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }

    async fn drop_waiting(&self) {}

    async fn abort(&self) {}
}

#[cfg(target_family = "wasm")]
impl Queue {
    fn is_running(&self) -> bool {
        false
    }
}
