//! Deletes what earlier attempts left behind, after a claim has fenced them.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use futures::StreamExt;
use futures::stream;
use object_store::ObjectStore;
use tracing::info;

use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{ErrorKind, Result};
use crate::format::Record;
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot;
use crate::{blocking, paths};

/// Deletes what the attempts before this claim left behind.
pub(crate) async fn sweep(
    location: &OpenLocation,
    epoch: u64,
    history: &mut History,
) -> Result<()> {
    // Keep the data of unreadable commits: an operator may want it.
    if history.damaged.is_empty() {
        sweep_records(location, history).await?;
        sweep_data(location, epoch, &history.checkpoints).await?;
    }
    if let Some(dir) = location.local_dir() {
        let dir = dir.to_owned();
        blocking::run(location.threads(), move || sweep_staging(&dir, epoch)).await?;
    }
    Ok(())
}

/// Deletes the commits that the last owner would have deleted after its newest one, had it lived:
/// those of its epoch that are not retained. It has swept older commits itself when it claimed,
/// except for those that its last saves no longer retained; finding these too would mean reading
/// all claims, which are never deleted.
///
/// A record of its epoch below its newest commit is not the last one before a claim, and the owner
/// itself has seen every slot up to there: no stale writer needs it.
///
/// Removes them from the history too. Otherwise the record below each of them would look like the last one before
/// something unknown, and never be deleted.
async fn sweep_records(location: &OpenLocation, history: &mut History) -> Result<()> {
    let Some(newest) = history.checkpoints.first() else {
        return Ok(());
    };
    let epoch = newest.commit.epoch;
    let retained: HashSet<_> = history.checkpoints.iter().map(|c| c.sequence).collect();
    let of_epoch = history.sequences.iter().copied();
    let of_epoch = of_epoch.filter(|s| {
        (epoch.saturating_add(1)..newest.sequence).contains(s) && !retained.contains(s)
    });
    let mut dead = BTreeSet::new();
    for sequence in of_epoch {
        // A claim that was too late for its slot lies here as well. Claims are never deleted.
        match slot::read(location, sequence).await {
            Ok(Some(Record::Commit(commit))) if commit.epoch == epoch => {
                dead.insert(sequence);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    note(location, "records", dead.len());
    history.sequences.retain(|s| !dead.contains(s));
    let dead = dead
        .into_iter()
        .map(|s| paths::record(location.prefix(), s));
    let dead: Vec<_> = dead.map(Ok).collect();
    let deleted = location.store().delete_stream(stream::iter(dead).boxed());
    deleted.for_each(|_| async {}).await;
    Ok(())
}

/// Deletes the data objects of older epochs that nothing retained refers to. Those epochs are
/// fenced, so nothing ever will.
pub(crate) async fn sweep_data(
    location: &OpenLocation,
    epoch: u64,
    retained: &[Checkpoint],
) -> Result<()> {
    let referred: HashSet<_> = retained
        .iter()
        .flat_map(|checkpoint| &checkpoint.commit.objects)
        .map(|object| object.name())
        .collect();
    let orphans: Vec<_> = list_objects(location)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.epoch < epoch && !referred.contains(name))
        .map(|name| Ok(paths::object(location.prefix(), name)))
        .collect();
    note(location, "data objects", orphans.len());
    // The next claim sweeps what cannot be deleted now.
    let store: &dyn ObjectStore = location.store();
    let deleted = store.delete_stream(stream::iter(orphans).boxed());
    deleted.for_each(|_| async {}).await;
    Ok(())
}

fn note(location: &OpenLocation, what: &str, count: usize) {
    if count > 0 {
        info!(%location, count, "deleting {what} that earlier attempts left behind");
    }
}

/// Deletes the staging files that object_store left on this machine when its process died: files
/// named after an object, followed by `#` and a number. They include those of a fenced attempt that
/// is still running: its put then fails, and it finds its slot taken.
fn sweep_staging(dir: &Path, epoch: u64) {
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
