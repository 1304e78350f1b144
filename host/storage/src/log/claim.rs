//! Begins an attempt with the claim that fences every earlier one.

use std::num::NonZeroUsize;
use std::sync::Arc;

use object_store::{PutMode, PutOptions};
use tracing::{debug, info, warn};

use crate::checkpoint::Checkpoint;
use crate::contents::usage::sum;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    Below, Claim, LocationId, MAX_RECORD_BYTES, MAX_RETAINED, Predecessor, Record,
};
use crate::location::OpenLocation;
use crate::log::holdings::Holdings;
use crate::log::predecessors::{self, Identity, Resumable};
use crate::log::slot::{self, LogEnd, Put, Sized};
use crate::paths;

/// How often a claim is retried when other attempts claim at the same time. Each round has a
/// winner, so this many losses mean that something restarts the task endlessly.
const MAX_ROUNDS: usize = 64;

/// The default number of checkpoints to keep: the newest, one to fall back to, and one more in case
/// a failing task saved both.
const DEFAULT_KEEP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// The attempt that claims.
#[derive(Debug)]
pub(crate) struct Claimant<'a> {
    pub(crate) number: u32,
    pub(crate) component: Option<[u8; 32]>,
    /// The location of an earlier attempt, if it differs.
    pub(crate) previous: Option<&'a OpenLocation>,
    /// How many checkpoints to keep; `None` keeps what the location says.
    pub(crate) keep: Option<NonZeroUsize>,
    /// Whether to begin afresh, whatever the location holds.
    pub(crate) fresh: bool,
}

/// A claim that no record lies above.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The sequence number of the claim.
    pub(crate) epoch: u64,
    pub(crate) location_id: LocationId,
    /// How many checkpoints to keep.
    pub(crate) keep: NonZeroUsize,
    /// The size of the records up to the claim that are never deleted.
    pub(crate) permanent_bytes: u64,
    /// What the location itself holds. Nothing may be saved or deleted before that is known.
    pub(crate) own: Holdings,
    /// What the attempt can resume from, predecessors included. As long as `own` is being read, no more than the newest
    /// checkpoint.
    pub(crate) resumable: Resumable,
}

/// The end of a log: its newest slots, and its newest readable record.
#[derive(Debug)]
pub(crate) struct End {
    sequences: Vec<u64>,
    newest: Option<(u64, Sized)>,
    /// What lies below a claim at this end.
    below: Below,
    /// The size of the records that are never deleted once a claim lies above this end.
    permanent_bytes: u64,
}

/// The part of a claim that depends on what the location and its predecessors hold.
struct Origin {
    location_id: LocationId,
    keep: NonZeroUsize,
    predecessor: Option<Predecessor>,
    fresh: bool,
    /// What the predecessors hold.
    others: Resumable,
}

/// Claims a location and reads what it holds.
///
/// The epoch of a claim is its sequence number. Claims are never deleted and slots are filled once,
/// so the epoch is unique and ascending, whatever else in the log is damaged.
///
/// The end of the log may have been read any time before: if it is elsewhere by now, the slot of the claim is taken, or a
/// record lies above it.
pub(crate) async fn claim(
    location: &OpenLocation,
    claimant: &Claimant<'_>,
    mut ahead: Option<End>,
) -> Result<Claimed> {
    for _ in 0..MAX_ROUNDS {
        let end = match ahead.take() {
            Some(end) => end,
            None => End::read(location).await?,
        };
        let sequence = slot::next(end.sequences.last().copied().unwrap_or(0))?;
        // Resolve the predecessors first: an attempt that cannot begin must not fence one that runs.
        let origin = end.origin(location, claimant).await?;
        let claim = Claim {
            epoch: sequence,
            write_id: location.environment().write_id()?,
            attempt: claimant.number,
            component: claimant.component,
            predecessor: origin.predecessor.clone(),
            location_id: origin.location_id,
            keep: origin.keep,
            fresh: origin.fresh,
            permanent_bytes: end.permanent_bytes,
            below: end.below,
        };
        let write_id = claim.write_id;
        let bytes = Record::Claim(claim).encode()?;
        let size_bytes = bytes.len() as u64;
        let put = slot::put(location, sequence, bytes.clone(), write_id);
        let (put, newest) = futures::join!(put, end.newest_checkpoint(location));
        match put {
            Ok(Put::Committed) => {
                // The list may predate the last owner's newest commits, and that owner may have
                // pruned this very slot. Then a record lies above the claim, and the claim fences
                // nobody.
                let (listed, conditions, ran_other, newest) = futures::join!(
                    slot::list_end(location),
                    check_conditions(location, sequence, bytes),
                    end.ran_other_than(location, claimant.component),
                    whole(newest),
                );
                if listed?.records.last().map(|(last, _)| *last) == Some(sequence) {
                    conditions?;
                    let attempt = claimant.number;
                    info!(%location, epoch = sequence, attempt, "claimed the location");
                    if ran_other {
                        warn!(%location, "the last attempt here ran another component; if that was another task, give each task a location of its own");
                    }
                    let own = end.permanent_bytes.saturating_add(size_bytes);
                    let finished = finish(location, claimant, (sequence, own), origin, newest);
                    match finished.await {
                        // By an attempt that claimed meanwhile.
                        Err(error) if error.kind() == ErrorKind::Fenced => {}
                        finished => return finished,
                    }
                }
            }
            // Or the owner has pruned the record already. Either way the end of the log is
            // elsewhere.
            Ok(Put::Conflict(_) | Put::Vanished) => {
                debug!(%location, slot = sequence, "another attempt took the slot of the claim");
            }
            // Something unreadable occupies the slot: use the next one.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            // A claim that lands later fences nobody who has not seen it: it lies below the next
            // one.
            Ok(Put::Unknown(error)) | Err(error) => return Err(error),
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "{location}: lost {MAX_ROUNDS} races to other attempts that claimed the location; check what keeps restarting the task"
        ),
    ))
}

impl End {
    /// # Errors
    /// `Other` if the newest record needs a newer program: a claim would fence that program's tasks, and could
    /// not resume from their checkpoints.
    pub(crate) async fn read(location: &OpenLocation) -> Result<Self> {
        let listed = slot::list_end(location).await?;
        let (end, is_complete) = Self::of(location, &listed).await?;
        if is_complete {
            return Ok(end);
        }
        let whole = LogEnd {
            records: slot::list_sized(location).await?,
            is_whole: true,
        };
        let (end, _) = Self::of(location, &whole).await?;
        Ok(end)
    }

    /// Returns the end of a log, and whether the records that are not listed would change nothing about it.
    async fn of(location: &OpenLocation, listed: &LogEnd) -> Result<(Self, bool)> {
        let records = &listed.records;
        let mut end = Self {
            sequences: records.iter().map(|(sequence, _)| *sequence).collect(),
            newest: None,
            below: match records.is_empty() {
                true => Below::NoCommit,
                false => Below::Unknown,
            },
            permanent_bytes: 0,
        };
        let mut listed_below = sum(records.iter().map(|(_, size_bytes)| *size_bytes));
        for (sequence, size_bytes) in records.iter().copied().rev() {
            listed_below = listed_below.saturating_sub(size_bytes);
            let read = match slot::read_sized(location, sequence).await {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    end.permanent_bytes = sum([end.permanent_bytes, size_bytes]);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A record that is gone was pruned just now, so the end of the log is elsewhere by now.
            let Some(read) = read else { continue };
            let (stated, mut size_bytes) = (read.record.permanent_bytes(), read.size_bytes);
            if end.newest.is_none() {
                if end.sequences.last() == Some(&sequence) {
                    end.below = match &read.record {
                        Record::Commit(_) => Below::Commit(sequence),
                        Record::Claim(claim) => claim.below,
                    };
                }
                end.newest = Some((sequence, read));
            }
            // What is never deleted was listed, so a greater number is wrong. If it were believed, it could lock the
            // location for ever. Of what is not listed, no more is known than how many records it can be.
            let most = match listed.is_whole {
                true => listed_below,
                false => MAX_RECORD_BYTES.saturating_mul(sequence - 1),
            };
            let is_believed = stated <= most;
            if is_believed {
                size_bytes = sum([size_bytes, stated]);
            }
            end.permanent_bytes = sum([end.permanent_bytes, size_bytes]);
            if is_believed {
                return Ok((end, true));
            }
            warn!(%location, slot = sequence, stated, "the record says that more bytes stay below it than there are; adding up the log instead");
        }
        Ok((end, listed.is_whole))
    }

    fn newest_record(&self) -> Option<&Record> {
        self.newest.as_ref().map(|(_, newest)| &newest.record)
    }

    /// Returns the newest checkpoint of the location if nothing above it is damaged. Whatever keeps it from being read
    /// is left to those who read all of the log.
    async fn newest_checkpoint(&self, location: &OpenLocation) -> Newest {
        let sequence = match self.below {
            Below::NoCommit => return Newest::None,
            Below::Commit(sequence) => sequence,
            Below::Unknown => return Newest::Unknown,
        };
        let read = match &self.newest {
            Some((newest, read)) if *newest == sequence => Some(read.clone()),
            _ => slot::read_sized(location, sequence).await.ok().flatten(),
        };
        match read {
            Some(Sized {
                record: Record::Commit(commit),
                size_bytes: record_bytes,
            }) => Newest::Checkpoint(Checkpoint {
                location: location.clone(),
                sequence,
                commit: Arc::from(commit),
                record_bytes,
            }),
            _ => Newest::Unknown,
        }
    }

    /// Returns what a claim at this end says.
    async fn origin(&self, location: &OpenLocation, claimant: &Claimant<'_>) -> Result<Origin> {
        let environment = location.environment();
        let fresh = claimant.fresh || self.is_fresh();
        // A location that is its own predecessor has none.
        let previous = claimant.previous.filter(|p| p.url() != location.url());
        let named = match previous {
            Some(previous)
                if !claimant.fresh && (fresh || !self.holds_commit(location).await?) =>
            {
                Some(predecessors::named(self.identity(location), previous).await?)
            }
            _ => None,
        };
        let (predecessor, others) = match (named, previous) {
            _ if claimant.fresh => (None, Resumable::default()),
            (Some(Some((predecessor, others))), _) => (Some(predecessor), others),
            // None is named, or the location itself is.
            (Some(None), _) | (None, None) => match self.recorded(location).await? {
                Some(recorded) => {
                    let others = predecessors::recorded(self.identity(location), &recorded).await?;
                    (Some(recorded), others)
                }
                None => (None, Resumable::default()),
            },
            (None, Some(_)) => (None, Resumable::default()),
        };
        Ok(Origin {
            location_id: match self.newest_record() {
                Some(record) => record.location_id(),
                None => environment.location_id()?,
            },
            keep: match (claimant.keep, self.newest_record()) {
                (Some(keep), _) => keep,
                (None, Some(record)) => record.keep(),
                (None, None) if self.sequences.is_empty() => DEFAULT_KEEP,
                // No record is readable, so the number is unknown: delete nothing.
                (None, None) => MAX_RETAINED,
            },
            predecessor,
            fresh,
            others,
        })
    }

    fn identity<'a>(&self, location: &'a OpenLocation) -> Identity<'a> {
        Identity {
            location,
            id: self.newest_record().map(Record::location_id),
        }
    }

    /// Returns whether the last attempt is known to have run another component than this.
    async fn ran_other_than(&self, location: &OpenLocation, this: Option<[u8; 32]>) -> bool {
        let (Some(newest), Some(this)) = (self.newest_record(), this) else {
            return false;
        };
        let last = match newest {
            Record::Claim(claim) => claim.component,
            Record::Commit(commit) => match slot::read(location, commit.epoch).await {
                Ok(Some(Record::Claim(claim))) => claim.component,
                _ => None,
            },
        };
        last.is_some_and(|last| last != this)
    }

    /// Returns whether the newest claim begins afresh, and nothing was saved since.
    fn is_fresh(&self) -> bool {
        matches!(self.newest_record(), Some(Record::Claim(claim)) if claim.fresh)
    }

    /// Returns the recorded predecessor that an attempt would search.
    async fn recorded(&self, location: &OpenLocation) -> Result<Option<Predecessor>> {
        let recorded = match self.newest_record() {
            Some(Record::Claim(claim)) => claim.predecessor.clone(),
            Some(Record::Commit(_)) | None => None,
        };
        let recorded = recorded.filter(|p| p.url != location.url());
        match recorded.is_some() && !self.is_fresh() && self.holds_commit(location).await? {
            true => Ok(None),
            false => Ok(recorded),
        }
    }

    /// Returns whether there is a commit, readable or not where the newest record names it.
    async fn holds_commit(&self, location: &OpenLocation) -> Result<bool> {
        match self.below {
            Below::NoCommit => return Ok(false),
            Below::Commit(_) => return Ok(true),
            Below::Unknown => {}
        }
        for sequence in slot::list(location).await?.into_iter().rev() {
            match slot::read(location, sequence).await {
                Ok(Some(Record::Commit(_))) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// What is known of the newest checkpoint of a location without reading all of its log.
enum Newest {
    /// There is none.
    None,
    Checkpoint(Checkpoint),
    Unknown,
}

/// Returns `Unknown` if a data object of the checkpoint is missing or has another size.
async fn whole(newest: Newest) -> Newest {
    match newest {
        Newest::Checkpoint(checkpoint) if !checkpoint.has_its_objects().await => Newest::Unknown,
        newest => newest,
    }
}

impl OpenLocation {
    /// Returns the predecessors that an attempt which began now would search, because a record names them. Reads
    /// less than [`resumable`](Self::resumable).
    ///
    /// # Errors
    /// Those of [`resumable`](Self::resumable).
    pub async fn predecessors(&self) -> Result<Vec<OpenLocation>> {
        let end = End::read(self).await?;
        Ok(match end.recorded(self).await? {
            Some(recorded) => {
                let found = predecessors::recorded(end.identity(self), &recorded).await?;
                found.predecessors
            }
            None => Vec::new(),
        })
    }
}

/// Repeats the put of a claim that no record lies above. The repeated put must fail: a storage that
/// ignores the condition would silently let every writer win. For a claim in a pruned slot this
/// proves nothing, because the deletion of the earlier record may be delivered twice.
///
/// # Errors
/// `InvalidLocation` if the put succeeds.
async fn check_conditions(location: &OpenLocation, sequence: u64, claim: Vec<u8>) -> Result<()> {
    if location.supports_conditional_put() {
        return Ok(());
    }
    let path = paths::record(location.prefix(), sequence);
    let options = PutOptions::from(PutMode::Create);
    match location
        .store()
        .put_opts(&path, claim.into(), options)
        .await
    {
        // The bytes are the same, so nothing is lost.
        Ok(_) => Err(Error::new(
            ErrorKind::InvalidLocation,
            format!(
                "{location}: this storage ignores conditional puts, so concurrent attempts could overwrite each other; use another one"
            ),
        )),
        // The next request will meet any other failure too.
        Err(_) => Ok(()),
    }
}

async fn finish(
    location: &OpenLocation,
    claimant: &Claimant<'_>,
    (epoch, permanent_bytes): (u64, u64),
    origin: Origin,
    newest: Newest,
) -> Result<Claimed> {
    let mut claimed = Claimed {
        epoch,
        location_id: origin.location_id,
        keep: origin.keep,
        permanent_bytes,
        own: Holdings::read(location, epoch),
        resumable: origin.others,
    };
    match newest {
        Newest::None => return Ok(claimed),
        Newest::Checkpoint(_) if origin.fresh => return Ok(claimed),
        Newest::Checkpoint(newest) => {
            claimed.resumable = Resumable {
                checkpoints: vec![newest],
                ..Resumable::default()
            };
            return Ok(claimed);
        }
        Newest::Unknown => {}
    }
    let own = claimed.own.wait().await?;
    if let Some(previous) = claimant.previous
        // A commit was found that turned out to be damaged.
        && own.history.resumable().is_empty()
        && origin.predecessor.is_none()
        && !claimant.fresh
        && previous.url() != location.url()
        && let Some((_, others)) =
            predecessors::named(own.history.identity(location), previous).await?
    {
        claimed.resumable = others;
    }
    claimed.resumable = predecessors::join(&own.history, claimed.resumable);
    Ok(claimed)
}
