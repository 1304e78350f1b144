//! `wasm-checkpoint ls`

use std::process::ExitCode;

use checkpoint_storage::Checkpoint;
use serde::Serialize;

use super::CheckpointRow;
use crate::options::{LocationArg, human_size};
use crate::output;

/// List the restorable checkpoints of a location, newest first
///
/// Does not claim the location, so it does not disturb a running task.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    location: String,
    checkpoints: Vec<CheckpointRow>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let checkpoints = location.checkpoints().await?;
        if checkpoints.is_empty() {
            super::must_exist(&location).await?;
        }
        let rows = checkpoints.iter().map(Checkpoint::info);
        let listed = Listed {
            location: self.location.to_string(),
            checkpoints: rows.map(CheckpointRow::from).collect(),
        };
        if self.json {
            output::print_json(&listed)?;
            return Ok(ExitCode::SUCCESS);
        }
        if listed.checkpoints.is_empty() {
            output::say(format!("no checkpoints in {}", listed.location));
            return Ok(ExitCode::SUCCESS);
        }
        output::print(|out| {
            out.line(format_args!(
                "{:>10} {:>8} {:<20} {:>8} {:>10}",
                "SEQUENCE", "ATTEMPT", "SAVED", "FILES", "SIZE"
            ))?;
            for row in listed.checkpoints {
                let size = human_size(row.logical_bytes);
                out.line(format_args!(
                    "{:>10} {:>8} {:<20} {:>8} {size:>10}",
                    row.sequence, row.attempt, row.saved_at, row.files
                ))?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
