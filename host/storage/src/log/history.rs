//! The contents of a location: the restorable checkpoints, and the damage above them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Commit, Record};
use crate::location::OpenLocation;
use crate::log::slot;

/// How many locations are searched, each the predecessor of the previous one. A platform that gives
/// each attempt its own location retries far less often.
const MAX_PREDECESSORS: usize = 64;

/// How often a location is read again while its owner prunes it. The owner has committed each time.
const MAX_READS: usize = 16;

/// What a location held when it was read.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The restorable checkpoints, newest first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// The records and checkpoints that cannot be restored, newest first.
    pub(crate) damaged: Vec<Damage>,
    /// The records of the log, ascending.
    pub(crate) sequences: Vec<u64>,
    /// The location to inherit from, as named by the newest claim that names one.
    inherits: Option<String>,
    /// Whether something that was listed or named is gone.
    incomplete: bool,
    /// Whether there is a claim above the newest commit.
    claimed: bool,
}

/// A record or a checkpoint that cannot be restored.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) sequence: u64,
    pub(crate) reason: String,
}

impl History {
    /// Reads one location, without its predecessors, whoever owns it.
    ///
    /// The newest readable commit names the other restorable ones: anything else that is listed may
    /// have lost its data already.
    pub(crate) async fn load(location: &OpenLocation) -> Result<Self> {
        // A claim may lie where a commit was when the log was listed: a claim that landed late, in
        // a slot that its owner has pruned. It must not be mistaken for a sign that nothing was
        // saved.
        Self::load_settled(location, |history| !history.incomplete && !history.claimed).await
    }

    /// Like [`load`](Self::load), but after a claim. If this lists no record above the claim, no
    /// older attempt can commit any more, so the newest commit stays.
    pub(crate) async fn load_claimed(location: &OpenLocation) -> Result<Self> {
        Self::load_settled(location, |history| !history.incomplete).await
    }

    /// Reads until no concurrent change can affect the answer.
    async fn load_settled(
        location: &OpenLocation,
        is_settled: impl Fn(&Self) -> bool,
    ) -> Result<Self> {
        for _ in 0..MAX_READS {
            let history = Self::load_once(location).await?;
            // A listed record is gone. A live owner may have pruned it: then the log has a newer
            // end. If it has not, the record is damaged.
            if is_settled(&history) || slot::list(location).await? == history.sequences {
                return Ok(history);
            }
        }
        let what = format!("{location}: the location changes faster than it can be read");
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    async fn load_once(location: &OpenLocation) -> Result<Self> {
        let mut history = Self {
            sequences: slot::list(location).await?,
            ..Self::default()
        };
        for sequence in history.find_newest(location).await? {
            history.read_retained(location, sequence).await?;
        }
        history.check_objects(location).await?;
        history
            .damaged
            .sort_by_key(|d| std::cmp::Reverse(d.sequence));
        Ok(history)
    }

    /// Reads from the end of the log down to the newest readable commit. Returns the other commits
    /// that it retains, newest first.
    async fn find_newest(&mut self, location: &OpenLocation) -> Result<Vec<u64>> {
        for sequence in self.sequences.clone().into_iter().rev() {
            match self.read(location, sequence).await? {
                Some(Record::Commit(commit)) => {
                    let mut retained = commit.retains.clone();
                    retained.retain(|other| *other < sequence);
                    retained.sort_unstable_by(|a, b| b.cmp(a));
                    retained.dedup();
                    self.add(location, sequence, commit);
                    return Ok(retained);
                }
                Some(Record::Claim(claim)) => {
                    self.claimed = true;
                    self.inherits = self.inherits.take().or(claim.inherits);
                }
                None => {}
            }
        }
        Ok(Vec::new())
    }

    /// Reads a commit that the newest one retains.
    async fn read_retained(&mut self, location: &OpenLocation, sequence: u64) -> Result<()> {
        // A forged commit may name any number of others; only those that exist cost a request.
        if self.sequences.binary_search(&sequence).is_err() {
            self.incomplete = true;
            let missing = Error::corrupt(format!("record {sequence} is missing"));
            self.damaged.push(Damage::new(sequence, &missing));
            return Ok(());
        }
        match self.read(location, sequence).await? {
            Some(Record::Commit(commit)) => self.add(location, sequence, commit),
            // The commit was deleted, and a claim that came late took its slot.
            Some(Record::Claim(_)) => {
                self.incomplete = true;
                let replaced = Error::corrupt(format!("record {sequence} is a claim"));
                self.damaged.push(Damage::new(sequence, &replaced));
            }
            None => {}
        }
        Ok(())
    }

    /// Reads a listed record. Returns `None` if it is gone or damaged, and records which.
    async fn read(&mut self, location: &OpenLocation, sequence: u64) -> Result<Option<Record>> {
        match slot::read(location, sequence).await {
            Ok(record) => {
                self.incomplete |= record.is_none();
                Ok(record)
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.damaged.push(Damage::new(sequence, &error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, location: &OpenLocation, sequence: u64, commit: Box<Commit>) {
        self.checkpoints.push(Checkpoint {
            location: location.clone(),
            sequence,
            commit: Arc::from(commit),
        });
    }

    /// Returns `own` if it has checkpoints, otherwise the history of its first predecessor that has
    /// one.
    pub(crate) async fn look_through(
        mut self,
        own: &OpenLocation,
        previous: Option<&OpenLocation>,
    ) -> Result<Self> {
        self.damaged = self.damage_above_newest();
        let mut seen = HashSet::new();
        let mut next = match previous {
            Some(location) => Some(location.clone()),
            None if self.checkpoints.is_empty() => self.predecessor(own)?,
            None => None,
        };
        while self.checkpoints.is_empty()
            && let Some(location) = next
        {
            if !seen.insert(location.url().to_owned()) {
                break;
            }
            if seen.len() > MAX_PREDECESSORS {
                return Err(Error::new(
                    ErrorKind::Other,
                    format!(
                        "more than {MAX_PREDECESSORS} locations inherit from one another; pass the one that holds a checkpoint as the previous location"
                    ),
                ));
            }
            let older = Self::load(&location).await?;
            next = match older.checkpoints.is_empty() {
                true => older.predecessor(&location)?,
                false => None,
            };
            self.damaged.extend(older.damage_above_newest());
            self.checkpoints = older.checkpoints;
        }
        Ok(self)
    }

    /// Returns the sequence numbers of the commits that should be restorable, damaged or not.
    pub(crate) fn retained(&self) -> Vec<u64> {
        let whole = self.checkpoints.iter().map(|c| c.sequence);
        whole
            .chain(self.damaged.iter().map(|d| d.sequence))
            .collect()
    }

    /// Returns the damage above the newest checkpoint, which restoring that checkpoint skips.
    fn damage_above_newest(&self) -> Vec<Damage> {
        let newest = self.checkpoints.first().map_or(0, |c| c.sequence);
        let above = self.damaged.iter().filter(|d| d.sequence > newest);
        above.cloned().collect()
    }

    /// # Errors
    /// `Corrupt` if there is damage. Call it where nothing is restorable.
    pub(crate) fn all_damaged(&self) -> Result<()> {
        match self.damaged.first() {
            None => Ok(()),
            Some(damage) => Err(damage.error()),
        }
    }

    fn predecessor(&self, own: &OpenLocation) -> Result<Option<OpenLocation>> {
        let inherits = self.inherits.as_deref();
        inherits.map(|url| own.in_same_storage(url)).transpose()
    }

    /// Moves checkpoints with a missing or short data object to the damaged ones. Damage inside an
    /// object is found when it is read.
    async fn check_objects(&mut self, location: &OpenLocation) -> Result<()> {
        let refers = |c: &Checkpoint| !c.commit.contents.objects().is_empty();
        if !self.checkpoints.iter().any(refers) {
            return Ok(());
        }
        let sizes: HashMap<_, _> = list_objects(location).await?.into_iter().collect();
        self.checkpoints.retain(|checkpoint| {
            let lost = checkpoint
                .commit
                .contents
                .objects()
                .iter()
                .find(|object| sizes.get(&object.name()) != Some(&object.size_bytes));
            let Some(lost) = lost else { return true };
            self.incomplete = true;
            self.damaged.push(Damage {
                sequence: checkpoint.sequence,
                reason: format!(
                    "data object {}-{} is missing or of another size",
                    lost.epoch, lost.counter
                ),
            });
            false
        });
        Ok(())
    }
}

impl OpenLocation {
    /// Returns the restorable checkpoints of this location, newest first. Does not claim the
    /// location or disturb a running attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be reached; [`ErrorKind::Corrupt`] if every
    /// checkpoint is damaged.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let history = History::load(self).await?;
        if history.checkpoints.is_empty() {
            history.all_damaged()?;
        }
        Ok(history.checkpoints)
    }
}

impl Damage {
    pub(crate) fn new(sequence: u64, error: &Error) -> Self {
        let reason = error.with_causes();
        Self { sequence, reason }
    }

    pub(crate) fn error(&self) -> Error {
        Error::corrupt(format!(
            "no checkpoint can be restored; of the newest, {}: {}",
            self.sequence, self.reason
        ))
    }
}
