//! The invariants that relate a promise to the log, to other attempts, and to the stored objects.

use object_store::path::Path;

use super::{Ledger, Objects, Outcome, Save};
use crate::format::Record;
use crate::paths;

impl Ledger {
    /// Checks that a commit retains the newest acknowledged saves of its attempt, and no more than `keep`.
    pub(super) fn check_kept(&self, epoch: u64, sequence: u64) -> Result<(), String> {
        let Some(Record::Commit(commit)) = self.log.get(&sequence) else {
            // A concurrent save may have replaced it already.
            return match self.newest() {
                Some((newest, _)) if newest > sequence => Ok(()),
                _ => Err(format!("{sequence} was acknowledged but does not exist")),
            };
        };
        let retains = &commit.retains;
        let oldest = retains.iter().min().copied().unwrap_or_default();
        let own = self.saves.iter().filter_map(|save| match save.outcome {
            Outcome::Acknowledged(there) => {
                (save.epoch == epoch && there <= sequence).then_some((there, save.contents))
            }
            Outcome::Unknown | Outcome::Fenced => None,
        });
        let is_superseded = self
            .log
            .iter()
            .any(|(other, record)| *other > epoch && matches!(record, Record::Claim(_)));
        // A prune may have committed the same contents again. If this was acknowledged late, a newer attempt may have
        // deleted that commit since.
        let is_lost = |(there, contents): &(u64, u32)| {
            let again = |newer: &u64| {
                let is_deleted = !self.log.contains_key(newer) && is_superseded;
                newer > there
                    && (self.number_at(*newer) == Some(*contents)
                        || is_deleted && self.committed.contains(&(*newer, *contents)))
            };
            !retains.contains(there) && !retains.iter().any(again)
        };
        let lost = own
            .filter(is_lost)
            .find(|(there, _)| retains.len() < self.keep || *there > oldest);
        if retains.len() > self.keep || lost.is_some() {
            return Err(format!(
                "{sequence} retains {retains:?} (at most {} are allowed); lost: {lost:?}",
                self.keep
            ));
        }
        Ok(())
    }

    /// Checks that a record states the size of the records below it that are never deleted, from the record that it
    /// follows. A claim that is not the last record follows nothing, because it is not valid.
    pub(super) fn check_permanent(
        &self,
        sequence: u64,
        record: &Record,
        is_last: bool,
    ) -> Result<(), String> {
        let followed = match record {
            Record::Commit(commit) => commit.epoch,
            Record::Claim(_) if !is_last => return Ok(()),
            Record::Claim(_) => sequence - 1,
        };
        let expected = match followed {
            0 => 0,
            _ => match self.log.get(&followed) {
                Some(below) => below.permanent_bytes() + self.sizes[&followed],
                None => return Err(format!("{sequence} follows {followed}, which is gone")),
            },
        };
        let stated = record.permanent_bytes();
        match stated == expected {
            true => Ok(()),
            false => Err(format!(
                "{sequence} says that {stated} bytes below it stay, but they are {expected}"
            )),
        }
    }

    /// Checks that every attempt resumed from the newest checkpoint promised to older epochs, or a newer one. What
    /// was promised before an attempt began afresh does not count after it.
    pub(super) fn check_bases(&self) -> Result<(), String> {
        for begun in &self.begun {
            let (from, contents) = begun.base.unzip();
            let from = from.unwrap_or_default();
            let is_older =
                |epoch: u64| epoch < begun.epoch && !self.is_given_up_by(epoch, begun.epoch);
            for save in self.saves.iter().filter(|save| is_older(save.epoch)) {
                if let Outcome::Acknowledged(sequence) = save.outcome
                    && sequence > from
                {
                    return Err(format!(
                        "epoch {} resumed from {from} although {sequence} was saved by epoch {}",
                        begun.epoch, save.epoch
                    ));
                }
            }
            for older in self.begun.iter().filter(|older| is_older(older.epoch)) {
                let same = older.base.unzip().0.unwrap_or_default() == from;
                let of_newer =
                    |save: &Save| Some(save.contents) == contents && save.epoch >= older.epoch;
                if !same && !self.saves.iter().any(of_newer) {
                    return Err(format!(
                        "epoch {} resumed from {:?}, but epoch {} from {:?}",
                        older.epoch, older.base, begun.epoch, begun.base
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks that everything the newest commit refers to exists, and that the newest commit is not older
    /// than what was promised.
    pub(super) fn check_storage(&self, objects: &Objects) -> Option<String> {
        let promised = self.promised();
        let Some((newest, commit)) = self.newest() else {
            return (promised > 0)
                .then(|| format!("no commit is left although {promised} was promised"));
        };
        if newest < promised {
            return Some(format!(
                "{newest} is the newest commit although {promised} was promised"
            ));
        }
        for sequence in &commit.retains {
            let Some(Record::Commit(retained)) = self.log.get(sequence) else {
                return Some(format!("{newest} retains {sequence}, which does not exist"));
            };
            for object in &retained.objects {
                let path = paths::object(&Path::from("task"), object.name());
                let size = objects.get(path.as_ref()).map(|bytes| bytes.len() as u64);
                if size != Some(object.size_bytes) {
                    return Some(format!(
                        "{newest} retains {sequence}, whose {path} is missing"
                    ));
                }
            }
        }
        None
    }
}
