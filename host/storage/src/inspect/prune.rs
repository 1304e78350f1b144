//! Plans what to prune, before anything is claimed or deleted.

use std::num::NonZeroUsize;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::MAX_GIVEN_UP;
use crate::location::OpenLocation;
use crate::log::history::{Damage, History, MAX_READS};
use crate::log::slot;
use crate::paths;

/// How much to read before pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Examine {
    /// The newest checkpoint in full, and the names and sizes of the data objects of the others.
    #[default]
    Newest,
    /// Every checkpoint that is kept, in full.
    Kept,
}

/// What to do about damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Prune nothing if the newest checkpoint or a newer record is damaged.
    #[default]
    Refuse,
    /// Give up what is damaged: read the whole location, delete damaged data, and never report the damaged
    /// records again. Records are not deleted.
    GiveUp,
}

/// What pruning keeps and deletes, by sequence number. Made by [`OpenLocation::plan_prune`] and carried out by
/// [`Attempt::prune`](crate::Attempt::prune).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunePlan {
    /// The checkpoints to keep, newest first.
    pub kept: Vec<u64>,
    /// The checkpoints to delete, newest first.
    pub deleted: Vec<u64>,
    /// The damaged slots to give up, ascending.
    pub given_up: Vec<u64>,
    /// The checkpoints that were found, newest first.
    pub(crate) found: Vec<u64>,
}

impl OpenLocation {
    /// Decides what to prune so that the newest `keep` restorable checkpoints remain. Reads as much as `examine`
    /// says, so that what remains can be restored. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the newest checkpoint or a newer record is damaged, unless that is to be given
    /// up, or if every checkpoint is damaged; [`ErrorKind::Unavailable`], also if a running attempt prunes
    /// faster than this reads.
    pub async fn plan_prune(
        &self,
        keep: NonZeroUsize,
        examine: Examine,
        on_damage: OnDamage,
    ) -> Result<PrunePlan> {
        for _ in 0..MAX_READS {
            let history = History::load(self).await?;
            let mut plan = PrunePlan {
                found: history.resumable().iter().map(|c| c.sequence).collect(),
                ..PrunePlan::default()
            };
            if on_damage == OnDamage::GiveUp {
                plan.given_up = self.damaged_slots(&history).await?;
            }
            let damaged = plan
                .choose(self, &history, keep, examine, on_damage)
                .await?;
            // Damage in a slot that is given up is never reported, so give up nothing that may be restored.
            plan.given_up.retain(|slot| !plan.kept.contains(slot));
            // What a running attempt has pruned meanwhile looks damaged.
            if damaged.is_some() && slot::list(self).await? != history.sequences {
                continue;
            }
            return match damaged {
                Some(damage) => Err(damage),
                None => Ok(plan),
            };
        }
        let what = format!("{self}: the location changes faster than it can be read");
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    /// Returns the slots that hold a damaged record, or should hold a retained one.
    async fn damaged_slots(&self, history: &History) -> Result<Vec<u64>> {
        let findings = self.verify().await?.findings;
        let records = findings
            .iter()
            .filter_map(|finding| paths::parse_record_name(finding.object.strip_prefix("log/")?));
        let mut slots: Vec<u64> = records
            .chain(history.damaged.iter().map(|damage| damage.sequence))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        // The others are given up the next time.
        slots.truncate(MAX_GIVEN_UP.saturating_sub(history.given_up.len()));
        Ok(slots)
    }
}

impl PrunePlan {
    /// Chooses what to keep. Returns why nothing may be pruned, if so.
    async fn choose(
        &mut self,
        location: &OpenLocation,
        history: &History,
        keep: NonZeroUsize,
        examine: Examine,
        on_damage: OnDamage,
    ) -> Result<Option<Error>> {
        let checkpoints = history.resumable();
        let newest = checkpoints.first().map_or(0, |c| c.sequence);
        let damaged = history.relevant_damage();
        let above = damaged.iter().find(|d| d.sequence > newest);
        if let (Some(damage), OnDamage::Refuse) = (above, on_damage) {
            return Ok(Some(refused(damage)));
        }
        for checkpoint in checkpoints {
            let sequence = checkpoint.sequence;
            // The names and sizes of the data objects are known to be right.
            let reads = self.kept.is_empty() || examine == Examine::Kept;
            let damage = match self.kept.len() < keep.get() && reads {
                true => damage_of(checkpoint).await?,
                false => None,
            };
            match damage {
                Some(damage) if self.kept.is_empty() && on_damage == OnDamage::Refuse => {
                    return Ok(Some(refused(&damage)));
                }
                None if self.kept.len() < keep.get() => self.kept.push(sequence),
                // The next one may be whole.
                _ => self.deleted.push(sequence),
            }
        }
        if !self.kept.is_empty() {
            return Ok(None);
        }
        if !checkpoints.is_empty() || !damaged.is_empty() {
            let what = format!("{location}: every checkpoint is damaged, so nothing was pruned");
            return Ok(Some(Error::corrupt(what)));
        }
        // Only a commit can give up a slot, and there is none to repeat.
        Ok(self.given_up.first().map(|slot| {
            Error::corrupt(format!(
                "{location}: record {slot} is damaged, but there is no checkpoint to keep, so nothing was pruned; try again once the task has saved"
            ))
        }))
    }
}

/// Returns why a checkpoint cannot be restored, if so.
async fn damage_of(checkpoint: &Checkpoint) -> Result<Option<Damage>> {
    let Checkpoint {
        location, sequence, ..
    } = checkpoint;
    match checkpoint.read_through().await {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            Ok(Some(Damage::new(location, *sequence, &error)))
        }
        Err(error) => Err(error),
    }
}

fn refused(damage: &Damage) -> Error {
    let Damage {
        location,
        sequence,
        reason,
    } = damage;
    Error::corrupt(format!(
        "{location}: checkpoint {sequence} is damaged, so nothing was pruned: {reason}; `verify` lists all damage, and `prune --give-up` prunes in spite of it"
    ))
}
