//! The calls of the import, and the order in which they take effect.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use checkpoint_storage::{
    Attempt, CheckpointInfo, Error, ErrorKind, Existing, Limits, Metadata, Result, ResumePoint,
    Saved, SchemaChange, TreeSource, TreeTarget,
};
use futures::future::{Either, select};
use tokio::sync::{OnceCell, watch};

use crate::advice::{Advice, Advisor, StopHandle};
use crate::background::BackgroundSaves;
use crate::calls::Calls;
use crate::error::GuestError;
use crate::outcome::Outcome;
use crate::reports::Reports;
use crate::settings::SessionSettings;
use crate::slot::Slot;

/// A guest's annotations of a checkpoint. If a key occurs twice, the last value counts.
pub type Annotations = Vec<(String, String)>;

/// The result of a guest's call.
pub type Answer<T> = std::result::Result<T, GuestError>;

/// One guest's view of its attempt. All clones are the same session.
///
/// Calls may run concurrently; saves and reads take effect one after the other. A read waits for
/// background saves. A foreground save replaces the queued background save, and waits for the one in
/// flight. Dropping the future of a call cancels it, and so does [`finish`](Self::finish).
///
/// On targets with threads, the calls need a tokio runtime, which runs the background saves. On wasm, a
/// background save runs before the call returns.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) background: BackgroundSaves,
    pub(crate) calls: Calls,
    // Std mutexes, because they are never held across an await.
    advisor: Mutex<Advisor>,
    failure: Mutex<Option<Error>>,
    pub(crate) reports: Arc<Reports>,
    /// Each stream needs the memory of a whole pipeline, so a session permits one of each kind.
    pub(crate) writing: Slot,
    pub(crate) reading: Slot,
    pub(crate) is_finished: watch::Sender<bool>,
    pub(crate) outcome: OnceCell<Outcome>,
}

/// The point from which an attempt resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The checkpoint, if there is one.
    pub point: ResumePoint,
    /// The time since that checkpoint was saved, by the host's clock. Zero if the clock was set back or
    /// there is no checkpoint.
    pub age: Duration,
}

/// A checkpoint that the guest was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Given {
    /// What is known of it.
    pub info: CheckpointInfo,
    /// The time since it was saved, by the host's clock. Zero if the clock was set back.
    pub age: Duration,
}

impl Given {
    /// Creates the description of a checkpoint of this age.
    #[must_use]
    pub fn new(info: CheckpointInfo, age: Duration) -> Self {
        Self { info, age }
    }
}

/// What a guest has read, and from which checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The contents of its only file.
    pub bytes: Bytes,
    /// The checkpoint.
    pub checkpoint: Given,
}

/// How much the guest may store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Allowance {
    /// The limits set by the host.
    pub limits: Limits,
    /// How many bytes saves may still add to the storage.
    pub bytes_left: u64,
}

impl Session {
    /// Opens a session for the guest that runs as this attempt.
    #[must_use]
    pub fn new(attempt: Arc<Attempt>, settings: SessionSettings) -> Self {
        let SessionSettings { advice } = settings;
        let clock = attempt.location().environment().clock().clone();
        let reports = Arc::new(Reports::new(attempt.clone()));
        Self {
            shared: Arc::new(Shared {
                background: BackgroundSaves::new(attempt.clone(), reports.clone()),
                calls: Calls::default(),
                reports,
                attempt,
                advisor: Mutex::new(Advisor::new(advice, clock)),
                failure: Mutex::default(),
                writing: Slot::default(),
                reading: Slot::default(),
                is_finished: watch::Sender::new(false),
                outcome: OnceCell::new(),
            }),
        }
    }

    /// Returns the attempt whose checkpoints the guest sees.
    #[must_use]
    pub fn attempt(&self) -> &Arc<Attempt> {
        &self.shared.attempt
    }

    /// Returns a handle that asks the guest to stop.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.advisor().stop_handle()
    }

    /// Returns the total time that the guest has waited for its saves.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.advisor().waited()
    }

    /// Returns whether there is a checkpoint for [`read`](Self::read) or [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`GuestError::Corrupt`] if there are checkpoints but all of them are damaged. The failure of a
    /// background save.
    pub async fn prev_exists(&self) -> Answer<bool> {
        let found = match self.settle().await {
            Ok(()) => self.attempt().prev_exists().await,
            Err(error) => Err(error),
        };
        self.answer(found)
    }

    /// Returns the point from which this attempt resumed, after verifying it. Its own saves do not change
    /// the answer.
    ///
    /// # Errors
    /// Those of [`Attempt::verified_resume_point`].
    pub async fn resume_point(&self) -> Answer<Resume> {
        let point = self.until_end(self.attempt().verified_resume_point());
        let point = self.answer(point.await)?;
        let age = match &point {
            ResumePoint::Fresh => Duration::ZERO,
            ResumePoint::Resumed(checkpoint) | ResumePoint::FellBack { checkpoint, .. } => {
                self.age(checkpoint.saved_at)
            }
        };
        Ok(Resume { point, age })
    }

    /// Returns the contents of the only file in the guest's newest save or, if it has not saved, in the
    /// newest checkpoint of earlier attempts, and which checkpoint that is. `None` if there is none.
    ///
    /// # Errors
    /// Those of [`Attempt::read`]. The failure of a background save.
    pub async fn read(&self) -> Answer<Option<Contents>> {
        let reading = self.until_end(async {
            self.settle().await?;
            self.attempt().read_with_info().await
        });
        let read = self.answer(reading.await)?;
        Ok(read.map(|(info, bytes)| Contents {
            bytes,
            checkpoint: self.given(info),
        }))
    }

    /// Replaces the checkpoint with one unnamed file with these contents.
    ///
    /// # Errors
    /// Those of [`Attempt::write`]. The failure of a background save, in which case nothing is saved.
    pub async fn write(&self, contents: Bytes, annotations: Annotations) -> Answer<Saved> {
        let began = self.now();
        let saving = self.until_end(async {
            self.supersede().await?;
            let save = self.attempt().write(contents);
            save.metadata(self.metadata(annotations)?).await
        });
        self.saved(began, saving.await)
    }

    /// Does the same as [`write`](Self::write), from memory that the guest owns. Copies it a few chunks
    /// at a time, so that a save needs no more memory than a stream.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn write_borrowed(&self, contents: &[u8], annotations: Annotations) -> Answer<Saved> {
        let began = self.now();
        let saving = self.until_end(async {
            self.supersede().await?;
            let save = self.attempt().write_borrowed(contents);
            save.metadata(self.metadata(annotations)?).await
        });
        self.saved(began, saving.await)
    }

    /// Does the same as [`write`](Self::write), in the background. Waits for the save in flight while both
    /// together exceed [`Limits::background_bytes`].
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] if the contents are too large or there are too many saves. The failure
    /// of an earlier background save, in which case this one is not made.
    pub async fn write_in_background(
        &self,
        contents: Bytes,
        annotations: Annotations,
    ) -> Answer<()> {
        let size = contents.len();
        self.stage(size, move || contents, annotations).await
    }

    /// Does the same as [`write_in_background`](Self::write_in_background), from memory that the guest
    /// owns. Copies it once the save may be made and the limits leave memory for the copy.
    ///
    /// # Errors
    /// Those of [`write_in_background`](Self::write_in_background).
    pub async fn write_borrowed_in_background(
        &self,
        contents: &[u8],
        annotations: Annotations,
    ) -> Answer<()> {
        let copy = || Bytes::copy_from_slice(contents);
        self.stage(contents.len(), copy, annotations).await
    }

    async fn stage(
        &self,
        size: usize,
        contents: impl FnOnce() -> Bytes,
        annotations: Annotations,
    ) -> Answer<()> {
        let began = self.now();
        let staging = self.until_end(async {
            self.check_open()?;
            let background = &self.shared.background;
            let metadata = self.metadata(annotations)?;
            background.write(size, contents, metadata).await
        });
        self.saved(began, staging.await)
    }

    /// Replaces the checkpoint with the file or directory `source`, which is an error if the host could
    /// not open the guest's path.
    ///
    /// # Errors
    /// The error in `source`. Those of [`Attempt::save`]. The failure of a background save, in which case
    /// nothing is saved.
    pub async fn save(
        &self,
        source: Result<impl TreeSource>,
        annotations: Annotations,
    ) -> Answer<Saved> {
        let began = self.now();
        let saving = self.until_end(async {
            let source = source?;
            self.supersede().await?;
            let save = self.attempt().save(source);
            save.metadata(self.metadata(annotations)?).await
        });
        self.saved(began, saving.await)
    }

    /// Does the same as [`save`](Self::save), in the background. The files may change once this returns.
    /// Waits for the save in flight while the copies of both together exceed [`Limits::spool_bytes`].
    ///
    /// # Errors
    /// The error in `source`. Any failure to read it. [`GuestError::QuotaExceeded`] if it is too large or
    /// there are too many saves. The failure of an earlier background save, in which case this one is not
    /// made.
    pub async fn save_in_background(
        &self,
        source: Result<impl TreeSource>,
        annotations: Annotations,
    ) -> Answer<()> {
        let began = self.now();
        let staging = self.until_end(async {
            let source = source?;
            self.check_open()?;
            let background = &self.shared.background;
            background.save(source, self.metadata(annotations)?).await
        });
        self.saved(began, staging.await)
    }

    /// Restores the checkpoint that [`read`](Self::read) would return to `target`, and returns that
    /// checkpoint. If there is none, returns `None` and leaves the target untouched. `target` is an error
    /// if the host could not open the guest's path.
    ///
    /// # Errors
    /// The error in `target`. Those of [`Attempt::restore`]. The failure of a background save.
    pub async fn restore(
        &self,
        target: Result<impl TreeTarget>,
        existing: Existing,
    ) -> Answer<Option<Given>> {
        let restoring = self.until_end(async {
            let target = target?;
            self.check_open()?;
            self.settle().await?;
            self.attempt().restore_with_info(target, existing).await
        });
        let restored = self.answer(restoring.await)?;
        Ok(restored.map(|info| self.given(info)))
    }

    /// Waits until all background saves have ended, and returns the newest one that completed since the
    /// last flush, if any.
    ///
    /// # Errors
    /// The failure of an earlier background save.
    pub async fn flush(&self) -> Answer<Option<Saved>> {
        let began = self.now();
        let flushing = self.until_end(self.shared.background.flush());
        let flushed = flushing.await;
        self.advisor().note_wait(began, self.now());
        self.answer(flushed)
    }

    /// Declares the schema of the guest's saves from now on, and what to do if the checkpoint of earlier
    /// attempts has a different schema or none.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] if the name is too long.
    pub async fn declare_schema(&self, name: String, change: SchemaChange) -> Answer<()> {
        self.answer(self.attempt().declare_schema(name, change).await)
    }

    /// Returns whether this is a good time to save, and whether the guest should stop. It never is a
    /// good time while other [calls](Self::begin_call) are in flight: a save would wait for them.
    #[must_use]
    pub fn should_save(&self) -> Advice {
        let advice = self.advisor().advise(self.now());
        Advice {
            now: advice.now && !self.shared.calls.are_in_flight(),
            ..advice
        }
    }

    /// Returns whether this is a good time to save, without telling the guest that it should stop.
    #[must_use]
    pub fn save_due(&self) -> bool {
        self.advisor().peek(self.now()).now && !self.shared.calls.are_in_flight()
    }

    /// Waits until the host asks the guest to stop, and returns the time until it ends the guest.
    pub fn stopping(&self) -> impl Future<Output = Duration> + Send + use<> {
        self.stop_handle().stopping()
    }

    /// Returns how much the guest may store.
    pub async fn limits(&self) -> Allowance {
        Allowance {
            limits: *self.attempt().limits(),
            bytes_left: self.attempt().bytes_left().await,
        }
    }

    /// Describes a checkpoint that the guest is given now.
    pub(crate) fn given(&self, info: CheckpointInfo) -> Given {
        let age = self.age(info.saved_at);
        Given { info, age }
    }

    /// Converts a guest's annotations, unless there are too many.
    pub(crate) fn metadata(&self, annotations: Annotations) -> Result<Metadata> {
        self.attempt().limits().annotated(annotations)
    }

    /// Waits for background saves, so that the guest reads its own saves.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.shared.background.settle().await
    }

    /// Orders a foreground save after all background saves.
    pub(crate) async fn supersede(&self) -> Result<()> {
        self.check_open()?;
        self.shared.background.supersede().await
    }

    fn check_open(&self) -> Result<()> {
        match *self.shared.is_finished.borrow() {
            true => Err(ended()),
            false => Ok(()),
        }
    }

    /// Runs a call until it completes, or until the attempt ends during it.
    ///
    /// # Errors
    /// If the attempt has ended first.
    pub(crate) async fn until_end<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut finished = self.shared.is_finished.subscribe();
        match select(pin!(finished.changed()), pin!(call)).await {
            Either::Left(_) => Err(ended()),
            Either::Right((answer, _)) => answer,
        }
    }

    pub(crate) fn advisor(&self) -> MutexGuard<'_, Advisor> {
        lock(&self.shared.advisor)
    }

    pub(crate) fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        lock(&self.shared.failure)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("attempt", &self.shared.attempt)
            .finish_non_exhaustive()
    }
}

/// Returns the error of a call that the end of its attempt has stopped.
pub(crate) fn ended() -> Error {
    Error::new(ErrorKind::Other, "the attempt has ended")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
