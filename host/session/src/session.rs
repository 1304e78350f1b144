//! The calls of the import, in the order that a guest can rely on.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use checkpoint_storage::{
    Attempt, Error, ErrorKind, Existing, Limits, Metadata, Result, ResumePoint, Saved,
    SchemaChange, TreeSource, TreeTarget,
};
use tokio::sync::OnceCell;

use crate::advice::{Advice, Advisor, StopHandle};
use crate::background::BackgroundSaves;
use crate::error::GuestError;
use crate::outcome::Outcome;
use crate::settings::{OnFailure, SessionSettings};
use crate::slot::Slot;

/// What a guest says about a checkpoint. Of a key that is given twice, the last value counts.
pub type Annotations = Vec<(String, String)>;

/// What a call of the guest's returns.
pub type Answer<T> = std::result::Result<T, GuestError>;

/// What one guest sees of its attempt. Clones are the same session.
///
/// Calls may run concurrently; those that save and read take effect one after the other. A read waits for
/// the saves in the background. A save in the foreground replaces the one that waits there, and waits for
/// the one that is being made.
///
/// Where there are threads, the calls need a tokio runtime, which makes the saves in the background. On
/// wasm, a save in the background is made before the call returns.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) background: BackgroundSaves,
    // Std mutexes, because they are never held across an await.
    advisor: Mutex<Advisor>,
    failure: Mutex<Option<Error>>,
    pub(crate) on_failure: Option<Box<OnFailure>>,
    /// Each stream takes the memory of a whole pipeline, so there is one of either kind at a time.
    pub(crate) writing: Slot,
    pub(crate) reading: Slot,
    pub(crate) is_finished: AtomicBool,
    pub(crate) outcome: OnceCell<Outcome>,
}

/// The point from which an attempt resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The checkpoint, if there is one.
    pub point: ResumePoint,
    /// The time since that checkpoint was saved, by the host's clock; zero if the clock was set back or
    /// there is no checkpoint.
    pub age: Duration,
}

/// What the guest may store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Allowance {
    /// The caps of the host.
    pub limits: Limits,
    /// The bytes that saves may still add to the storage now.
    pub bytes_left: u64,
}

impl Session {
    /// Opens the session of the guest that runs as this attempt.
    #[must_use]
    pub fn new(attempt: Arc<Attempt>, settings: SessionSettings) -> Self {
        let SessionSettings { advice, on_failure } = settings;
        let clock = attempt.location().environment().clock().clone();
        Self {
            shared: Arc::new(Shared {
                background: BackgroundSaves::new(attempt.clone()),
                attempt,
                advisor: Mutex::new(Advisor::new(advice, clock)),
                failure: Mutex::default(),
                on_failure,
                writing: Slot::default(),
                reading: Slot::default(),
                is_finished: AtomicBool::new(false),
                outcome: OnceCell::new(),
            }),
        }
    }

    /// The attempt whose checkpoints the guest sees.
    #[must_use]
    pub fn attempt(&self) -> &Arc<Attempt> {
        &self.shared.attempt
    }

    /// A handle that asks the guest to stop.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.advisor().stop_handle()
    }

    /// The time that the guest has waited for its saves.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.advisor().waited()
    }

    /// Whether there is a checkpoint that [`read`](Self::read) or [`restore`](Self::restore) would give.
    ///
    /// # Errors
    /// [`GuestError::Corrupt`] if there are checkpoints but each of them is damaged, or the failure of a
    /// save in the background.
    pub async fn prev_exists(&self) -> Answer<bool> {
        let found = match self.settle().await {
            Ok(()) => self.attempt().prev_exists().await,
            Err(error) => Err(error),
        };
        self.answer(found)
    }

    /// What this attempt resumed from. Its own saves do not change the answer.
    ///
    /// # Errors
    /// [`GuestError::Corrupt`] if there are checkpoints but each of them is damaged.
    pub async fn resume(&self) -> Answer<Resume> {
        let point = self.answer(self.attempt().resume_point().await)?;
        let age = match &point {
            ResumePoint::Fresh => Duration::ZERO,
            ResumePoint::Resumed(checkpoint) | ResumePoint::FellBack { checkpoint, .. } => {
                self.age(checkpoint.saved_at)
            }
        };
        Ok(Resume { point, age })
    }

    /// The contents of the only file of the guest's newest save, else of the newest checkpoint that
    /// earlier attempts left. `None` if there is no checkpoint.
    ///
    /// # Errors
    /// Those of [`Attempt::read`], or the failure of a save in the background.
    pub async fn read(&self) -> Answer<Option<Bytes>> {
        let contents = match self.settle().await {
            Ok(()) => self.attempt().read().await,
            Err(error) => Err(error),
        };
        self.answer(contents)
    }

    /// Replaces the checkpoint by one unnamed file with these contents.
    ///
    /// # Errors
    /// Those of [`Attempt::write`], or the failure of a save in the background; then nothing is saved.
    pub async fn write(&self, contents: Bytes, annotations: Annotations) -> Answer<Saved> {
        let began = self.now();
        let saved = match self.supersede().await {
            Ok(()) => {
                let save = self.attempt().write(contents);
                save.metadata(metadata(annotations)).await
            }
            Err(error) => Err(error),
        };
        self.saved(began, saved)
    }

    /// [`write`](Self::write) from memory that only the guest owns. It is copied a few chunks at a time,
    /// so that a save takes no more memory than a stream.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn write_borrowed(&self, contents: &[u8], annotations: Annotations) -> Answer<Saved> {
        let began = self.now();
        let saved = match self.supersede().await {
            Ok(()) => {
                let save = self.attempt().write_borrowed(contents);
                save.metadata(metadata(annotations)).await
            }
            Err(error) => Err(error),
        };
        self.saved(began, saved)
    }

    /// [`write`](Self::write) in the background.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] if the contents are too large, or the failure of an earlier save in
    /// the background; then this one is not made.
    pub async fn write_in_background(
        &self,
        contents: Bytes,
        annotations: Annotations,
    ) -> Answer<()> {
        let began = self.now();
        let staged = match self.check_open() {
            Ok(()) => {
                let background = &self.shared.background;
                background.write(contents, metadata(annotations)).await
            }
            Err(error) => Err(error),
        };
        self.saved(began, staged)
    }

    /// Replaces the checkpoint by the file or directory that `source` is. `source` is an error if the
    /// host could not open what the guest named.
    ///
    /// # Errors
    /// That of `source`, those of [`Attempt::save`], or the failure of a save in the background; then
    /// nothing is saved.
    pub async fn save(
        &self,
        source: Result<impl TreeSource>,
        annotations: Annotations,
    ) -> Answer<Saved> {
        let began = self.now();
        let saved = match source {
            Ok(source) => match self.supersede().await {
                Ok(()) => {
                    let save = self.attempt().save(source);
                    save.metadata(metadata(annotations)).await
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.saved(began, saved)
    }

    /// [`save`](Self::save) in the background. What `source` is may change when this returns.
    ///
    /// # Errors
    /// That of `source`, those of reading it, or the failure of an earlier save in the background; then
    /// this one is not made.
    pub async fn save_in_background(
        &self,
        source: Result<impl TreeSource>,
        annotations: Annotations,
    ) -> Answer<()> {
        let began = self.now();
        let staged = match (source, self.check_open()) {
            (Ok(source), Ok(())) => {
                let background = &self.shared.background;
                background.save(source, metadata(annotations)).await
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self.saved(began, staged)
    }

    /// Makes `target` equal to the checkpoint that [`read`](Self::read) would give, and returns its
    /// position in the log. `None`, and an untouched target, if there is no checkpoint. `target` is an
    /// error if the host could not open what the guest named.
    ///
    /// # Errors
    /// That of `target`, those of [`Attempt::restore`], or the failure of a save in the background.
    pub async fn restore(
        &self,
        target: Result<impl TreeTarget>,
        existing: Existing,
    ) -> Answer<Option<u64>> {
        let restored = match target {
            Ok(target) => match self.settle().await {
                Ok(()) => self.attempt().restore(target, existing).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.answer(restored)
    }

    /// Waits until nothing is left to be saved in the background, and returns the newest of these saves,
    /// if one was made since the last flush.
    ///
    /// # Errors
    /// The failure of an earlier save in the background.
    pub async fn flush(&self) -> Answer<Option<Saved>> {
        let began = self.now();
        let flushed = self.shared.background.flush().await;
        self.advisor().note_wait(began, self.now());
        self.answer(flushed)
    }

    /// Declares the schema of what the guest saves from here on, and what to do with a checkpoint of
    /// earlier attempts that has another one or none.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] if the name is too long.
    pub async fn declare_schema(&self, name: String, change: SchemaChange) -> Answer<()> {
        self.answer(self.attempt().declare_schema(name, change).await)
    }

    /// Whether this is a good time to save, and whether the guest is to stop.
    #[must_use]
    pub fn should_save(&self) -> Advice {
        self.advisor().advise(self.now())
    }

    /// What the guest may store.
    pub async fn limits(&self) -> Allowance {
        Allowance {
            limits: *self.attempt().limits(),
            bytes_left: self.attempt().bytes_left().await,
        }
    }

    /// Waits for the saves in the background, so that the guest reads its own.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.shared.background.settle().await
    }

    /// Lets a save in the foreground come after all in the background.
    pub(crate) async fn supersede(&self) -> Result<()> {
        self.check_open()?;
        self.shared.background.supersede().await
    }

    fn check_open(&self) -> Result<()> {
        match self.shared.is_finished.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Other, "the attempt has ended")),
            false => Ok(()),
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

pub(crate) fn metadata(annotations: Annotations) -> Metadata {
    Metadata::annotated(annotations)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
