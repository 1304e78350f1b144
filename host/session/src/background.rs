//! Background saves: the guest computes while the host stores its state.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use checkpoint_storage::{Attempt, Error, Metadata, Result, Save, Saved, TreeSource};
use tokio::sync::{Mutex, watch};

#[cfg(not(target_family = "wasm"))]
use crate::spool::Spooled;

/// The background saves of one attempt. At most one is in flight and one is queued; a newer save
/// replaces the queued one. So a guest that saves faster than the storage accepts skips old states
/// instead of waiting, and the host holds at most two checkpoints.
///
/// The next call reports a failed save, once.
#[derive(Debug)]
pub(crate) struct BackgroundSaves {
    attempt: Arc<Attempt>,
    queue: Arc<Mutex<Queue>>,
    /// The number of saves that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    running: bool,
    waiting: Option<Job>,
    /// The newest completed save, until `flush` returns it.
    done: Option<Saved>,
    /// The newest failure, until a call reports it.
    failed: Option<Error>,
}

/// The host's own copy of the contents to save.
struct Job {
    contents: Contents,
    metadata: Metadata,
}

enum Contents {
    Bytes(Bytes),
    #[cfg(not(target_family = "wasm"))]
    Tree(Spooled),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl BackgroundSaves {
    pub(crate) fn new(attempt: Arc<Attempt>) -> Self {
        Self {
            attempt,
            queue: Arc::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// Queues a save that replaces the checkpoint with one unnamed file with these contents.
    ///
    /// # Errors
    /// The failure of an earlier save, in which case this one is not queued.
    /// [`ErrorKind::QuotaExceeded`](checkpoint_storage::ErrorKind::QuotaExceeded) if the contents are too
    /// large.
    pub(crate) async fn write(&self, contents: Bytes, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        self.attempt.limits().check_size(contents.len() as u64)?;
        self.attempt.limits().check_metadata(&metadata)?;
        let contents = Contents::Bytes(contents);
        self.enqueue(Job { contents, metadata }).await
    }

    /// Queues a save that replaces the checkpoint with the file or directory `source`. Copies it to a
    /// temporary file first, so `source` may change once this returns.
    ///
    /// # Errors
    /// The failure of an earlier save, in which case this one is not queued. Any failure to read
    /// `source`.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn save(&self, source: impl TreeSource, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        let limits = *self.attempt.limits();
        limits.check_metadata(&metadata)?;
        let copying = tokio::task::spawn_blocking(move || Spooled::copy(&source, &limits));
        let copy = copying.await.map_err(|error| {
            use checkpoint_storage::ErrorKind;

            let what = "the host's thread that copies the directory for a background save died; report this as a bug";
            Error::new(ErrorKind::Other, what).with_source(error)
        })??;
        let contents = Contents::Tree(copy);
        self.enqueue(Job { contents, metadata }).await
    }

    /// Replaces the checkpoint with the file or directory `source` immediately, because wasm has no
    /// threads for background work.
    ///
    /// # Errors
    /// Those of [`Attempt::save`].
    #[cfg(target_family = "wasm")]
    pub(crate) async fn save(&self, source: impl TreeSource, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        let saved = self.attempt.save(source).metadata(metadata).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
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

    /// Waits until all saves have ended, and returns a failure that no call has reported yet.
    /// Idempotent: it does not clear the failure.
    pub(crate) async fn end(&self) -> Option<Error> {
        self.wait().await;
        self.queue.lock().await.failed.clone()
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

    /// Drops the queued save.
    pub(crate) async fn drop_waiting(&self) {
        self.queue.lock().await.waiting = None;
    }

    async fn wait(&self) {
        let mut ended = self.ended.subscribe();
        while self.queue.lock().await.running {
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

    #[cfg(not(target_family = "wasm"))]
    async fn enqueue(&self, job: Job) -> Result<()> {
        let mut queue = self.queue.lock().await;
        queue.waiting = Some(job);
        if !queue.running {
            queue.running = true;
            let (queue, attempt) = (self.queue.clone(), self.attempt.clone());
            tokio::spawn(save_all(queue, attempt, self.ended.clone()));
        }
        Ok(())
    }

    /// Saves immediately, because wasm has no threads for background work.
    #[cfg(target_family = "wasm")]
    async fn enqueue(&self, job: Job) -> Result<()> {
        let saved = job.save(&self.attempt).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }
}

/// Runs saves until none is queued.
#[cfg(not(target_family = "wasm"))]
async fn save_all(queue: Arc<Mutex<Queue>>, attempt: Arc<Attempt>, ended: watch::Sender<u64>) {
    use std::panic::AssertUnwindSafe;

    use checkpoint_storage::ErrorKind;
    use futures::FutureExt;
    use tracing::warn;

    loop {
        let job = {
            let mut queue = queue.lock().await;
            match queue.waiting.take() {
                Some(job) => job,
                None => {
                    queue.running = false;
                    ended.send_modify(|n| *n += 1);
                    return;
                }
            }
        };
        // If a panic ended this task, `wait` would never return.
        let saved = AssertUnwindSafe(job.save(&attempt).into_future()).catch_unwind();
        let saved = saved.await.unwrap_or_else(|_| {
            let what = "a background save panicked in the host; report this as a bug";
            Err(Error::new(ErrorKind::Other, what))
        });
        let mut queue = queue.lock().await;
        match saved {
            Ok(saved) => queue.done = Some(saved),
            // Keep going: the queued save is newer and may succeed.
            Err(error) => {
                let location = attempt.location();
                warn!(%location, "a background save failed: {}", error.with_causes());
                queue.failed = Some(error);
            }
        }
        ended.send_modify(|n| *n += 1);
    }
}

impl Job {
    fn save(self, attempt: &Attempt) -> Save<'_> {
        let save = match self.contents {
            Contents::Bytes(contents) => attempt.write(contents),
            #[cfg(not(target_family = "wasm"))]
            Contents::Tree(copy) => attempt.save(copy),
        };
        save.metadata(self.metadata)
    }
}
