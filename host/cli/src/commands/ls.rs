//! `wasm-checkpoint ls`

use std::io::Write;
use std::process::ExitCode;

use checkpoint_storage::Checkpoint;
use serde::Serialize;

use super::CheckpointRow;
use crate::options::{LocationArg, human_size};

/// List the checkpoints of a location that can be restored, newest first
///
/// Claims nothing, so a running task does not notice.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: LocationArg,
    /// Print a JSON object
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
        let checkpoints = self.location.open()?.checkpoints().await?;
        let rows = checkpoints.iter().map(Checkpoint::info);
        let listed = Listed {
            location: self.location.to_string(),
            checkpoints: rows.map(CheckpointRow::from).collect(),
        };
        if self.json {
            super::print_json(&listed)?;
            return Ok(ExitCode::SUCCESS);
        }
        if listed.checkpoints.is_empty() {
            eprintln!("wasm-checkpoint: no checkpoints in {}", listed.location);
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:>10} {:>8} {:<20} {:>8} {:>10}",
            "SEQUENCE", "ATTEMPT", "SAVED", "FILES", "SIZE"
        )?;
        for row in listed.checkpoints {
            let size = human_size(row.logical_bytes);
            writeln!(
                out,
                "{:>10} {:>8} {:<20} {:>8} {size:>10}",
                row.sequence, row.attempt, row.saved_at, row.files
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
