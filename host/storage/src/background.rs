//! Saves that go on while the task computes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use crate::attempt::Attempt;
use crate::attempt::save::Save;
use crate::attempt::saved::Saved;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
#[cfg(not(target_family = "wasm"))]
use crate::tree::walk::TreeSource;

/// Saves of one attempt that nobody waits for: at most one is being made and one waits, which a newer
/// one replaces. So a task that saves faster than its storage takes it loses old states and no time,
/// and the memory is that of two checkpoints at most.
///
/// What goes wrong is told once, by the next call. To be made within a tokio runtime, which goes on
/// with the saves.
#[derive(Debug)]
pub struct BackgroundSaves {
    queue: Arc<Mutex<Queue>>,
    /// Counts the saves that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    running: bool,
    waiting: Option<Job>,
    /// What the newest one did that nobody was told yet.
    done: Option<Saved>,
    failed: Option<Error>,
}

/// The host's own copy of what is to be saved.
struct Job {
    contents: Copy,
    metadata: Metadata,
}

enum Copy {
    Bytes(Bytes),
    #[cfg(not(target_family = "wasm"))]
    Tree(crate::spool::Spooled),
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl Default for BackgroundSaves {
    fn default() -> Self {
        Self {
            queue: Arc::default(),
            ended: watch::Sender::new(0),
        }
    }
}

impl BackgroundSaves {
    /// Replaces the checkpoint by one unnamed file with these contents, later.
    ///
    /// # Errors
    /// That of an earlier save, which is told once; this one is not made then.
    /// [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded) if the contents are too large.
    pub async fn write(
        &self,
        attempt: &Arc<Attempt>,
        contents: Bytes,
        metadata: Metadata,
    ) -> Result<()> {
        self.surface().await?;
        attempt.limits().check_size(contents.len() as u64)?;
        attempt.limits().check_metadata(&metadata)?;
        let contents = Copy::Bytes(contents);
        self.enqueue(attempt, Job { contents, metadata }).await
    }

    /// Replaces the checkpoint by the file or directory that `source` is now, later. It is copied to
    /// a temporary file first, and may change when this returns.
    ///
    /// # Errors
    /// That of an earlier save, which is told once; this one is not made then. Those of
    /// [`TreeSource::reader`] and of what it returns.
    #[cfg(not(target_family = "wasm"))]
    pub async fn save(
        &self,
        attempt: &Arc<Attempt>,
        source: impl TreeSource,
        metadata: Metadata,
    ) -> Result<()> {
        self.surface().await?;
        attempt.limits().check_metadata(&metadata)?;
        let limits = *attempt.limits();
        let copy =
            crate::blocking::run(move || crate::spool::Spooled::copy(&source, &limits)).await??;
        let contents = Copy::Tree(copy);
        self.enqueue(attempt, Job { contents, metadata }).await
    }

    /// The same where nothing goes on by itself: it is saved when this returns.
    ///
    /// # Errors
    /// Those of [`Attempt::save`].
    #[cfg(target_family = "wasm")]
    pub async fn save(
        &self,
        attempt: &Arc<Attempt>,
        source: impl crate::tree::walk::TreeSource,
        metadata: Metadata,
    ) -> Result<()> {
        self.surface().await?;
        let saved = attempt.save(source).metadata(metadata).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }

    /// Waits until nothing is left to be saved. What the newest save did, if one was made since this
    /// was last asked.
    ///
    /// # Errors
    /// That of an earlier save, which is told once.
    pub async fn flush(&self) -> Result<Option<Saved>> {
        self.settle().await?;
        Ok(self.queue.lock().await.done.take())
    }

    /// Waits until nothing is left to be saved: before a read, so that a task reads its own saves.
    ///
    /// # Errors
    /// That of an earlier save, which is told once.
    pub async fn settle(&self) -> Result<()> {
        let mut ended = self.ended.subscribe();
        loop {
            {
                let mut queue = self.queue.lock().await;
                if !queue.running {
                    return match queue.failed.take() {
                        Some(error) => Err(error),
                        None => Ok(()),
                    };
                }
            }
            // The sender lives as long as this.
            let _ = ended.changed().await;
        }
    }

    /// Whether a save is being made or waits.
    pub async fn is_busy(&self) -> bool {
        self.queue.lock().await.running
    }

    /// Forgets the save that waits, and waits for the one that is being made: before a save in the
    /// foreground, which is newer than both.
    ///
    /// # Errors
    /// That of an earlier save, which is told once.
    pub async fn supersede(&self) -> Result<()> {
        self.queue.lock().await.waiting = None;
        self.settle().await
    }

    /// # Errors
    /// That of an earlier save, which is told once.
    async fn surface(&self) -> Result<()> {
        match self.queue.lock().await.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    #[cfg(not(target_family = "wasm"))]
    async fn enqueue(&self, attempt: &Arc<Attempt>, job: Job) -> Result<()> {
        let mut queue = self.queue.lock().await;
        queue.waiting = Some(job);
        if queue.running {
            return Ok(());
        }
        queue.running = true;
        let saving = save_all(self.queue.clone(), attempt.clone(), self.ended.clone());
        drop(crate::blocking::start(async {
            saving.await;
            Ok(())
        }));
        Ok(())
    }

    /// On one thread nothing goes on by itself: it is saved now.
    #[cfg(target_family = "wasm")]
    async fn enqueue(&self, attempt: &Arc<Attempt>, job: Job) -> Result<()> {
        let saved = job.save(attempt).await?;
        self.queue.lock().await.done = Some(saved);
        Ok(())
    }
}

/// Makes saves until none waits.
#[cfg(not(target_family = "wasm"))]
async fn save_all(queue: Arc<Mutex<Queue>>, attempt: Arc<Attempt>, ended: watch::Sender<u64>) {
    use std::panic::AssertUnwindSafe;

    use futures::FutureExt;

    use crate::error::ErrorKind;

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
        // Whoever waits for it would wait for ever.
        let saved = AssertUnwindSafe(job.save(&attempt).into_future()).catch_unwind();
        let saved = saved.await.unwrap_or_else(|_| {
            let what = "a save in the background ended by a bug of the host";
            Err(Error::new(ErrorKind::Other, what))
        });
        let mut queue = queue.lock().await;
        match saved {
            Ok(saved) => queue.done = Some(saved),
            // The one that waits may fare better, and is the newer state.
            Err(error) => queue.failed = Some(error),
        }
        ended.send_modify(|n| *n += 1);
    }
}

impl Job {
    fn save(self, attempt: &Attempt) -> Save<'_> {
        let save = match self.contents {
            Copy::Bytes(contents) => attempt.write(contents),
            #[cfg(not(target_family = "wasm"))]
            Copy::Tree(copy) => attempt.save(copy),
        };
        save.metadata(self.metadata)
    }
}
