//! Plans what to prune, before anything is claimed or deleted.

use std::num::NonZeroUsize;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::MAX_GIVEN_UP;
use crate::location::OpenLocation;
use crate::log::history::{Damage, History};
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
    /// up, or if every checkpoint is damaged; [`ErrorKind::Unavailable`].
    pub async fn plan_prune(
        &self,
        keep: NonZeroUsize,
        examine: Examine,
        on_damage: OnDamage,
    ) -> Result<PrunePlan> {
        let history = History::load(self).await?;
        let checkpoints = history.resumable().to_vec();
        let mut plan = PrunePlan {
            found: checkpoints.iter().map(|c| c.sequence).collect(),
            ..PrunePlan::default()
        };
        let newest = checkpoints.first().map_or(0, |c| c.sequence);
        let above = history.damaged.iter().find(|d| d.sequence > newest);
        match (above, on_damage) {
            (Some(damage), OnDamage::Refuse) => return Err(refused(damage)),
            (_, OnDamage::GiveUp) => plan.given_up = self.damaged_slots(&history).await?,
            (None, OnDamage::Refuse) => {}
        }
        for checkpoint in &checkpoints {
            let sequence = checkpoint.sequence;
            if plan.kept.len() >= keep.get() {
                plan.deleted.push(sequence);
                continue;
            }
            let reads = plan.kept.is_empty() || examine == Examine::Kept;
            match (self.damage_of(checkpoint, reads).await?, on_damage) {
                (None, _) => plan.kept.push(sequence),
                // The next one may be whole.
                (Some(_), OnDamage::GiveUp) => plan.deleted.push(sequence),
                (Some(damage), OnDamage::Refuse) if plan.kept.is_empty() => {
                    return Err(refused(&damage));
                }
                (Some(_), OnDamage::Refuse) => plan.deleted.push(sequence),
            }
        }
        match plan.kept.is_empty() {
            true if !plan.found.is_empty() || !history.damaged.is_empty() => Err(Error::corrupt(
                format!("{self}: every checkpoint is damaged, so nothing was pruned"),
            )),
            _ => Ok(plan),
        }
    }

    /// Returns why a checkpoint cannot be restored, if so. Its objects are known to be there.
    async fn damage_of(&self, checkpoint: &Checkpoint, reads: bool) -> Result<Option<Damage>> {
        if !reads {
            return Ok(None);
        }
        match checkpoint.verify().await {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(Some(Damage::new(self, checkpoint.sequence, &error)))
            }
            Err(error) => Err(error),
        }
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
