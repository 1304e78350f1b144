//! `wasm-checkpoint prune`

use std::num::NonZeroUsize;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, Examine, OnDamage};
use serde::Serialize;

use crate::options::LocationArg;
use crate::output;

/// Delete all but the newest checkpoints of a location
///
/// First reads the newest checkpoint in full, and checks that the data of the others that it keeps is there. Deletes
/// nothing if the newest checkpoint is damaged. Then claims the location like an attempt, so it fences a task that is
/// running there: the task's later saves fail. The newest checkpoint gets a new sequence number. How many checkpoints
/// later runs keep does not change; `run --keep` sets that.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Number of checkpoints to keep
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
    /// Read every checkpoint that is kept in full
    #[arg(long)]
    read_all: bool,
    /// Give up what is damaged: read the whole location, keep only checkpoints that are not damaged, delete damaged
    /// data that none of them needs, and stop reporting damaged records
    #[arg(long)]
    give_up: bool,
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
    /// The damaged records that are given up.
    given_up: Vec<u64>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let examine = match self.read_all || self.give_up {
            true => Examine::Kept,
            false => Examine::Newest,
        };
        let on_damage = match self.give_up {
            true => OnDamage::GiveUp,
            false => OnDamage::Refuse,
        };
        let plan = location.plan_prune(self.keep, examine, on_damage).await?;
        if plan.kept.is_empty() {
            super::must_exist(&location).await?;
        }
        let mut kept = plan.kept.clone();
        if !self.dry_run && !kept.is_empty() {
            let attempt = Attempt::begin(location, AttemptSettings::default()).await?;
            let newest = attempt.prune(&plan).await?;
            kept.splice(..1, newest);
        }
        let (deleted, given_up) = (plan.deleted, plan.given_up);
        if self.json {
            output::print_json(&Pruned {
                location: self.location.to_string(),
                dry_run: self.dry_run,
                deleted,
                kept,
                given_up,
            })?;
        } else {
            let verb = match self.dry_run {
                true => "would delete",
                false => "deleted",
            };
            let kept = kept.len();
            output::say(format!("{verb} checkpoints {deleted:?}, {kept} kept"));
            if !given_up.is_empty() {
                output::say(format!("damaged records given up: {given_up:?}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
