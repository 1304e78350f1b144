//! Saves that go on while the guest computes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use checkpoint_storage::{Attempt, Error, Metadata, Result, Save, Saved, TreeSource};
use tokio::sync::{Mutex, watch};

#[cfg(not(target_family = "wasm"))]
use crate::spool::Spooled;

/// Saves of one attempt that nobody waits for. At most one is being made and one waits, which a newer one
/// replaces. So a guest that saves faster than its storage takes it loses old states and no time, and the
/// host holds two checkpoints at most.
///
/// A failed save is reported once, by the next call.
#[derive(Debug)]
pub(crate) struct BackgroundSaves {
    attempt: Arc<Attempt>,
    queue: Arc<Mutex<Queue>>,
    /// Counts the saves that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    running: bool,
    waiting: Option<Job>,
    /// The newest save that was made, until `flush` returns it.
    done: Option<Saved>,
    /// The newest failure, until a call reports it.
    failed: Option<Error>,
}

/// The host's own copy of what is to be saved.
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

    /// Replaces the checkpoint by one unnamed file with these contents, later.
    ///
    /// # Errors
    /// The failure of an earlier save; this one is not made then.
    /// [`ErrorKind::QuotaExceeded`](checkpoint_storage::ErrorKind::QuotaExceeded) if the contents are too
    /// large.
    pub(crate) async fn write(&self, contents: Bytes, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        self.attempt.limits().check_size(contents.len() as u64)?;
        self.attempt.limits().check_metadata(&metadata)?;
        let contents = Contents::Bytes(contents);
        self.enqueue(Job { contents, metadata }).await
    }

    /// Replaces the checkpoint by the file or directory that `source` is now, later. It is copied to
    /// a temporary file first, and may change when this returns.
    ///
    /// # Errors
    /// The failure of an earlier save; this one is not made then. Those of reading `source`.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn save(&self, source: impl TreeSource, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        let limits = *self.attempt.limits();
        limits.check_metadata(&metadata)?;
        let copying = tokio::task::spawn_blocking(move || Spooled::copy(&source, &limits));
        let copy = copying.await.map_err(|error| {
            use checkpoint_storage::ErrorKind;

            let what = "the thread that copied a directory ended before its work";
            Error::new(ErrorKind::Other, what).with_source(error)
        })??;
        let contents = Contents::Tree(copy);
        self.enqueue(Job { contents, metadata }).await
    }

    /// Replaces the checkpoint by the file or directory that `source` is now, at once: without threads
    /// nothing goes on in the background.
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

    /// Waits until nothing is left to be saved, and returns the newest save that no earlier flush
    /// returned.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn flush(&self) -> Result<Option<Saved>> {
        self.settle().await?;
        Ok(self.queue.lock().await.done.take())
    }

    /// Waits until nothing is left to be saved: before a read, so that a guest reads its own saves.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.wait().await;
        self.report_failure().await
    }

    /// Waits until nothing is left to be saved, and returns a failure that no call has reported. Calling
    /// it again returns the same.
    pub(crate) async fn end(&self) -> Option<Error> {
        self.wait().await;
        self.queue.lock().await.failed.clone()
    }

    /// Drops the save that waits, and waits for the one that is being made: before a save in the
    /// foreground, which is newer than both.
    ///
    /// # Errors
    /// The failure of an earlier save.
    pub(crate) async fn supersede(&self) -> Result<()> {
        self.drop_waiting().await;
        self.settle().await
    }

    /// Drops the save that waits.
    pub(crate) async fn drop_waiting(&self) {
        self.queue.lock().await.waiting = None;
    }

    async fn wait(&self) {
        let mut ended = self.ended.subscribe();
        while self.queue.lock().await.running {
            // The sender lives as long as this.
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

    /// Saves at once: without threads nothing goes on in the background.
    #[cfg(target_family = "wasm")]
    async fn enqueue(&self, job: Job) -> Result<()> {
        let saved = job.save(&self.attempt).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }
}

/// Makes saves until none waits.
#[cfg(not(target_family = "wasm"))]
async fn save_all(queue: Arc<Mutex<Queue>>, attempt: Arc<Attempt>, ended: watch::Sender<u64>) {
    use std::panic::AssertUnwindSafe;

    use checkpoint_storage::ErrorKind;
    use futures::FutureExt;

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
        // A panic that ended this task would leave `wait` waiting for ever.
        let saved = AssertUnwindSafe(job.save(&attempt).into_future()).catch_unwind();
        let saved = saved.await.unwrap_or_else(|_| {
            let what = "a save in the background ended by a bug of the host";
            Err(Error::new(ErrorKind::Other, what))
        });
        let mut queue = queue.lock().await;
        match saved {
            Ok(saved) => queue.done = Some(saved),
            // The one that waits may succeed, and is the newer state.
            Err(error) => queue.failed = Some(error),
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
