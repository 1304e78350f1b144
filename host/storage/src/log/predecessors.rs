//! Predecessors: the locations to search if a location holds no checkpoint.
//!
//! A claim records the name of its predecessor and what was found there. A record can be forged, and a name can
//! come to mean another place. So a recorded predecessor is believed only if its records have the recorded id,
//! which nobody knows who cannot read them, and only if it still has what was found. Anything else is an error:
//! beginning again without a word would lose the task's work.

use std::collections::HashSet;

use tracing::info;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Found, LocationId, Predecessor};
use crate::location::OpenLocation;
use crate::log::history::{Damage, History};

/// How many locations are searched, each the predecessor of the previous one. A platform that gives
/// each attempt its own location retries far less often.
const MAX_PREDECESSORS: usize = 64;

/// What an attempt that began now would find.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Resumable {
    /// The checkpoints that can be restored, newest first. All are in one location: the given one, or the first
    /// of its predecessors that holds any.
    pub checkpoints: Vec<Checkpoint>,
    /// The damaged checkpoints and records in the locations searched, newest first.
    pub damaged: Vec<Damage>,
    /// The predecessors that were searched, in this order.
    pub predecessors: Vec<OpenLocation>,
}

impl Resumable {
    /// Returns the damage above the newest checkpoint, which restoring that checkpoint skips.
    pub fn skipped(&self) -> Vec<Damage> {
        let newest = self.checkpoints.first();
        let is_above = |damage: &&Damage| {
            newest.is_none_or(|newest| {
                damage.sequence > newest.sequence || damage.location != newest.location.url()
            })
        };
        self.damaged.iter().filter(is_above).cloned().collect()
    }

    /// # Errors
    /// `Corrupt` if there is damage, but no checkpoint.
    fn check_not_all_damaged(&self) -> Result<()> {
        match (self.checkpoints.first(), self.damaged.first()) {
            (None, Some(damage)) => Err(damage.error()),
            _ => Ok(()),
        }
    }

    /// Adds what a location that was searched holds.
    fn add(&mut self, history: &History) {
        self.damaged.extend_from_slice(history.relevant_damage());
        self.checkpoints = history.resumable().to_vec();
    }
}

/// Returns what an attempt finds in a location whose history is known, and in `others` if it holds no checkpoint.
pub(crate) fn join(history: &History, others: Resumable) -> Resumable {
    let mut resumable = Resumable::default();
    resumable.add(history);
    if resumable.checkpoints.is_empty() {
        resumable.damaged.extend(others.damaged);
        resumable.checkpoints = others.checkpoints;
        resumable.predecessors = others.predecessors;
    }
    resumable
}

/// A location, and what tells it from others, whatever name it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) location: &'a OpenLocation,
    /// `None` if no record is readable.
    pub(crate) id: Option<LocationId>,
}

impl Identity<'_> {
    /// Returns whether what was read under another name is this location, such as a directory that is mounted twice. A
    /// copy has the same id, so it counts only if it leads to nothing that could be lost.
    fn is_of(&self, history: &History) -> bool {
        let recorded = history.predecessor.as_ref();
        let leads_nowhere = recorded.is_none_or(|predecessor| predecessor.found.is_none());
        self.id.is_some() && self.id == history.id && history.newest().is_none() && leads_nowhere
    }
}

/// Searches a predecessor that the caller names. Also returns what a claim records about it. Returns `None` if it is
/// the location itself under another name.
///
/// # Errors
/// `Corrupt` if none of its records is readable; those of [`recorded`].
pub(crate) async fn named(
    own: Identity<'_>,
    previous: &OpenLocation,
) -> Result<Option<(Predecessor, Resumable)>> {
    let history = History::load(previous).await?;
    if own.is_of(&history) {
        return Ok(None);
    }
    let newest = history.newest();
    let found = match (history.id, history.damaged.first()) {
        (Some(id), _) => Some(Found { id, newest }),
        (None, None) => None,
        (None, Some(damage)) => return Err(damage.error()),
    };
    let predecessor = Predecessor {
        url: previous.url().to_owned(),
        found,
    };
    let resumable = search(own.location, (previous.clone(), history)).await?;
    Ok(Some((predecessor, resumable)))
}

/// Searches a predecessor that a record names. A location that is its own predecessor has none.
///
/// # Errors
/// `InvalidLocation` if it is not what it was when the record was made, or if its own predecessors form a
/// circle; `Unavailable`.
pub(crate) async fn recorded(own: Identity<'_>, predecessor: &Predecessor) -> Result<Resumable> {
    let (location, history) = read(own.location, predecessor).await?;
    let was_own = predecessor.found.as_ref();
    if own.is_of(&history) && was_own.is_none_or(|found| Some(found.id) == own.id) {
        return Ok(Resumable::default());
    }
    let first = believed(own.location, predecessor, location, history)?;
    search(own.location, first).await
}

async fn search(own: &OpenLocation, first: (OpenLocation, History)) -> Result<Resumable> {
    let mut seen = HashSet::from([own.url().to_owned()]);
    let mut resumable = Resumable::default();
    let mut next = Some(first);
    while let Some((location, history)) = next.take() {
        info!(%own, predecessor = %location, "searching a predecessor");
        if !seen.insert(location.url().to_owned()) {
            let what = format!("{location}: its predecessors lead back to it");
            return Err(unbelieved(what));
        }
        if seen.len() > MAX_PREDECESSORS {
            let what = format!(
                "{own}: more than {MAX_PREDECESSORS} locations precede it, each empty but the last"
            );
            return Err(unbelieved(what));
        }
        resumable.add(&history);
        resumable.predecessors.push(location.clone());
        if resumable.checkpoints.is_empty()
            && let Some(predecessor) = &history.predecessor
        {
            let (named, found) = read(&location, predecessor).await?;
            next = Some(believed(&location, predecessor, named, found)?);
        }
    }
    Ok(resumable)
}

/// Reads a predecessor that a record of `of` names.
async fn read(of: &OpenLocation, predecessor: &Predecessor) -> Result<(OpenLocation, History)> {
    let location = of.in_same_storage(&predecessor.url)?;
    let history = History::load(&location).await?;
    Ok((location, history))
}

/// # Errors
/// `InvalidLocation` if the predecessor is not what the record of `of` says.
fn believed(
    of: &OpenLocation,
    predecessor: &Predecessor,
    location: OpenLocation,
    history: History,
) -> Result<(OpenLocation, History)> {
    match check(predecessor, &history) {
        None => Ok((location, history)),
        Some(what) => Err(unbelieved(format!(
            "{location}: {what}, but {of} continues from there"
        ))),
    }
}

/// Returns why a predecessor is not what a record says, if so.
pub(crate) fn check(predecessor: &Predecessor, now: &History) -> Option<String> {
    let is_empty = now.sequences.is_empty();
    let Some(then) = &predecessor.found else {
        let begun = "a task began here later, so this may be another task's location";
        return (!is_empty).then(|| begun.to_owned());
    };
    if is_empty {
        return Some("nothing is stored here any more".to_owned());
    }
    match now.id {
        None => return Some("every record is damaged".to_owned()),
        Some(id) if id != then.id => return Some("this is another task's location".to_owned()),
        Some(_) => {}
    }
    match then.newest {
        Some(newest) if now.newest() < Some(newest) => {
            Some(format!("checkpoint {newest} is not stored here any more"))
        }
        _ => None,
    }
}

fn unbelieved(what: String) -> Error {
    let remedy = "name the location to resume from with `--prev`, or begin again with `--fresh`";
    Error::new(ErrorKind::InvalidLocation, format!("{what}; {remedy}"))
}

impl OpenLocation {
    /// Returns what an attempt that began now could resume from. Does not claim the location or disturb a running
    /// attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be reached; [`ErrorKind::InvalidLocation`] if the
    /// location holds no checkpoint and its predecessor is not what it was when a claim named it.
    pub async fn resumable(&self) -> Result<Resumable> {
        let history = History::load(self).await?;
        let others = match &history.predecessor {
            Some(predecessor) if history.resumable().is_empty() => {
                recorded(history.identity(self), predecessor).await?
            }
            _ => Resumable::default(),
        };
        Ok(join(&history, others))
    }

    /// Returns the checkpoints that can be restored, newest first: those of this location or, if it holds none,
    /// of its first predecessor that does.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if every checkpoint is damaged; those of [`resumable`](Self::resumable).
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let resumable = self.resumable().await?;
        resumable.check_not_all_damaged()?;
        Ok(resumable.checkpoints)
    }
}
