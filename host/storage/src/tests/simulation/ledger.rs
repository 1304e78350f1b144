//! What must hold, whatever happens: the ledger of what was promised to whom, and of what the storage holds.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use object_store::path::Path;

use super::contents::Contents;
use crate::checkpoint::CheckpointInfo;
use crate::error::ErrorKind;
use crate::format::{Commit, Record};
use crate::paths;

/// The annotation by which a checkpoint tells which contents it holds.
pub(super) const NUMBER: &str = "number";

/// Where a save stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody was told, or that it failed: it may have been made.
    Unknown,
    /// Its process was told that it stands in this slot.
    Acknowledged(u64),
    /// Its process was told that it is fenced: it must never be seen.
    Fenced,
}

/// A save that was begun, or a pruning, which commits the same contents once more.
#[derive(Clone, Debug)]
struct Save {
    epoch: u64,
    contents: u32,
    began: u64,
    /// When its process was told, or gave up. Of saves in the background, that is not known.
    ended: Option<u64>,
    outcome: Outcome,
}

/// An attempt that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    epoch: u64,
    at: u64,
    /// What it goes on from: a slot, and the contents of that checkpoint.
    base: Option<(u64, u32)>,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) violations: Vec<String>,
    /// How many checkpoints every attempt keeps.
    pub(super) keep: usize,
    contents: Vec<Contents>,
    saves: Vec<Save>,
    begun: Vec<Begun>,
    /// Counts what was promised and asked, to tell what came first.
    moment: u64,
    log: BTreeMap<u64, Record>,
    /// The hash of every object that ever was.
    put: HashMap<String, blake3::Hash>,
}

/// A name for a save that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct SaveId(usize);

type Objects = BTreeMap<String, Bytes>;

impl Ledger {
    pub(super) fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// New contents.
    pub(super) fn draw(&mut self, draw: impl FnOnce(u32) -> Contents) -> Contents {
        let contents = draw(self.contents.len() as u32);
        self.contents.push(contents.clone());
        contents
    }

    pub(super) fn contents(&self, number: u32) -> &Contents {
        &self.contents[number as usize]
    }

    /// # Errors
    /// If the checkpoint says nothing of its contents.
    pub(super) fn number_of(&self, info: &CheckpointInfo) -> Result<u32, String> {
        let number = info.metadata.annotations.get(NUMBER);
        let number = number.and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("nobody has saved checkpoint {}", info.sequence))
    }

    /// The epoch of the newest claim of a process.
    pub(super) fn epoch_of(&self, process: u32) -> u64 {
        let of_process = self.log.iter().rev().find_map(|(sequence, record)| {
            let Record::Claim(claim) = record else {
                return None;
            };
            (claim.attempt == process).then_some(*sequence)
        });
        of_process.unwrap_or_default()
    }

    /// An attempt has begun that was called then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn begun(
        &mut self,
        epoch: u64,
        called: u64,
        base: Option<(u64, u32)>,
    ) -> Result<(), String> {
        let at = self.now();
        for earlier in self.begun.iter().filter(|earlier| earlier.at < called) {
            if earlier.epoch >= epoch {
                return Err(format!("epoch {epoch} after {}", earlier.epoch));
            }
        }
        if let Some((sequence, contents)) = base {
            self.explain(sequence, contents)?;
        }
        self.begun.push(Begun { epoch, at, base });
        self.check_bases()
    }

    /// A save begins.
    pub(super) fn save(&mut self, epoch: u64, contents: u32) -> SaveId {
        let began = self.now();
        self.saves.push(Save {
            epoch,
            contents,
            began,
            ended: None,
            outcome: Outcome::Unknown,
        });
        SaveId(self.saves.len() - 1)
    }

    /// Its process was told that it stands.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(super) fn acknowledged(&mut self, save: SaveId, sequence: u64) -> Result<(), String> {
        let Save {
            epoch,
            contents,
            began,
            ..
        } = self.saves[save.0];
        self.saves[save.0].outcome = Outcome::Acknowledged(sequence);
        if let Some(newer) = self.begun.iter().find(|b| b.epoch > epoch && b.at < began) {
            let newer = newer.epoch;
            return Err(format!(
                "epoch {epoch} has saved {sequence} although {newer} had begun"
            ));
        }
        for other in &self.saves {
            if let Outcome::Acknowledged(there) = other.outcome
                && there >= sequence
                && other.contents != contents
                && (other.epoch < epoch || there == sequence)
            {
                return Err(format!("{sequence} is committed, as was {there} before"));
            }
        }
        self.check_kept(epoch, sequence)?;
        self.check_bases()
    }

    /// A commit names the newest of those that its attempt was told of, and not too many.
    fn check_kept(&self, epoch: u64, sequence: u64) -> Result<(), String> {
        let Some(Record::Commit(commit)) = self.log.get(&sequence) else {
            // A save that was made at the same time may have replaced it already.
            return match self.newest() {
                Some((newest, _)) if newest > sequence => Ok(()),
                _ => Err(format!("{sequence} is acknowledged, and not there")),
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
        // Or it was pruned, and is there once more.
        let is_lost = |(there, contents): &(u64, u32)| {
            let again = |newer: &u64| newer > there && self.number_at(*newer) == Some(*contents);
            !retains.contains(there) && !retains.iter().any(again)
        };
        let lost = own
            .filter(is_lost)
            .find(|(there, _)| retains.len() < self.keep || *there > oldest);
        if retains.len() > self.keep || lost.is_some() {
            return Err(format!("{sequence} retains {retains:?}, {lost:?} is lost"));
        }
        Ok(())
    }

    /// Its process was told that it has failed, or has given it up: it may still be made.
    pub(super) fn failed(&mut self, save: SaveId) {
        self.saves[save.0].ended = Some(self.now());
    }

    /// Its process was told that it is fenced.
    ///
    /// # Errors
    /// If nobody has fenced it.
    pub(super) fn fenced(&mut self, save: SaveId) -> Result<(), String> {
        self.saves[save.0].outcome = Outcome::Fenced;
        self.check_fenced(self.saves[save.0].epoch)
    }

    /// # Errors
    /// If nobody has claimed the location after this epoch.
    pub(super) fn check_fenced(&self, epoch: u64) -> Result<(), String> {
        let is_claim = |(_, record): (_, &Record)| matches!(record, Record::Claim(_));
        match self.log.range(epoch + 1..).any(is_claim) {
            true => Ok(()),
            false => Err(format!("epoch {epoch} is fenced by nobody")),
        }
    }

    /// It turns out that this was not to be saved at all.
    pub(super) fn withdrawn(&mut self, save: SaveId) {
        self.saves[save.0].outcome = Outcome::Fenced;
    }

    /// The contents that a commit in the log names.
    pub(super) fn number_at(&self, sequence: u64) -> Option<u32> {
        let Some(Record::Commit(commit)) = self.log.get(&sequence) else {
            return None;
        };
        commit.metadata.annotations.get(NUMBER)?.parse().ok()
    }

    pub(super) fn has_acknowledged(&self, epoch: u64) -> bool {
        let of_epoch =
            |save: &Save| save.epoch == epoch && matches!(save.outcome, Outcome::Acknowledged(_));
        self.saves.iter().any(of_epoch)
    }

    /// The newest slot that anybody was told of, as a save or as what to go on from.
    pub(super) fn promised(&self) -> u64 {
        let saved = self.saves.iter().map(|save| match save.outcome {
            Outcome::Acknowledged(sequence) => sequence,
            Outcome::Unknown | Outcome::Fenced => 0,
        });
        let bases = self.begun.iter().filter_map(|b| Some(b.base?.0));
        saved.chain(bases).max().unwrap_or_default()
    }

    /// # Errors
    /// If no save can be what lies in this slot with these contents.
    pub(super) fn explain(&self, sequence: u64, contents: u32) -> Result<(), String> {
        let can_be = |save: &Save| match save.outcome {
            Outcome::Acknowledged(there) => there == sequence,
            // Not over a save that its process has begun later, and was told of.
            Outcome::Unknown => !self.saves.iter().any(|later| {
                let Outcome::Acknowledged(there) = later.outcome else {
                    return false;
                };
                let after = save.ended.is_some_and(|ended| later.began > ended);
                later.epoch == save.epoch && after && there < sequence
            }),
            Outcome::Fenced => false,
        };
        let of_these = self.saves.iter().filter(|save| save.contents == contents);
        match of_these.clone().any(can_be) {
            true => Ok(()),
            false => Err(format!(
                "checkpoint {sequence} with contents {contents} cannot be: {:?}",
                of_these.collect::<Vec<_>>()
            )),
        }
    }

    /// What the newest save of an epoch can hold, given what it goes on from.
    pub(super) fn own(&self, epoch: u64, base: Option<u32>) -> Vec<&Contents> {
        let own = self.saves.iter().filter(|save| save.epoch == epoch);
        let newest = own.clone().filter_map(|save| match save.outcome {
            Outcome::Acknowledged(sequence) => Some((sequence, save)),
            Outcome::Unknown | Outcome::Fenced => None,
        });
        let newest = newest.max_by_key(|(sequence, _)| *sequence);
        let since = newest.map_or(0, |(_, save)| save.began);
        let newest = newest.map(|(_, save)| save.contents).or(base);
        let unknown = own.filter(|save| save.outcome == Outcome::Unknown && save.began >= since);
        let numbers = newest.into_iter().chain(unknown.map(|save| save.contents));
        numbers.map(|number| self.contents(number)).collect()
    }

    /// The sequence numbers of the checkpoints that the newest commit names.
    pub(super) fn retained(&self) -> Vec<u64> {
        let retained = self.newest().map(|(_, commit)| commit.retains.clone());
        retained.unwrap_or_default()
    }

    fn newest(&self) -> Option<(u64, &Commit)> {
        self.log.iter().rev().find_map(|(sequence, record)| {
            let Record::Commit(commit) = record else {
                return None;
            };
            Some((*sequence, &**commit))
        })
    }

    /// What older epochs were told of, every newer attempt goes on from, or from something newer of theirs.
    fn check_bases(&self) -> Result<(), String> {
        for begun in &self.begun {
            let (from, contents) = begun.base.unzip();
            let from = from.unwrap_or_default();
            for save in self.saves.iter().filter(|save| save.epoch < begun.epoch) {
                if let Outcome::Acknowledged(sequence) = save.outcome
                    && sequence > from
                {
                    return Err(format!(
                        "epoch {} went on from {from}, and {sequence} was saved by {}",
                        begun.epoch, save.epoch
                    ));
                }
            }
            for older in self.begun.iter().filter(|older| older.epoch < begun.epoch) {
                let same = older.base.unzip().0.unwrap_or_default() == from;
                let of_newer =
                    |save: &Save| Some(save.contents) == contents && save.epoch >= older.epoch;
                if !same && !self.saves.iter().any(of_newer) {
                    return Err(format!(
                        "epoch {} went on from {:?}, and {} from {:?}",
                        older.epoch, older.base, begun.epoch, begun.base
                    ));
                }
            }
        }
        Ok(())
    }

    /// An object was put. Returns what is wrong with that.
    pub(super) fn has_put(
        &mut self,
        name: &str,
        bytes: &Bytes,
        objects: &Objects,
    ) -> Option<String> {
        let hash = blake3::hash(bytes);
        let before = self.put.insert(name.to_owned(), hash);
        let is_data = name.contains("/data/");
        if is_data && before.is_some_and(|before| before != hash) {
            return Some(format!("{name} is used again"));
        }
        if let Some(sequence) = sequence(name) {
            let record = Record::decode(bytes).unwrap();
            self.log.insert(sequence, record);
        }
        self.check_storage(objects)
    }

    /// An object was deleted, if it was there. Returns what is wrong with that.
    pub(super) fn has_deleted(&mut self, name: &str, objects: &Objects) -> Option<String> {
        if let Some(sequence) = sequence(name) {
            self.log.remove(&sequence);
        }
        self.check_storage(objects)
    }

    /// What the newest commit names is there, and the newest commit is not older than what was promised.
    fn check_storage(&self, objects: &Objects) -> Option<String> {
        let promised = self.promised();
        let Some((newest, commit)) = self.newest() else {
            return (promised > 0)
                .then(|| format!("no commit is left, and {promised} was promised"));
        };
        if newest < promised {
            return Some(format!(
                "{newest} is the newest, and {promised} was promised"
            ));
        }
        for sequence in &commit.retains {
            let Some(Record::Commit(retained)) = self.log.get(sequence) else {
                return Some(format!("{newest} retains {sequence}, which is not there"));
            };
            for object in retained.contents.objects() {
                let path = paths::object(&Path::from("task"), object.name());
                let size = objects.get(path.as_ref()).map(|bytes| bytes.len() as u64);
                if size != Some(object.size_bytes) {
                    return Some(format!("{newest} retains {sequence}, without its {path}"));
                }
            }
        }
        None
    }
}

fn sequence(name: &str) -> Option<u64> {
    paths::parse_record(&Path::from("task"), &Path::from(name))
}

/// Whether an error may be told: not without a cause.
pub(super) fn is_excused(kind: ErrorKind, failures: u64) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::ReadOnly => failures > 0,
        _ => false,
    }
}
