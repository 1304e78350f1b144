//! Begins an attempt with the claim that fences every earlier one.

use futures::StreamExt;
use futures::stream;
use object_store::{ObjectStore, PutMode, PutOptions};

use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Claim, Record};
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot;
use crate::log::slot::Put;
use crate::{blocking, paths};

/// How often a claim is retried when other attempts claim at the same time. Each round has a
/// winner, so this many losses mean that something restarts the task endlessly.
const MAX_ROUNDS: usize = 64;

/// The attempt that claims.
#[derive(Debug)]
pub(crate) struct Claimant<'a> {
    pub(crate) number: u32,
    pub(crate) component: Option<[u8; 32]>,
    /// The location of an earlier attempt, if it differs.
    pub(crate) previous: Option<&'a OpenLocation>,
}

/// A claim that no record lies above.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The sequence number of the claim.
    pub(crate) epoch: u64,
    /// The restorable checkpoints of the location itself, newest first.
    pub(crate) own: Vec<Checkpoint>,
    /// Whether anything in the location itself is damaged.
    pub(crate) damaged: bool,
    /// What the attempt can resume from, predecessors included.
    pub(crate) history: History,
}

/// Claims a location and reads what it holds.
///
/// The epoch of a claim is its sequence number. Claims are never deleted and slots are filled once,
/// so the epoch is unique and ascending, whatever else in the log is damaged.
pub(crate) async fn claim(location: &OpenLocation, claimant: &Claimant<'_>) -> Result<Claimed> {
    let mut sequences = slot::list(location).await?;
    // A claim would fence the tasks of a newer program, and could not resume from their
    // checkpoints.
    if let Some(&newest) = sequences.last()
        && let Err(error) = slot::read(location, newest).await
        && error.kind() != ErrorKind::Corrupt
    {
        return Err(error);
    }
    for _ in 0..MAX_ROUNDS {
        let sequence = slot::next(sequences.last().copied().unwrap_or(0))?;
        let claim = Claim {
            epoch: sequence,
            write_id: location.environment().write_id()?,
            attempt: claimant.number,
            component: claimant.component,
            inherits: claimant.previous.map(|p| p.url().to_owned()),
        };
        let write_id = claim.write_id;
        let bytes = Record::Claim(claim).encode()?;
        let put = slot::put(location, sequence, bytes.clone(), write_id).await;
        match put {
            Ok(Put::Committed) => {
                // The list may predate the last owner's newest commits, and that owner may have
                // pruned this very slot. Then a record lies above the claim, and the claim fences
                // nobody.
                let history = History::load_claimed(location).await?;
                if history.sequences.last() == Some(&sequence) {
                    check_conditions(location, sequence, bytes).await?;
                    return finish(location, claimant, sequence, history).await;
                }
                sequences = history.sequences;
            }
            // Or the owner has pruned the record already. Either way the end of the log is
            // elsewhere.
            Ok(Put::Conflict(_) | Put::Vanished) => sequences = slot::list(location).await?,
            // Something unreadable occupies the slot: use the next one.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                sequences = slot::list(location).await?;
            }
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
    epoch: u64,
    history: History,
) -> Result<Claimed> {
    // Keep the data of unreadable commits: an operator may want it.
    if history.damaged.is_empty() {
        sweep_records(location, &history).await?;
        sweep(location, epoch, &history.checkpoints).await?;
    }
    if let Some(dir) = location.local_dir() {
        let dir = dir.to_owned();
        blocking::run(location.threads(), move || sweep_staging(&dir, epoch)).await?;
    }
    Ok(Claimed {
        epoch,
        own: history.checkpoints.clone(),
        damaged: !history.damaged.is_empty(),
        history: history.look_through(location, claimant.previous).await?,
    })
}

/// Deletes the commits that the last owner would have deleted after its newest one, had it lived:
/// those of its epoch that are not retained. It has swept older commits itself when it claimed,
/// except for those that its last saves no longer retained; finding these too would mean reading
/// all claims, which are never deleted.
///
/// A record of its epoch below its newest commit is not the last one before a claim, and the owner
/// itself has seen every slot up to there: no stale writer needs it.
async fn sweep_records(location: &OpenLocation, history: &History) -> Result<()> {
    let Some(newest) = history.checkpoints.first() else {
        return Ok(());
    };
    let epoch = newest.commit.epoch;
    let retained = |sequence: u64| history.checkpoints.iter().any(|c| c.sequence == sequence);
    let of_epoch = history.sequences.iter().copied();
    let of_epoch = of_epoch
        .filter(|s| (epoch.saturating_add(1)..newest.sequence).contains(s) && !retained(*s));
    let mut dead = Vec::new();
    for sequence in of_epoch {
        // A claim that was too late for its slot lies here as well. Claims are never deleted.
        match slot::read(location, sequence).await {
            Ok(Some(Record::Commit(commit))) if commit.epoch == epoch => {
                dead.push(Ok(paths::record(location.prefix(), sequence)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    let deleted = location.store().delete_stream(stream::iter(dead).boxed());
    deleted.for_each(|_| async {}).await;
    Ok(())
}

/// Deletes the data objects of older epochs that nothing retained refers to. Those epochs are
/// fenced, so nothing ever will.
async fn sweep(location: &OpenLocation, epoch: u64, retained: &[Checkpoint]) -> Result<()> {
    let referred: std::collections::HashSet<_> = retained
        .iter()
        .flat_map(|checkpoint| checkpoint.commit.contents.objects())
        .map(|object| object.name())
        .collect();
    let orphans: Vec<_> = list_objects(location)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.epoch < epoch && !referred.contains(name))
        .map(|name| Ok(paths::object(location.prefix(), name)))
        .collect();
    // The next claim sweeps what cannot be deleted now.
    let store: &dyn ObjectStore = location.store();
    let deleted = store.delete_stream(stream::iter(orphans).boxed());
    deleted.for_each(|_| async {}).await;
    Ok(())
}

/// Deletes the staging files that object_store left on this machine when its process died: files
/// named after an object, followed by `#` and a number. They include those of a fenced attempt that
/// is still running: its put then fails, and it finds its slot taken.
fn sweep_staging(dir: &std::path::Path, epoch: u64) {
    for folder in ["log", "data"] {
        // The next claim sweeps what cannot be deleted now.
        let Ok(entries) = std::fs::read_dir(dir.join(folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some((name, number)) = name.to_str().and_then(|name| name.split_once('#')) else {
                continue;
            };
            let older = paths::parse_record_name(name).is_some_and(|sequence| sequence <= epoch)
                || paths::parse_object_name(name).is_some_and(|object| object.epoch < epoch);
            if older && number.bytes().all(|b| b.is_ascii_digit()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
