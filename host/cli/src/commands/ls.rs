//! `wasm-checkpoint ls`

use std::io::Write;
use std::process::ExitCode;

use checkpoint_storage::{Checkpoint, Location};
use serde::Serialize;

use crate::options::human_size;

/// List the checkpoints of a location that can be restored, newest first
///
/// Claims nothing, so a running task does not notice.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: String,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    sequence: u64,
    attempt: u32,
    saved_at: String,
    files: u64,
    logical_bytes: u64,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let checkpoints = Location::parse(&self.location)?.checkpoints().await?;
        let rows = checkpoints
            .iter()
            .map(Checkpoint::info)
            .map(|checkpoint| Row {
                sequence: checkpoint.sequence,
                attempt: checkpoint.attempt,
                saved_at: humantime::format_rfc3339_seconds(checkpoint.saved_at).to_string(),
                files: checkpoint.files,
                logical_bytes: checkpoint.logical_bytes,
            });
        let rows: Vec<_> = rows.collect();
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if rows.is_empty() {
            eprintln!("wasm-checkpoint: no checkpoints in {}", self.location);
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(
            out,
            "{:>10} {:>8} {:<20} {:>8} {:>10}",
            "SEQUENCE", "ATTEMPT", "SAVED", "FILES", "SIZE"
        )?;
        for row in rows {
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
