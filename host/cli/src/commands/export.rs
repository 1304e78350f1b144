//! `wasm-checkpoint export`

use std::path::PathBuf;
use std::process::ExitCode;

use checkpoint_storage::{DirTree, ErrorKind, Existing, Limits, Location};
use serde::Serialize;

use super::CheckpointRow;
use crate::options::LocationArg;
use crate::output;
use crate::progress::{Counted, Progress};

/// Restore a checkpoint to a directory, or to a file if it is one
///
/// Verifies every byte. Does not claim the location, so it does not disturb a running task. Shows progress if
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
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let checkpoint = super::find(&self.location, self.sequence).await?;
        // Follow links in the operator's path. Links in the checkpoint never lead outside the target.
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
        let restoring = checkpoint.restore(Counted::new(target, &progress), existing, &limits);
        if let Err(error) = restoring.await {
            let replaceable = error.kind() == ErrorKind::InvalidPath && !self.replace;
            let error = anyhow::Error::new(error);
            return Err(match replaceable {
                true => error.context(
                    "the checkpoint was not exported; --replace replaces what the target holds",
                ),
                false => error,
            });
        }
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
