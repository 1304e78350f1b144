//! The contents of one location: the restorable checkpoints, the damage, and what its records say about it.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures::future::ready;
use futures::{FutureExt, StreamExt, stream};
use tracing::warn;

use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Below, Commit, LocationId, Predecessor, Record};
use crate::location::OpenLocation;
use crate::log::predecessors::Identity;
use crate::log::slot::{self, Sized};

/// How often a location is read again while its owner prunes it. The owner has committed each time. One that saves all
/// the time disturbs most reads, but hardly so many in a row.
pub(crate) const MAX_READS: usize = 64;

/// How many records are read at once. They are small, and a storage may take long to answer each request.
const READS: usize = 32;

/// What a location held when it was read.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The restorable checkpoints, newest first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// The records and checkpoints that cannot be restored, newest first.
    pub(crate) damaged: Vec<Damage>,
    /// The records of the log, ascending.
    pub(crate) sequences: Vec<u64>,
    /// The id of the location; `None` if no record is readable.
    pub(crate) id: Option<LocationId>,
    /// How many checkpoints to keep, as the newest readable record says.
    pub(crate) keep: Option<NonZeroUsize>,
    /// The location to search if this one holds no checkpoint, if a claim above the newest commit names one.
    pub(crate) predecessor: Option<Predecessor>,
    /// Whether a claim above the newest commit begins afresh: nothing here is to be resumed from.
    pub(crate) fresh: bool,
    /// The damaged slots that are no longer reported, ascending.
    pub(crate) given_up: Vec<u64>,
    /// Whether something that was listed or named is gone.
    incomplete: bool,
    /// Whether there is a claim above the newest commit.
    claimed: bool,
}

/// A record or a checkpoint that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The URL of its location.
    pub location: String,
    /// Its position in the log.
    pub sequence: u64,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// Who reads a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// The attempt of this epoch. Nobody may commit meanwhile.
    Owner(u64),
    /// Anyone, beside an owner who may commit.
    Other,
}

impl Reader {
    /// Lists the log.
    async fn list(self, location: &OpenLocation) -> Result<Vec<u64>> {
        let Self::Owner(epoch) = self else {
            return slot::list_beside_owner(location).await;
        };
        let sequences = slot::list(location).await?;
        // What a newer attempt keeps is its own to decide.
        match sequences.last() == Some(&epoch) {
            true => Ok(sequences),
            false => Err(Error::fenced()),
        }
    }
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
        Self::load_settled(location, Reader::Other).await
    }

    /// Like [`load`](Self::load), but by the attempt that has claimed the location with this epoch. If this lists no
    /// record above the claim, no older attempt can commit any more, so the newest commit stays.
    ///
    /// # Errors
    /// `Fenced` if there is a record above the claim.
    pub(crate) async fn load_claimed(location: &OpenLocation, epoch: u64) -> Result<Self> {
        Self::load_settled(location, Reader::Owner(epoch)).await
    }

    /// Reads until no concurrent change can affect the answer.
    async fn load_settled(location: &OpenLocation, reader: Reader) -> Result<Self> {
        for _ in 0..MAX_READS {
            let history = Self::load_once(location, reader).await?;
            let is_doubtful = history.incomplete || (history.claimed && reader == Reader::Other);
            // A listed record is gone. A live owner may have pruned it: then the log has a newer
            // end. If it has not, the record is damaged.
            if !is_doubtful || reader.list(location).await? == history.sequences {
                return Ok(history);
            }
        }
        let what = format!("{location}: the location changes faster than it can be read");
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    async fn load_once(location: &OpenLocation, reader: Reader) -> Result<Self> {
        let mut history = Self {
            sequences: reader.list(location).await?,
            ..Self::default()
        };
        let retained = history.find_newest(location).await?;
        // A forged commit may name any number of others; only those that exist cost a request.
        let is_listed = |sequence: &u64| history.sequences.binary_search(sequence).is_ok();
        let reads = retained.iter().map(|sequence| match is_listed(sequence) {
            true => slot::read_sized(location, *sequence).boxed(),
            false => ready(Ok(None)).boxed(),
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = stream::iter(reads).buffered(READS);
        for sequence in retained {
            let read = reads.next().await.unwrap_or(Ok(None));
            history.take_retained(location, sequence, read)?;
        }
        history.check_objects(location).await?;
        let given_up = std::mem::take(&mut history.given_up);
        let is_given_up = |damage: &Damage| given_up.binary_search(&damage.sequence).is_ok();
        history.damaged.retain(|damage| !is_given_up(damage));
        history
            .damaged
            .sort_by_key(|d| std::cmp::Reverse(d.sequence));
        history.given_up = given_up;
        Ok(history)
    }

    /// Reads from the end of the log down to the newest readable commit. Returns the other commits
    /// that it retains, newest first.
    async fn find_newest(&mut self, location: &OpenLocation) -> Result<Vec<u64>> {
        let mut rest = self.sequences.clone();
        while let Some(sequence) = rest.pop() {
            let read = slot::read_sized(location, sequence).await;
            let read = self.take(location, sequence, read)?;
            if let (Some(Sized { record, .. }), None) = (&read, self.id) {
                self.id = Some(record.location_id());
                self.keep = Some(record.keep());
                // Every claim repeats both until the next commit.
                if let Record::Claim(claim) = record {
                    self.predecessor = claim.predecessor.clone();
                    self.fresh = claim.fresh;
                }
            }
            let Some(Sized { record, size_bytes }) = read else {
                continue;
            };
            match record {
                Record::Commit(commit) => {
                    self.given_up.clone_from(&commit.given_up);
                    let mut retained = commit.retains.clone();
                    retained.retain(|other| *other < sequence);
                    retained.sort_unstable_by(|a, b| b.cmp(a));
                    retained.dedup();
                    self.add(location, sequence, commit, size_bytes);
                    return Ok(retained);
                }
                Record::Claim(claim) => {
                    self.claimed = true;
                    // There are only claims in between.
                    match claim.below {
                        Below::NoCommit => rest.clear(),
                        Below::Commit(newest) => {
                            if let Ok(index) = rest.binary_search(&newest) {
                                rest.truncate(index + 1);
                            }
                        }
                        Below::Unknown => {}
                    }
                }
            }
        }
        Ok(Vec::new())
    }

    /// Takes what was read of a commit that the newest one retains.
    fn take_retained(
        &mut self,
        location: &OpenLocation,
        sequence: u64,
        read: Result<Option<Sized>>,
    ) -> Result<()> {
        if self.sequences.binary_search(&sequence).is_err() {
            self.incomplete = true;
            let missing = Error::corrupt(format!("record {sequence} is missing"));
            self.damaged.push(Damage::new(location, sequence, &missing));
            return Ok(());
        }
        let Some(Sized { record, size_bytes }) = self.take(location, sequence, read)? else {
            return Ok(());
        };
        match record {
            Record::Commit(commit) => self.add(location, sequence, commit, size_bytes),
            // The commit was deleted, and a claim that came late took its slot.
            Record::Claim(_) => {
                self.incomplete = true;
                let replaced = Error::corrupt(format!("record {sequence} is a claim"));
                self.damaged
                    .push(Damage::new(location, sequence, &replaced));
            }
        }
        Ok(())
    }

    /// Takes what was read of a listed record. Returns `None` if it is gone or damaged, and records which.
    fn take(
        &mut self,
        location: &OpenLocation,
        sequence: u64,
        read: Result<Option<Sized>>,
    ) -> Result<Option<Sized>> {
        match read {
            Ok(read) => {
                self.incomplete |= read.is_none();
                Ok(read)
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.damaged.push(Damage::new(location, sequence, &error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn add(
        &mut self,
        location: &OpenLocation,
        sequence: u64,
        commit: Box<Commit>,
        record_bytes: u64,
    ) {
        self.checkpoints.push(Checkpoint {
            location: location.clone(),
            sequence,
            commit: Arc::from(commit),
            record_bytes,
        });
    }

    /// Returns what tells this location, of which this is the history, from others.
    pub(crate) fn identity<'a>(&self, location: &'a OpenLocation) -> Identity<'a> {
        Identity {
            location,
            id: self.id,
        }
    }

    /// Returns the checkpoints that an attempt may resume from, newest first.
    pub(crate) fn resumable(&self) -> &[Checkpoint] {
        match self.fresh {
            true => &[],
            false => &self.checkpoints,
        }
    }

    /// Returns the damage that matters to an attempt that resumes from here.
    pub(crate) fn relevant_damage(&self) -> &[Damage] {
        match self.fresh {
            true => &[],
            false => &self.damaged,
        }
    }

    /// Returns the newest checkpoint that the location should hold, damaged or not.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.retained().into_iter().max()
    }

    /// Returns the sequence numbers of the commits that should be restorable, damaged or not.
    pub(crate) fn retained(&self) -> Vec<u64> {
        let whole = self.checkpoints.iter().map(|c| c.sequence);
        whole
            .chain(self.damaged.iter().map(|d| d.sequence))
            .collect()
    }

    /// Returns the sequence numbers of the retained commits that must stay in the log: each may be the last record before
    /// a claim, which makes a stale writer collide.
    pub(crate) fn protected(&self) -> HashSet<u64> {
        let epochs = self.checkpoints.iter();
        let epochs: HashMap<_, _> = epochs.map(|c| (c.sequence, c.commit.epoch)).collect();
        let followed = |record: &&Checkpoint| {
            let above = self.sequences.partition_point(|s| *s <= record.sequence);
            let next = self.sequences.get(above);
            next.and_then(|next| epochs.get(next)) == Some(&record.commit.epoch)
        };
        let protected = self.checkpoints.iter().filter(|c| !followed(c));
        protected.map(|c| c.sequence).collect()
    }

    /// Moves checkpoints with a missing or short data object to the damaged ones. Damage inside an
    /// object is found when it is read.
    async fn check_objects(&mut self, location: &OpenLocation) -> Result<()> {
        let refers = |c: &Checkpoint| !c.commit.objects.is_empty();
        if !self.checkpoints.iter().any(refers) {
            return Ok(());
        }
        let sizes: HashMap<_, _> = list_objects(location).await?.into_iter().collect();
        self.checkpoints.retain(|checkpoint| {
            let lost = checkpoint
                .commit
                .objects
                .iter()
                .find(|object| sizes.get(&object.name()) != Some(&object.size_bytes));
            let Some(lost) = lost else { return true };
            self.incomplete = true;
            let what = format!(
                "data object {}-{} is missing or of another size",
                lost.epoch, lost.counter
            );
            let lost = Error::corrupt(what);
            let damage = Damage::new(location, checkpoint.sequence, &lost);
            self.damaged.push(damage);
            false
        });
        Ok(())
    }
}

impl Damage {
    pub(crate) fn new(location: &OpenLocation, sequence: u64, error: &Error) -> Self {
        Self {
            location: location.url().to_owned(),
            sequence,
            reason: error.with_causes(),
        }
    }

    /// Tells whoever watches this program that this is skipped, and what is used instead.
    pub(crate) fn warn(&self, instead: Option<&Checkpoint>) {
        let Self {
            location,
            sequence,
            reason,
        } = self;
        match instead {
            Some(older) => {
                let older = older.sequence;
                warn!(%location, "checkpoint {sequence} is damaged ({reason}); falling back to checkpoint {older}");
            }
            None => {
                warn!(%location, "checkpoint {sequence} is damaged ({reason}); there is no other")
            }
        }
    }

    pub(crate) fn error(&self) -> Error {
        Error::corrupt(format!(
            "no checkpoint can be restored; of the newest, {}: {}",
            self.sequence, self.reason
        ))
    }
}
