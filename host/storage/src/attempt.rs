//! An attempt: the owner of a location until a newer one claims it.

pub(crate) mod log_writer;
pub(crate) mod resume;
pub(crate) mod save;
pub(crate) mod saved;
pub(crate) mod settings;
mod state;
pub(crate) mod stream;

use std::sync::{Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Mutex;

use self::log_writer::{Draft, LogWriter, Place};
use self::resume::{ResumePoint, SchemaChange};
use self::saved::{Saved, Totals};
use self::settings::AttemptSettings;
use self::state::{Found, State};
use crate::checkpoint::Checkpoint;
use crate::contents::lease::{Lease, Purpose};
use crate::contents::stage::{Stage, StoredContents};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, SaveRate};
use crate::location::OpenLocation;
use crate::log::claim::{self, Claimant, Claimed};
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
/// Replaced checkpoints are deleted in the background; [`settle`](Self::settle) waits for these
/// deletions. A checkpoint that is being read is not deleted until the read ends.
#[derive(Debug)]
pub struct Attempt {
    location: OpenLocation,
    limits: Limits,
    state: Mutex<State>,
    totals: SyncMutex<Totals>,
}

impl Attempt {
    /// Claims the location, which fences every earlier attempt, and finds the checkpoint to resume
    /// from.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage, or that of a previous location that is needed,
    /// cannot be reached; [`ErrorKind::ReadOnly`] if the storage is read-only;
    /// [`ErrorKind::InvalidLocation`] if the storage ignores conditional puts. Damage is not an
    /// error here: later calls report it.
    pub async fn begin(location: OpenLocation, settings: AttemptSettings) -> Result<Self> {
        let claimant = Claimant {
            number: settings.number,
            component: settings.component,
            previous: settings.previous.as_ref(),
        };
        let Claimed {
            epoch,
            own,
            damaged,
            history,
        } = claim::claim(&location, &claimant).await?;
        let writer = LogWriter::new(
            location.clone(),
            epoch,
            &settings,
            own,
            &history.sequences,
            damaged,
        );
        Ok(Self {
            location,
            limits: settings.limits,
            state: Mutex::new(State {
                writer,
                rate: SaveRate::new(settings.limits.saves_per_minute),
                resumed: history.checkpoints.first().map(Checkpoint::info),
                found: history.checkpoints,
                damaged: history.damaged,
                own: None,
                schema: None,
            }),
            totals: SyncMutex::default(),
        })
    }

    /// Returns the location that this attempt has claimed.
    pub fn location(&self) -> &OpenLocation {
        &self.location
    }

    /// Returns what this attempt resumes from. Its own saves do not change the answer.
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
    /// [`ErrorKind::Corrupt`] if every checkpoint is damaged; [`ErrorKind::Unavailable`];
    /// [`ErrorKind::Fenced`] if the checkpoint is gone because a newer attempt has replaced it.
    pub async fn read(&self) -> Result<Option<Bytes>> {
        while let Some((checkpoint, _lease)) = self.lease_newest(Purpose::Read).await? {
            self.limits.check_tree(checkpoint.tree())?;
            match checkpoint.read_single().await {
                Ok(contents) => return Ok(Some(contents)),
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
        let Some((mut checkpoint, mut _lease)) = self.lease_newest(Purpose::Restore).await? else {
            return Ok(None);
        };
        self.limits.check_tree(checkpoint.tree())?;
        let prepared = restore::prepare(target, &checkpoint, existing).await?;
        let Some(mut target) = prepared else {
            return Ok(Some(checkpoint.sequence));
        };
        loop {
            let written;
            (target, written) = restore::write(target, &checkpoint, existing).await?;
            match written {
                Ok(()) => return Ok(Some(checkpoint.sequence)),
                Err(error) => self.fall_back(&checkpoint, error).await?,
            }
            match self.lease_newest(Purpose::Restore).await? {
                Some(older) => (checkpoint, _lease) = older,
                None => return Ok(None),
            }
            self.limits.check_tree(checkpoint.tree())?;
        }
    }

    /// Commits the newest checkpoint again, without storing its contents again, and deletes all but
    /// the newest [`keep`](AttemptSettings::keep) checkpoints. Operators use it to prune a location
    /// whose task is not running. Returns the new position of the newest checkpoint, or `None` if
    /// there is no checkpoint.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn prune(&self) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        if state.writer.is_damaged() {
            // A commit on top would hide the newer, damaged one, and its data would be swept.
            let what = "a newer record is damaged, so nothing was pruned; run `verify` to see which, or run the task, which resumes from the newest intact checkpoint";
            return Err(Error::corrupt(what));
        }
        let Some(newest) = state.writer.newest() else {
            return Ok(None);
        };
        let commit = newest.commit.as_ref().clone();
        let draft = Draft {
            saved_at: commit.saved_at,
            tree: commit.tree,
            metadata: commit.metadata,
        };
        let stored = state.writer.stage(self.limits).again(commit.contents);
        let (checkpoint, _) = state.commit(draft, stored, Place::OfNewest).await?;
        state.writer.settle().await;
        Ok(Some(checkpoint.sequence))
    }

    /// Waits until all checkpoints replaced so far are deleted. Durability does not depend on it;
    /// whatever is not deleted when the attempt is dropped is swept when the next one begins.
    pub async fn settle(&self) {
        let mut state = self.state.lock().await;
        state.writer.discard_unused().await;
        state.writer.settle().await;
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

    /// Returns how many more bytes a save may store now.
    pub async fn bytes_left(&self) -> u64 {
        let stored = self.state.lock().await.writer.stored_bytes();
        self.limits.stored_bytes.saturating_sub(stored)
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
    pub(crate) async fn stage(&self, metadata: &Metadata) -> Result<Stage> {
        let mut state = self.state.lock().await;
        state.writer.check_unfenced()?;
        self.limits.check_metadata(metadata)?;
        state
            .rate
            .count(self.location.environment().clock().instant())?;
        state.writer.discard_unused().await;
        Ok(state.writer.stage(self.limits))
    }

    pub(crate) async fn commit(&self, draft: Draft, stored: StoredContents) -> Result<Saved> {
        let logical_bytes = draft.tree.size_bytes().unwrap_or(u64::MAX);
        // Readers would treat such a commit as damaged, so it must never be made.
        if stored.contents.size_bytes() != logical_bytes {
            let what = "the stored contents differ in length from the files";
            return Err(Error::new(ErrorKind::Other, what));
        }
        self.limits.check_tree(&draft.tree)?;
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
