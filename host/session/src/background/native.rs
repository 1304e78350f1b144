//! Background saves where there are threads: the host copies what it saves, and saves it in a task.

use std::fmt;
use std::panic::AssertUnwindSafe;

use checkpoint_storage::{Admission, Limits, Save};
use futures::FutureExt;

use super::*;
use crate::room::{Room, Share};
use crate::spool::Spooled;

/// The space for the host's copies of what it saves.
#[derive(Debug)]
pub(super) struct Staging {
    memory: Arc<Room>,
    disk: Arc<Room>,
    /// Held while a tree is copied. Two unfinished copies could wait for each other's space.
    copying: Mutex<()>,
}

/// The host's own copy of the contents to save.
pub(super) struct Job {
    contents: Contents,
    metadata: Metadata,
    admission: Admission,
}

enum Contents {
    /// With their share of the memory.
    Bytes(Bytes, Share),
    Tree(Spooled),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl Staging {
    pub(super) fn new(limits: &Limits) -> Self {
        let memory = "bytes of memory for background writes";
        let disk = "bytes of disk space for the copies of background saves";
        Self {
            memory: Room::new(limits.background_bytes, memory),
            disk: Room::new(limits.spool_bytes, disk),
            copying: Mutex::default(),
        }
    }
}

impl BackgroundSaves {
    /// Queues a save that replaces the checkpoint with one unnamed file with `contents`, of this size,
    /// which are made once there is memory for them. Waits for the save in flight while there is not.
    ///
    /// # Errors
    /// The failure of an earlier save, in which case this one is not queued.
    /// [`ErrorKind::QuotaExceeded`] if the contents are too large, or there are too many saves.
    pub(crate) async fn write(
        &self,
        size: usize,
        contents: impl FnOnce() -> Bytes,
        metadata: Metadata,
    ) -> Result<()> {
        self.report_failure().await?;
        let (memory, bytes) = (&self.staging.memory, size as u64);
        self.attempt.limits().check_size(bytes)?;
        memory.check(bytes)?;
        let admission = self.attempt.admit(&metadata)?;
        loop {
            let mut freed = memory.freed();
            let mut queue = self.queue.lock().await;
            let waiting = queue.waiting.as_ref();
            if memory.fits(bytes, waiting.and_then(Job::memory)) {
                queue.check_open()?;
                // The new contents may need the memory of those that they replace.
                queue.waiting = None;
                let mut share = memory.share();
                share.grow(bytes)?;
                let contents = Contents::Bytes(contents(), share);
                let job = Job {
                    contents,
                    metadata,
                    admission,
                };
                self.start(&mut queue, job);
                return Ok(());
            }
            drop(queue);
            // `self` owns the room, so the channel cannot be closed.
            let _ = freed.changed().await;
        }
    }

    /// Queues a save that replaces the checkpoint with the file or directory `source`. Copies it to a
    /// temporary file first, so `source` may change once this returns. Waits for the save in flight while
    /// there is too little space for the copy.
    ///
    /// # Errors
    /// The failure of an earlier save, in which case this one is not queued. Any failure to read
    /// `source`. [`ErrorKind::QuotaExceeded`] if it is too large, or there are too many saves.
    pub(crate) async fn save(&self, source: impl TreeSource, metadata: Metadata) -> Result<()> {
        self.report_failure().await?;
        let copying = self.staging.copying.lock().await;
        let admission = self.attempt.admit(&metadata)?;
        let copy = Spooled::copy(source, &self.attempt, &self.staging.disk).await?;
        drop(copying);
        let mut queue = self.queue.lock().await;
        queue.check_open()?;
        let job = Job {
            contents: Contents::Tree(copy),
            metadata,
            admission,
        };
        self.start(&mut queue, job);
        Ok(())
    }

    /// Drops the queued save.
    pub(super) async fn drop_waiting(&self) {
        self.queue.lock().await.waiting = None;
    }

    /// Stops saving. A request that the storage has received may still take effect.
    pub(super) async fn abort(&self) {
        let running = self.queue.lock().await.running.take();
        if let Some(running) = running {
            running.abort();
            // The task has stopped only now.
            let _ = running.await;
        }
        self.drop_waiting().await;
        self.ended.send_modify(|n| *n += 1);
    }

    fn start(&self, queue: &mut Queue, job: Job) {
        queue.waiting = Some(job);
        if queue.running.is_none() {
            let saving = save_all(
                self.queue.clone(),
                self.attempt.clone(),
                self.reports.clone(),
                self.ended.clone(),
            );
            queue.running = Some(tokio::spawn(saving));
        }
    }
}

impl Queue {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// # Errors
    /// If the attempt has ended.
    fn check_open(&self) -> Result<()> {
        match self.is_closed {
            true => Err(crate::session::ended()),
            false => Ok(()),
        }
    }
}

/// Runs saves until none is queued.
async fn save_all(
    queue: Arc<Mutex<Queue>>,
    attempt: Arc<Attempt>,
    reports: Arc<Reports>,
    ended: watch::Sender<u64>,
) {
    loop {
        let job = {
            let mut queue = queue.lock().await;
            match queue.waiting.take() {
                Some(job) => job,
                None => {
                    queue.running = None;
                    ended.send_modify(|n| *n += 1);
                    return;
                }
            }
        };
        // If a panic ended this task, `wait` would never return.
        let saved = AssertUnwindSafe(job.save(&attempt)).catch_unwind();
        let saved = saved.await.unwrap_or_else(|_| {
            let what = "a background save panicked in the host; report this as a bug";
            Err(Error::new(ErrorKind::Other, what))
        });
        let mut queue = queue.lock().await;
        match saved {
            Ok(saved) => queue.done = Some(saved),
            // Keep going: the queued save is newer and may succeed.
            Err(error) => {
                reports.failure("a background save failed", &error);
                queue.failed = Some(error);
            }
        }
        ended.send_modify(|n| *n += 1);
    }
}

impl Job {
    /// Returns the share of the memory.
    fn memory(&self) -> Option<&Share> {
        match &self.contents {
            Contents::Bytes(_, share) => Some(share),
            Contents::Tree(_) => None,
        }
    }

    async fn save(self, attempt: &Attempt) -> Result<Saved> {
        let (save, _share): (Save<'_>, _) = match self.contents {
            Contents::Bytes(contents, share) => (attempt.write(contents), Some(share)),
            Contents::Tree(copy) => (attempt.save(copy), None),
        };
        save.metadata(self.metadata).admitted(self.admission).await
    }
}
