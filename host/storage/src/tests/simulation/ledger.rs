//! The ledger: every promise made to a process, and the state of the storage. It checks the invariants.

mod checks;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use object_store::path::Path;

use super::contents::Contents;
use crate::checkpoint::CheckpointInfo;
use crate::error::ErrorKind;
use crate::format::{Commit, Record};
use crate::paths;

/// The annotation that identifies the contents of a checkpoint.
pub(super) const NUMBER: &str = "number";

/// The outcome of a save, as its process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The save is in flight, was dropped, or failed. It may still have been committed.
    Unknown,
    /// The save was acknowledged as committed in this slot.
    Acknowledged(u64),
    /// The save failed as fenced. It must never become visible.
    Fenced,
}

/// A save, or a prune, which commits existing contents again.
#[derive(Clone, Debug)]
struct Save {
    epoch: u64,
    contents: u32,
    began: u64,
    /// When the save failed or was dropped. Not known for background saves.
    ended: Option<u64>,
    outcome: Outcome,
}

/// An attempt that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    epoch: u64,
    at: u64,
    /// The checkpoint it resumed from: its slot and its contents.
    base: Option<(u64, u32)>,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) violations: Vec<String>,
    /// The number of checkpoints that every attempt keeps.
    pub(super) keep: usize,
    contents: Vec<Contents>,
    saves: Vec<Save>,
    begun: Vec<Begun>,
    /// A logical clock that orders calls and promises.
    moment: u64,
    log: BTreeMap<u64, Record>,
    /// The size of every record that was ever in the log.
    sizes: HashMap<u64, u64>,
    /// The claims that begin afresh, above every record that existed: what lies below is given up.
    afresh: Vec<u64>,
    /// The slots and contents of commits that landed below the newest record. The network delivers a put that was
    /// refused a second time, after its slot was pruned.
    late: HashSet<(u64, u32)>,
    /// The slots and contents of all commits that were ever put.
    committed: HashSet<(u64, u32)>,
    /// The hash of every object that was ever stored.
    put: HashMap<String, blake3::Hash>,
}

/// Identifies a save in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct SaveId(usize);

type Objects = BTreeMap<String, Bytes>;

impl Ledger {
    pub(super) fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Adds new contents.
    pub(super) fn draw(&mut self, draw: impl FnOnce(u32) -> Contents) -> Contents {
        let contents = draw(self.contents.len() as u32);
        self.contents.push(contents.clone());
        contents
    }

    pub(super) fn contents(&self, number: u32) -> &Contents {
        &self.contents[number as usize]
    }

    /// # Errors
    /// If the checkpoint lacks the annotation [`NUMBER`].
    pub(super) fn number_of(&self, info: &CheckpointInfo) -> Result<u32, String> {
        let number = info.metadata.annotations.get(NUMBER);
        let number = number.and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("no process saved checkpoint {}", info.sequence))
    }

    /// Returns the epoch of the newest claim of a process.
    pub(super) fn epoch_of(&self, process: u32) -> u64 {
        let of_process = self.log.iter().rev().find_map(|(sequence, record)| {
            let Record::Claim(claim) = record else {
                return None;
            };
            (claim.attempt == process).then_some(*sequence)
        });
        of_process.unwrap_or_default()
    }

    /// Records that an attempt has begun. `called` is the moment of the call.
    ///
    /// # Errors
    /// A description of the violated invariant.
    pub(super) fn begun(
        &mut self,
        epoch: u64,
        called: u64,
        base: Option<(u64, u32)>,
    ) -> Result<(), String> {
        let at = self.now();
        for earlier in self.begun.iter().filter(|earlier| earlier.at < called) {
            if earlier.epoch >= epoch {
                return Err(format!("epoch {epoch} began after epoch {}", earlier.epoch));
            }
        }
        if let Some((sequence, contents)) = base {
            self.explain(sequence, contents)?;
        }
        self.begun.push(Begun { epoch, at, base });
        self.check_bases()
    }

    /// Records that a save begins.
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

    /// Records that a save was acknowledged.
    ///
    /// # Errors
    /// A description of the violated invariant.
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
                "epoch {epoch} saved {sequence} although epoch {newer} had begun"
            ));
        }
        for other in &self.saves {
            if let Outcome::Acknowledged(there) = other.outcome
                && there >= sequence
                && other.contents != contents
                && (other.epoch < epoch || there == sequence)
            {
                return Err(format!(
                    "{sequence} was acknowledged after {there}, which must be older"
                ));
            }
        }
        self.check_kept(epoch, sequence)?;
        self.check_bases()
    }

    /// Records that a save failed or was dropped. It may still be committed.
    pub(super) fn failed(&mut self, save: SaveId) {
        self.saves[save.0].ended = Some(self.now());
    }

    /// Records that a save failed as fenced.
    ///
    /// # Errors
    /// If no newer attempt has claimed the location.
    pub(super) fn fenced(&mut self, save: SaveId) -> Result<(), String> {
        self.saves[save.0].outcome = Outcome::Fenced;
        self.check_fenced(self.saves[save.0].epoch)
    }

    /// Checks that an attempt may be fenced.
    ///
    /// # Errors
    /// If no newer attempt has claimed the location.
    pub(super) fn check_fenced(&self, epoch: u64) -> Result<(), String> {
        let is_claim = |(_, record): (_, &Record)| matches!(record, Record::Claim(_));
        match self.log.range(epoch + 1..).any(is_claim) {
            true => Ok(()),
            false => Err(format!(
                "epoch {epoch} is fenced although there is no newer claim"
            )),
        }
    }

    /// Withdraws a save that turned out not to be one. It must never become visible.
    pub(super) fn withdrawn(&mut self, save: SaveId) {
        self.saves[save.0].outcome = Outcome::Fenced;
    }

    /// Returns the number of the contents of a commit in the log.
    pub(super) fn number_at(&self, sequence: u64) -> Option<u32> {
        let Some(Record::Commit(commit)) = self.log.get(&sequence) else {
            return None;
        };
        commit.metadata.annotations.get(NUMBER)?.parse().ok()
    }

    /// Returns whether an attempt has begun afresh above this slot.
    pub(super) fn is_given_up(&self, sequence: u64) -> bool {
        self.afresh.iter().any(|claim| *claim > sequence)
    }

    /// Returns whether an attempt up to `epoch` has begun afresh after this older epoch.
    fn is_given_up_by(&self, older: u64, epoch: u64) -> bool {
        self.afresh
            .iter()
            .any(|claim| (older + 1..=epoch).contains(claim))
    }

    /// Returns whether a save of this epoch may or may not have been committed.
    pub(super) fn has_undecided(&self, epoch: u64) -> bool {
        let is_undecided = |save: &Save| save.epoch == epoch && save.outcome == Outcome::Unknown;
        self.saves.iter().any(is_undecided)
    }

    pub(super) fn has_acknowledged(&self, epoch: u64) -> bool {
        let of_epoch =
            |save: &Save| save.epoch == epoch && matches!(save.outcome, Outcome::Acknowledged(_));
        self.saves.iter().any(of_epoch)
    }

    /// Returns the newest slot that was promised to any process, as an acknowledged save or a resume point.
    pub(super) fn promised(&self) -> u64 {
        let saved = self.saves.iter().map(|save| match save.outcome {
            Outcome::Acknowledged(sequence) => sequence,
            Outcome::Unknown | Outcome::Fenced => 0,
        });
        let bases = self.begun.iter().filter_map(|b| Some(b.base?.0));
        saved.chain(bases).max().unwrap_or_default()
    }

    /// Checks that some save can have committed these contents in this slot.
    ///
    /// # Errors
    /// If there is no such save.
    pub(super) fn explain(&self, sequence: u64, contents: u32) -> Result<(), String> {
        let can_be = |save: &Save| match save.outcome {
            Outcome::Acknowledged(there) => {
                let is_late = self.late.contains(&(sequence, contents));
                there == sequence || (there > sequence && is_late)
            }
            // It must not replace a save that its process began later and that was acknowledged.
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
                "no save explains checkpoint {sequence} with contents {contents}: {:?}",
                of_these.collect::<Vec<_>>()
            )),
        }
    }

    /// Returns the possible contents of an epoch's newest checkpoint. `base` is what it resumed from.
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

    /// Returns the sequence numbers of the checkpoints that the newest commit retains.
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

    /// Records that an object was put. Describes the violated invariant, if any.
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
            return Some(format!("the name {name} was used twice"));
        }
        if let Some(sequence) = sequence(name) {
            let record = Record::decode(bytes).unwrap();
            let is_last = self.log.keys().all(|other| *other <= sequence);
            if let Err(violation) = self.check_permanent(sequence, &record, is_last) {
                return Some(violation);
            }
            self.sizes.insert(sequence, bytes.len() as u64);
            if is_last && matches!(&record, Record::Claim(claim) if claim.fresh) {
                self.afresh.push(sequence);
            }
            self.log.insert(sequence, record);
            if let Some(contents) = self.number_at(sequence) {
                self.committed.insert((sequence, contents));
                if !is_last {
                    self.late.insert((sequence, contents));
                }
            }
        }
        self.check_storage(objects)
    }

    /// Records that an object was deleted. Describes the violated invariant, if any.
    pub(super) fn has_deleted(&mut self, name: &str, objects: &Objects) -> Option<String> {
        if let Some(sequence) = sequence(name) {
            self.log.remove(&sequence);
        }
        self.check_storage(objects)
    }
}

fn sequence(name: &str) -> Option<u64> {
    paths::parse_record(&Path::from("task"), &Path::from(name))
}

/// Whether failed requests explain this error.
pub(super) fn is_excused(kind: ErrorKind, failures: u64) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::ReadOnly => failures > 0,
        _ => false,
    }
}
