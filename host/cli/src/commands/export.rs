//! `wasm-checkpoint export`

use std::path::PathBuf;
use std::process::ExitCode;

use checkpoint_storage::{
    Checkpoint, DirTree, ErrorKind, Existing, Limits, Location, OpenLocation, means_a_directory,
};
use serde::Serialize;

use super::{CheckpointRow, DamageRow};
use crate::exit::{Code, failure};
use crate::options::LocationArg;
use crate::output;
use crate::places;
use crate::progress::{Counted, Progress};

/// Restore a checkpoint to a directory, or to a file if it is one
///
/// Verifies every byte. Falls back to an older checkpoint if the newest is damaged, unless --seq names one. If the
/// location holds none, restores that of its predecessor. Does not claim the location, so it does not disturb a running task. Shows progress if
/// stderr is a terminal.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Directory or file to create; its parent must exist
    target: PathBuf,
    /// Sequence number of the checkpoint [default: the newest]
    #[arg(long = "seq", value_name = "N")]
    sequence: Option<u64>,
    /// Replace the contents of the target, e.g. those of an interrupted export
    #[arg(long)]
    replace: bool,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Exported {
    location: String,
    target: String,
    #[serde(flatten)]
    checkpoint: CheckpointRow,
    damaged: Vec<DamageRow>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let mut found = super::resumable(&location).await?;
        self.check_target(std::iter::once(&location).chain(&found.predecessors))?;
        if let Some(sequence) = self.sequence {
            found.checkpoints.retain(|c| c.info().sequence == sequence);
        }
        let Some(first) = found.checkpoints.first().map(Checkpoint::info) else {
            let damaged = &found.damaged;
            return Err(super::not_found(&self.location, self.sequence, damaged));
        };
        // Follow links in the operator's path. Links in the checkpoint never lead outside the target.
        let target = Location::from_path(&self.target).directory()?;
        let mut target = target.unwrap_or_else(|| self.target.clone());
        if means_a_directory(&self.target) {
            // Resolving the path has removed the slash.
            target.push("");
        }
        let target = DirTree::ambient(&target)?;
        let progress = Progress::start("exporting");
        progress.set_total(first.logical_bytes);
        let limits = Limits::default();
        let existing = match self.replace {
            true => Existing::Replace,
            false => Existing::Refuse,
        };
        let known = found.damaged.len();
        let target = Counted::new(target, &progress);
        let restored = match (self.sequence, found.checkpoints.first()) {
            (Some(_), Some(one)) => {
                let one = one.clone();
                let restored = one.restore(target, existing, &limits).await;
                restored.map(|()| Some(one))
            }
            _ => found.restore(target, existing, &limits).await,
        };
        let newly_found = found.damaged.len().saturating_sub(known);
        let newly_found = found.damaged.get(..newly_found).unwrap_or_default();
        super::tell_damage(newly_found, &found.checkpoints);
        let restored = restored.map_err(|error| {
            let replaceable = error.kind() == ErrorKind::InvalidPath && !self.replace;
            let error = anyhow::Error::new(error);
            match replaceable {
                true => error.context(
                    "the checkpoint was not exported; --replace replaces what the target holds",
                ),
                false => error,
            }
        })?;
        drop(progress);
        let info = restored.map_or(first, |checkpoint| checkpoint.info());
        let target = self.target.display().to_string();
        if self.json {
            output::print_json(&Exported {
                location: self.location.to_string(),
                target,
                checkpoint: info.into(),
                damaged: found.damaged.into_iter().map(DamageRow::from).collect(),
            })?;
        } else {
            let (sequence, place) = (info.sequence, info.location);
            output::say(format!(
                "exported checkpoint {sequence} of {place} to {target}"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses a target that overlaps a location: replacing it would delete or damage the checkpoints.
    fn check_target<'a>(
        &self,
        locations: impl Iterator<Item = &'a OpenLocation>,
    ) -> anyhow::Result<()> {
        let target = places::resolve(&self.target);
        for location in locations {
            let Some(dir) = location.local_dir() else {
                continue;
            };
            if let Some(relation) = places::relation(&target, &places::resolve(dir)) {
                let target = self.target.display();
                let what = format!(
                    "cannot export to {target}: it {relation} the location {location}; name another target"
                );
                return Err(failure(Code::Usage, what));
            }
        }
        Ok(())
    }
}
