//! What an attempt knows of its location, and which checkpoint it gives to its task.

use super::resume::SchemaChange;
use crate::attempt::log_writer::{Draft, LogWriter, Place};
use crate::checkpoint::{Checkpoint, CheckpointInfo};
use crate::contents::stage::Stored;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::log::history::Damage;
use crate::log::slot;

#[derive(Debug)]
pub(super) struct State {
    pub(super) writer: LogWriter,
    /// The checkpoints that this attempt found when it began, newest first, without those found
    /// damaged since. Empty once it has saved.
    pub(super) found: Vec<Checkpoint>,
    /// The first of `found` when the attempt began, if any.
    pub(super) resumed: Option<CheckpointInfo>,
    /// Damage above the first of `found`, newest first.
    pub(super) damaged: Vec<Damage>,
    /// The first of `found`, by its sequence number, if it has been read in full.
    pub(super) verified: Option<u64>,
    /// The newest save of this attempt.
    pub(super) own: Option<Checkpoint>,
    /// The schema that the task has declared.
    pub(super) schema: Option<(String, SchemaChange)>,
}

/// Whether the task may have the checkpoint that the attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Given,
    Ignored,
}

impl State {
    /// Waits until it is known what the location holds besides the newest checkpoint.
    ///
    /// # Errors
    /// Those of [`LogWriter::ready`].
    pub(super) async fn ready(&mut self) -> Result<()> {
        if !self.writer.ready().await? || self.own.is_some() {
            return Ok(());
        }
        // Checkpoints of a predecessor are all known already.
        let location = self.writer.location().url();
        if self
            .found
            .first()
            .is_some_and(|newest| newest.location.url() == location)
        {
            let known = std::mem::take(&mut self.found);
            let before = known.first().map_or(0, |newest| newest.sequence);
            let below = |c: &&Checkpoint| c.sequence <= before;
            self.found = self
                .writer
                .retained()
                .iter()
                .filter(below)
                .cloned()
                .collect();
            // The newest has lost data since it was found.
            if self.found.first().is_none_or(|c| c.sequence < before) {
                self.found.splice(..0, known);
            }
        }
        Ok(())
    }

    pub(super) async fn commit(
        &mut self,
        mut draft: Draft,
        stored: Stored,
        place: Place,
    ) -> Result<(Checkpoint, u64)> {
        if let (Some((declared, _)), None) = (&self.schema, &draft.metadata.schema) {
            draft.metadata.schema = Some(declared.clone());
        }
        let (checkpoint, uploaded_bytes) = self.writer.commit(draft, stored, place).await?;
        self.found.clear();
        self.own = Some(checkpoint.clone());
        self.writer.retire().await;
        Ok((checkpoint, uploaded_bytes))
    }

    /// Returns the checkpoint that a read would return now.
    pub(super) fn newest(&self) -> Result<Option<Checkpoint>> {
        match (&self.own, self.found.first(), self.damaged.first()) {
            (Some(checkpoint), _, _) => Ok(Some(checkpoint.clone())),
            (None, Some(checkpoint), _) => match self.schema_of_found()? {
                Found::Given => Ok(Some(checkpoint.clone())),
                Found::Ignored => Ok(None),
            },
            (None, None, None) => Ok(None),
            (None, None, Some(damage)) => Err(damage.error()),
        }
    }

    /// Returns the checkpoint that this attempt resumes from, if the task may have it and it has not
    /// been read in full.
    pub(super) fn unverified(&self) -> Result<Option<Checkpoint>> {
        match self.found.first() {
            Some(found) if self.verified != Some(found.sequence) => {
                let is_given = self.schema_of_found()? == Found::Given;
                Ok(is_given.then(|| found.clone()))
            }
            _ => Ok(None),
        }
    }

    /// Records that a checkpoint was read in full.
    pub(super) fn given(&mut self, checkpoint: &Checkpoint) {
        if self.found.first().is_some_and(|f| f.is_same(checkpoint)) {
            self.verified = Some(checkpoint.sequence);
        }
    }

    /// Checks the schema of the checkpoint found against the declared one.
    ///
    /// # Errors
    /// `SchemaMismatch`
    pub(super) fn schema_of_found(&self) -> Result<Found> {
        let (Some((declared, change)), Some(resumed)) = (&self.schema, &self.resumed) else {
            return Ok(Found::Given);
        };
        let found = &resumed.metadata.schema;
        match change {
            _ if found.as_ref() == Some(declared) => Ok(Found::Given),
            SchemaChange::Allow => Ok(Found::Given),
            SchemaChange::StartFresh => Ok(Found::Ignored),
            SchemaChange::Refuse => Err(Error::new(
                ErrorKind::SchemaMismatch,
                match found {
                    Some(found) => {
                        format!(
                            "the checkpoint has the schema {found:?}, but the task declared {declared:?}"
                        )
                    }
                    None => {
                        format!("the checkpoint has no schema, but the task declared {declared:?}")
                    }
                },
            )),
        }
    }

    /// Records that data which a save would have reused is damaged.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt deleted the data rather than it being corrupt; otherwise the
    /// error that prevented the check.
    pub(super) async fn mark_corrupt(&mut self, damage: Error) -> Result<()> {
        self.check_damage(damage).await?;
        self.ready().await?;
        self.writer.mark_corrupt();
        Ok(())
    }

    /// Checks whether a newer attempt deleted the data, which is not damage. Returns the damage if
    /// it is real.
    async fn check_damage(&mut self, damage: Error) -> Result<Error> {
        let location = self.writer.location();
        let newest = slot::list(location).await?.pop().unwrap_or_default();
        if newest > self.writer.last_sequence() {
            // Unless the record is a save of this attempt that landed late.
            match slot::read(location, newest).await {
                Ok(Some(Record::Commit(commit))) if commit.epoch == self.writer.epoch() => {}
                _ => return Err(Error::fenced().with_source(damage)),
            }
        }
        Ok(damage)
    }

    /// Records that `checkpoint` is damaged, if that is what `error` says. Returns any other error.
    pub(super) async fn fall_back(&mut self, checkpoint: &Checkpoint, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        let error = self.check_damage(error).await?;
        self.ready().await?;
        let damage = Damage::new(&checkpoint.location, checkpoint.sequence, &error);
        let lost = |c: &Checkpoint| c.is_same(checkpoint);
        if self.own.take_if(|own| lost(own)).is_some() {
            // A save of this attempt is damaged: report it rather than silently fall back to an
            // older one. The next read returns what is left.
            self.writer.forget(checkpoint);
            self.found = self.writer.retained().to_vec();
            self.damaged.insert(0, damage);
            return Err(error);
        }
        let before = self.found.len();
        self.found.retain(|c| !lost(c));
        if self.found.len() < before {
            self.resumed = self.found.first().map(Checkpoint::info);
        }
        self.writer.forget(checkpoint);
        damage.warn(self.found.first());
        self.damaged.insert(0, damage);
        Ok(())
    }
}
