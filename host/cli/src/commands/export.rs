//! `wasm-checkpoint export`

use std::path::PathBuf;
use std::process::ExitCode;

use checkpoint_storage::{DirTree, Existing, Limits, Location};
use serde::Serialize;

use super::CheckpointRow;
use crate::options::LocationArg;
use crate::output;
use crate::progress::{Counted, Progress};

/// Restore a checkpoint to a directory, or to a file if it is one
///
/// Claims nothing, so a running task does not notice. Every byte is verified. Shows how far it is if
/// stderr is a terminal.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: LocationArg,
    /// The directory or file to make; its parent must exist
    target: PathBuf,
    /// The sequence number of the checkpoint [default: the newest]
    #[arg(long = "seq", value_name = "N")]
    sequence: Option<u64>,
    /// Replace what the target holds, such as what an interrupted export has left
    #[arg(long)]
    replace: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Exported {
    location: String,
    target: String,
    #[serde(flatten)]
    checkpoint: CheckpointRow,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let checkpoint = super::find(&self.location, self.sequence).await?;
        // An operator's links are followed; those in a checkpoint lead nowhere outside of it.
        let target = Location::from_path(&self.target).directory()?;
        let target = DirTree::ambient(target.as_deref().unwrap_or(&self.target))?;
        let info = checkpoint.info();
        let progress = Progress::start("exporting");
        progress.set_total(info.logical_bytes);
        let limits = Limits::default();
        let existing = match self.replace {
            true => Existing::Replace,
            false => Existing::Refuse,
        };
        checkpoint
            .restore(Counted::new(target, &progress), existing, &limits)
            .await?;
        drop(progress);
        let target = self.target.display().to_string();
        if self.json {
            output::print_json(&Exported {
                location: self.location.to_string(),
                target,
                checkpoint: info.into(),
            })?;
        } else {
            let sequence = info.sequence;
            output::say(format!("exported checkpoint {sequence} to {target}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
