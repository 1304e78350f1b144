//! `wasm-checkpoint ls`

use std::process::ExitCode;

use checkpoint_storage::Checkpoint;
use serde::Serialize;

use super::{CheckpointRow, DamageRow};
use crate::exit::Code;
use crate::options::{LocationArg, human_size};
use crate::output;

/// List the restorable checkpoints of a location, newest first
///
/// If it holds none, lists those of its predecessor. Says on stderr what is damaged. Does not claim the location, so it does not disturb a running task.
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
    damaged: Vec<DamageRow>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let found = super::resumable(&location).await?;
        let rows = found.checkpoints.iter().map(Checkpoint::info);
        // Listing nothing would say that nothing was saved.
        let all_damaged = found.checkpoints.is_empty() && !found.damaged.is_empty();
        let code = match all_damaged {
            true => Code::Corrupt.into(),
            false => ExitCode::SUCCESS,
        };
        let listed = Listed {
            location: self.location.to_string(),
            checkpoints: rows.map(CheckpointRow::from).collect(),
            damaged: found.damaged.into_iter().map(DamageRow::from).collect(),
        };
        if self.json {
            output::print_json(&listed)?;
            return Ok(code);
        }
        if listed.checkpoints.is_empty() {
            output::say(format!("no checkpoints in {}", listed.location));
            return Ok(code);
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
