//! `wasm-checkpoint prune`

use std::num::NonZeroUsize;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, Checkpoint};
use serde::Serialize;

use crate::options::LocationArg;
use crate::output;

/// Delete all but the newest checkpoints of a location
///
/// Claims the location like an attempt: a task that is running there is fenced, and its later saves
/// fail. The newest checkpoint gets a new sequence number.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: LocationArg,
    /// How many checkpoints are kept
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
    /// Say what would be deleted, claim nothing and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Pruned {
    location: String,
    dry_run: bool,
    /// What was, or would be, deleted.
    deleted: Vec<u64>,
    /// What is there now, or would be, newest first. Of a dry run by the numbers of before.
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
