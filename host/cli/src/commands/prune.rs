//! `wasm-checkpoint prune`

use std::num::NonZeroUsize;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, Checkpoint};
use serde::Serialize;

use crate::options::LocationArg;
use crate::output;

/// Delete all but the newest checkpoints of a location
///
/// Claims the location like an attempt, so it fences a task that is running there: the task's later saves fail. The
/// newest checkpoint gets a new sequence number.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Number of checkpoints to keep
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
    /// Print what would be deleted, without claiming or deleting anything
    #[arg(long)]
    dry_run: bool,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Pruned {
    location: String,
    dry_run: bool,
    /// The checkpoints that were deleted or, in a dry run, would be.
    deleted: Vec<u64>,
    /// The remaining checkpoints, newest first. In a dry run, those that would remain, by their current numbers.
    kept: Vec<u64>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let mut kept = sequences(&location.checkpoints().await?);
        if kept.is_empty() {
            super::must_exist(&location).await?;
        }
        let deleted = kept.split_off(self.keep.get().min(kept.len()));
        if !self.dry_run && !kept.is_empty() {
            let settings = AttemptSettings::default().keep(self.keep);
            Attempt::begin(location.clone(), settings)
                .await?
                .prune()
                .await?;
            kept = sequences(&location.checkpoints().await?);
        }
        if self.json {
            output::print_json(&Pruned {
                location: self.location.to_string(),
                dry_run: self.dry_run,
                deleted,
                kept,
            })?;
        } else {
            let verb = match self.dry_run {
                true => "would delete",
                false => "deleted",
            };
            let kept = kept.len();
            output::say(format!("{verb} checkpoints {deleted:?}, {kept} kept"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sequences(checkpoints: &[Checkpoint]) -> Vec<u64> {
    checkpoints.iter().map(|c| c.info().sequence).collect()
}
