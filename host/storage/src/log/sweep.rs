//! Finds what earlier attempts left behind, after a claim has fenced them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use tracing::info;

use crate::checkpoint::Checkpoint;
use crate::contents::objects::SizedObject;
use crate::contents::read::list_objects;
use crate::error::{ErrorKind, Result};
use crate::format::Record;
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot::{self, Sized};
use crate::{blocking, paths};

/// What nobody needs any more.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Records, with their sizes.
    pub(crate) records: Vec<(u64, u64)>,
    pub(crate) data: Vec<SizedObject>,
}

/// Finds what the attempts before this claim left behind. Deletes their staging files.
pub(crate) async fn find(
    location: &OpenLocation,
    epoch: u64,
    history: &mut History,
) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    // Keep the data of unreadable commits: an operator may want it.
    if history.damaged.is_empty() {
        leftovers.records = find_records(location, history).await?;
        leftovers.data = find_data(location, epoch, &history.checkpoints).await?;
    }
    if let Some(dir) = location.local_dir() {
        let dir = dir.to_owned();
        blocking::run(location.threads(), move || sweep_staging(&dir, epoch)).await?;
    }
    Ok(leftovers)
}

/// Finds the commits that the last owner would have deleted after its newest one, had it lived:
/// those of its epoch that are not retained. It has swept older commits itself when it claimed,
/// except for those that its last saves no longer retained; finding these too would mean reading
/// all claims, which are never deleted.
///
/// A record of its epoch below its newest commit is not the last one before a claim, and the owner
/// itself has seen every slot up to there: no stale writer needs it.
///
/// Removes them from the history too. Otherwise the record below each of them would look like the last one before
/// something unknown, and never be deleted.
async fn find_records(location: &OpenLocation, history: &mut History) -> Result<Vec<(u64, u64)>> {
    let Some(newest) = history.checkpoints.first() else {
        return Ok(Vec::new());
    };
    let epoch = newest.commit.epoch;
    let retained: HashSet<_> = history.checkpoints.iter().map(|c| c.sequence).collect();
    let of_epoch = history.sequences.iter().copied();
    let of_epoch = of_epoch.filter(|s| {
        (epoch.saturating_add(1)..newest.sequence).contains(s) && !retained.contains(s)
    });
    let mut dead = BTreeMap::new();
    for sequence in of_epoch {
        // A claim that was too late for its slot lies here as well. Claims are never deleted.
        match slot::read_sized(location, sequence).await {
            Ok(Some(Sized {
                record: Record::Commit(commit),
                size_bytes,
            })) if commit.epoch == epoch => {
                dead.insert(sequence, size_bytes);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    note(location, "records", dead.len());
    history.sequences.retain(|s| !dead.contains_key(s));
    Ok(dead.into_iter().collect())
}

/// Finds the data objects of older epochs that nothing retained refers to. Those epochs are
/// fenced, so nothing ever will.
pub(crate) async fn find_data(
    location: &OpenLocation,
    epoch: u64,
    retained: &[Checkpoint],
) -> Result<Vec<SizedObject>> {
    let referred: HashSet<_> = retained
        .iter()
        .flat_map(|checkpoint| &checkpoint.commit.objects)
        .map(|object| object.name())
        .collect();
    let mut orphans = list_objects(location).await?;
    orphans.retain(|(name, _)| name.epoch < epoch && !referred.contains(name));
    note(location, "data objects", orphans.len());
    Ok(orphans)
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
