//! An attempt: the owner of a location until a newer one claims it.

pub(crate) mod log_writer;
pub(crate) mod lookahead;
pub(crate) mod resume;
pub(crate) mod save;
pub(crate) mod saved;
pub(crate) mod settings;
mod state;
pub(crate) mod stream;

use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Mutex;

use self::log_writer::{Draft, LogWriter, Place};
use self::lookahead::Lookahead;
use self::resume::{ResumePoint, SchemaChange};
use self::saved::{Saved, Totals};
use self::settings::AttemptSettings;
use self::state::{Found, State};
use crate::cancel::{CancelOnDrop, Running};
use crate::checkpoint::{Checkpoint, CheckpointInfo};
use crate::contents::lease::{Lease, Purpose};
use crate::contents::stage::{Stage, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Description;
use crate::inspect::prune::PrunePlan;
use crate::limits::{Limits, SaveRate};
use crate::location::OpenLocation;
use crate::log::claim::{self, Claimant, End};
use crate::log::history::Damage;
use crate::metadata::Metadata;
use crate::restore;
use crate::tree::target::Existing;
use crate::tree::walk::TreeTarget;

/// One run of a task, which owns its location until a newer attempt begins.
///
/// Calls take effect one after the other, whichever threads make them. A save is atomic: it is
/// committed as a whole when it returns `Ok`. A save that fails with [`ErrorKind::Unavailable`] may
/// still take effect later, as a whole, but never over a later save of this attempt or over
/// anything of a newer one. The same holds for a save whose future is dropped before it completes.
///
/// Dropping the future of a call cancels everything that it began: uploads, and reading or writing a
/// tree. A restore that is cancelled leaves its target marked, as one whose process dies.
///
/// Replaced checkpoints are deleted in the background; [`settle`](Self::settle) waits for these
/// deletions. A checkpoint that is being read is not deleted until the read ends.
#[derive(Debug)]
pub struct Attempt {
    location: OpenLocation,
    limits: Limits,
    state: Mutex<State>,
    rate: Arc<SyncMutex<SaveRate>>,
    totals: SyncMutex<Totals>,
    running: Running,
}

impl Attempt {
    /// Claims the location, which fences every earlier attempt, and finds the checkpoint to resume
    /// from.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage, or that of a previous location that is needed,
    /// cannot be reached; [`ErrorKind::ReadOnly`] if the storage is read-only;
    /// [`ErrorKind::InvalidLocation`] if the storage ignores conditional puts, or if a recorded
    /// predecessor is not what it was; [`ErrorKind::Corrupt`] if no record of the previous location is
    /// readable. Other damage is not an error here: later calls report it.
    pub async fn begin(location: OpenLocation, settings: AttemptSettings) -> Result<Self> {
        Self::begin_at(location, None, settings).await
    }

    /// Like [`begin`](Self::begin), at the location that was read ahead.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin).
    pub async fn begin_after(ahead: Lookahead, settings: AttemptSettings) -> Result<Self> {
        Self::begin_at(ahead.location, Some(ahead.end), settings).await
    }

    async fn begin_at(
        location: OpenLocation,
        ahead: Option<End>,
        settings: AttemptSettings,
    ) -> Result<Self> {
        let claimant = Claimant {
            number: settings.number,
            component: settings.component,
            previous: settings.previous.as_ref(),
            keep: settings.keep,
            fresh: settings.fresh,
        };
        let claimed = claim::claim(&location, &claimant, ahead).await?;
        let resumable = claimed.resumable.clone();
        let writer = LogWriter::new(location.clone(), settings.number, claimed);
        let skipped = resumable.skipped();
        for damage in &skipped {
            damage.warn(resumable.checkpoints.first());
        }
        Ok(Self {
            location,
            limits: settings.limits,
            state: Mutex::new(State {
                writer,
                resumed: resumable.checkpoints.first().map(Checkpoint::info),
                damaged: skipped,
                found: resumable.checkpoints,
                verified: None,
                own: None,
                schema: None,
            }),
            rate: Arc::new(SyncMutex::new(SaveRate::new(
                settings.limits.saves_per_minute,
            ))),
            totals: SyncMutex::default(),
            running: Running::default(),
        })
    }

    /// Returns the location that this attempt has claimed.
    pub fn location(&self) -> &OpenLocation {
        &self.location
    }

    /// Returns what this attempt resumes from, after verifying every byte of it: it is what a
    /// [`read`](Self::read) returns before the attempt has saved. Its own saves do not change the
    /// answer. The contents are read once, unless they have been read already.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are checkpoints but all of them are damaged; those of
    /// [`read`](Self::read).
    pub async fn verified_resume_point(&self) -> Result<ResumePoint> {
        while let Some((checkpoint, _lease)) = self.lease_unverified().await? {
            match checkpoint.read_through().await {
                Ok(()) => self.given(&checkpoint).await,
                Err(error) => self.fall_back(&checkpoint, error).await?,
            }
        }
        self.resume_point().await
    }

    /// Returns what this attempt resumes from, as far as is known: damage inside a data object is
    /// found when the checkpoint is read. Its own saves do not change the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are checkpoints but all of them are damaged.
    pub async fn resume_point(&self) -> Result<ResumePoint> {
        let state = self.state.lock().await;
        if state.resumed.is_some() && state.schema_of_found()? == Found::Ignored {
            return Ok(ResumePoint::Fresh);
        }
        match (state.resumed.clone(), state.damaged.first()) {
            (None, None) => Ok(ResumePoint::Fresh),
            (None, Some(damage)) => Err(damage.error()),
            (Some(checkpoint), None) => Ok(ResumePoint::Resumed(checkpoint)),
            (Some(checkpoint), Some(damage)) => Ok(ResumePoint::FellBack {
                checkpoint,
                damaged: damage.sequence,
                reason: damage.reason.clone(),
            }),
        }
    }

    /// Returns the damage that this attempt has skipped so far, newest first.
    pub async fn skipped(&self) -> Vec<Damage> {
        self.state.lock().await.damaged.clone()
    }

    /// Returns whether there is a checkpoint for [`read`](Self::read) or [`restore`](Self::restore)
    /// to return.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are checkpoints but all of them are damaged.
    pub async fn prev_exists(&self) -> Result<bool> {
        Ok(self.state.lock().await.newest()?.is_some())
    }

    /// Reads the single file of this attempt's newest save or, if it has saved nothing, of the
    /// newest checkpoint of the earlier attempts. Returns `None` if there is no checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::NotSingle`] if the checkpoint does not hold exactly one file;
    /// [`ErrorKind::QuotaExceeded`] if it is larger than [`read_bytes`](Limits::read_bytes), before
    /// anything is fetched; [`ErrorKind::Corrupt`] if every checkpoint is damaged;
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Fenced`] if the checkpoint is gone because a newer
    /// attempt has replaced it.
    pub async fn read(&self) -> Result<Option<Bytes>> {
        let read = self.read_with_info().await?;
        Ok(read.map(|(_, contents)| contents))
    }

    /// Does the same as [`read`](Self::read), and says which checkpoint the contents are.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub async fn read_with_info(&self) -> Result<Option<(CheckpointInfo, Bytes)>> {
        while let Some((checkpoint, _lease)) = self.lease_newest(Purpose::Read).await? {
            checkpoint.check_read(&self.limits)?;
            match checkpoint.read_single().await {
                Ok(contents) => {
                    self.given(&checkpoint).await;
                    return Ok(Some((checkpoint.info(), contents)));
                }
                Err(error) => self.fall_back(&checkpoint, error).await?,
            }
        }
        Ok(None)
    }

    /// Makes `target` equal to the checkpoint that [`read`](Self::read) would return, however many
    /// files it has, and returns its sequence number. Returns `None` and leaves the target
    /// untouched if there is no checkpoint. A target that already equals the checkpoint is left
    /// alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the target has other content and `existing` says to refuse;
    /// otherwise the errors of [`read`](Self::read), of [`TreeTarget::writer`] and of the writer it
    /// returns.
    pub async fn restore(
        &self,
        target: impl TreeTarget,
        existing: Existing,
    ) -> Result<Option<u64>> {
        let restored = self.restore_with_info(target, existing).await?;
        Ok(restored.map(|info| info.sequence))
    }

    /// Does the same as [`restore`](Self::restore), and says which checkpoint was restored.
    ///
    /// # Errors
    /// Those of [`restore`](Self::restore).
    pub async fn restore_with_info(
        &self,
        target: impl TreeTarget,
        existing: Existing,
    ) -> Result<Option<CheckpointInfo>> {
        let call = self.begin_work();
        let (mut unprepared, mut prepared) = (Some(target), None);
        while let Some((checkpoint, description, _lease)) = self.newest(Purpose::Restore).await? {
            if let Some(target) = unprepared.take() {
                let at = &checkpoint.location;
                prepared = restore::prepare(target, at, &description, existing, &call).await?;
            }
            let Some(target) = prepared.take() else {
                return Ok(Some(checkpoint.info()));
            };
            let (target, written) =
                restore::write(target, &checkpoint.location, description, existing, &call).await?;
            match written {
                Ok(()) => {
                    self.given(&checkpoint).await;
                    return Ok(Some(checkpoint.info()));
                }
                Err(error) => self.fall_back(&checkpoint, error).await?,
            }
            prepared = Some(target);
        }
        Ok(None)
    }

    /// Commits the newest checkpoint that the plan keeps again, without storing its contents again,
    /// and deletes what the plan does not keep. Operators use it to prune a location whose task is
    /// not running. Returns the new position of that checkpoint, or `None` if the plan keeps none.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] if the location has changed since the plan was made; those of
    /// [`write`](Self::write).
    pub async fn prune(&self, plan: &PrunePlan) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        state.ready().await?;
        state.writer.follow(plan).await?;
        let Some(newest) = state.writer.newest() else {
            return Ok(None);
        };
        let commit = newest.commit.as_ref().clone();
        let draft = Draft {
            saved_at: commit.saved_at,
            metadata: commit.metadata.clone(),
        };
        let stored = state.writer.stage(self.limits).again(&commit);
        let (checkpoint, _) = state.commit(draft, stored, Place::OfNewest).await?;
        if !plan.given_up.is_empty() {
            state.writer.sweep().await?;
        }
        state.writer.settle().await;
        Ok(Some(checkpoint.sequence))
    }

    /// Waits until all checkpoints replaced so far are deleted. Durability does not depend on it;
    /// whatever is not deleted when the attempt is dropped is swept when the next one begins.
    pub async fn settle(&self) {
        let mut state = self.state.lock().await;
        // What cannot be read now is left to the next attempt.
        if state.ready().await.is_ok() {
            state.writer.discard_unused().await;
        }
        state.writer.settle().await;
    }

    /// Begins work of this attempt on other threads. The work checks the token of the returned value, and
    /// is cancelled when that value is dropped.
    pub fn begin_work(&self) -> CancelOnDrop {
        self.running.begin()
    }

    /// Waits until no thread works for a call that reads or writes a tree. A cancelled call, whose future
    /// was dropped, still ends its current step of at most 1 MiB or one file.
    pub async fn quiesce(&self) {
        self.running.ended().await;
    }

    /// Declares the schema of everything the task saves from now on, and what to do with a
    /// checkpoint that earlier attempts saved with another schema or without one.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if the name is longer than
    /// [`annotation_bytes`](Limits::annotation_bytes).
    pub async fn declare_schema(&self, name: String, change: SchemaChange) -> Result<()> {
        let metadata = Metadata {
            schema: Some(name.clone()),
            ..Metadata::default()
        };
        self.limits.check_metadata(&metadata)?;
        self.state.lock().await.schema = Some((name, change));
        Ok(())
    }

    /// Returns how many more bytes a save may store now, with the record that describes it. Returns 0 if that cannot be
    /// found out now, because the storage cannot be reached or a newer attempt owns it.
    pub async fn bytes_left(&self) -> u64 {
        let mut state = self.state.lock().await;
        match state.ready().await {
            Ok(()) => state.writer.usage().left(&self.limits),
            Err(_) => 0,
        }
    }

    /// Returns the limits on what the task may store.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what this attempt has committed so far.
    pub fn totals(&self) -> Totals {
        *self.lock_totals()
    }

    /// Returns the time to stamp on saves and trees.
    pub(crate) fn now(&self) -> SystemTime {
        self.location.environment().clock().now()
    }

    /// Returns the checkpoint that a read would return now, with a lease on it.
    pub(crate) async fn lease_newest(
        &self,
        purpose: Purpose,
    ) -> Result<Option<(Checkpoint, Lease)>> {
        let mut state = self.state.lock().await;
        let newest = state.newest()?;
        // Take the lease under the same lock: otherwise a save in between could delete the
        // checkpoint.
        Ok(newest.map(|newest| {
            let lease = state.writer.lease(purpose, &newest);
            (newest, lease)
        }))
    }

    /// Returns the checkpoint that a read would return now, with its description and a lease on it. Falls back past
    /// damaged descriptions.
    pub(crate) async fn newest(
        &self,
        purpose: Purpose,
    ) -> Result<Option<(Checkpoint, Arc<Description>, Lease)>> {
        while let Some((checkpoint, lease)) = self.lease_newest(purpose).await? {
            match checkpoint.describe(&self.limits).await {
                Ok(description) => return Ok(Some((checkpoint, description, lease))),
                Err(error) => self.fall_back(&checkpoint, error).await?,
            }
        }
        Ok(None)
    }

    /// Returns the checkpoint that this attempt resumes from, with a lease on it, if it may be given
    /// and has not been read in full.
    async fn lease_unverified(&self) -> Result<Option<(Checkpoint, Lease)>> {
        let mut state = self.state.lock().await;
        let Some(found) = state.unverified()? else {
            return Ok(None);
        };
        let lease = state.writer.lease(Purpose::Read, &found);
        Ok(Some((found, lease)))
    }

    /// Records that a checkpoint was read in full.
    pub(crate) async fn given(&self, checkpoint: &Checkpoint) {
        self.state.lock().await.given(checkpoint);
    }

    /// Records that `checkpoint` is damaged, if that is what `error` says. Returns any other error.
    pub(crate) async fn fall_back(&self, checkpoint: &Checkpoint, error: Error) -> Result<()> {
        self.state.lock().await.fall_back(checkpoint, error).await
    }

    /// Records that data which a save would have reused is damaged.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt deleted the data rather than it being corrupt; otherwise the
    /// error that prevented the check.
    pub(crate) async fn mark_corrupt(&self, damage: Error) -> Result<()> {
        self.state.lock().await.mark_corrupt(damage).await
    }

    /// Begins a save, before anything is stored for it.
    pub(crate) async fn stage(&self) -> Result<Stage> {
        let mut state = self.state.lock().await;
        state.writer.check_unfenced()?;
        state.ready().await?;
        state.writer.discard_unused().await;
        Ok(state.writer.stage(self.limits))
    }

    /// Deletes what a failed save has stored, if the quota refused it: other saves in flight may need the room.
    pub(crate) async fn make_room_after(&self, error: &Error) {
        if error.kind() == ErrorKind::QuotaExceeded {
            self.state.lock().await.writer.discard_unused().await;
        }
    }

    pub(crate) async fn commit(&self, draft: Draft, stored: Stored) -> Result<Saved> {
        let logical_bytes = stored.description.contents_bytes();
        let mut state = self.state.lock().await;
        let (checkpoint, uploaded_bytes) = state.commit(draft, stored, Place::OnTop).await?;
        let mut totals = self.lock_totals();
        totals.saves += 1;
        totals.logical_bytes = totals.logical_bytes.saturating_add(logical_bytes);
        totals.uploaded_bytes = totals.uploaded_bytes.saturating_add(uploaded_bytes);
        Ok(Saved {
            sequence: checkpoint.sequence,
            logical_bytes,
            uploaded_bytes,
        })
    }

    // A std mutex is enough, because it is never held across an await.
    fn lock_totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
