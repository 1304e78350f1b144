//! `wasm-checkpoint export`

use std::path::PathBuf;
use std::process::ExitCode;

use checkpoint_storage::{BeneathDir, Existing, Limits};

/// Restore a checkpoint to a directory, or to a file if it is one
///
/// Claims nothing, so a running task does not notice. Every byte is verified.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: String,
    /// The directory or file to make; its parent must exist
    target: PathBuf,
    /// The sequence number of the checkpoint [default: the newest]
    #[arg(long = "seq", value_name = "N")]
    sequence: Option<u64>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let checkpoint = super::find(&self.location, self.sequence).await?;
        let target = BeneathDir::ambient(&self.target)?;
        let limits = Limits::default();
        checkpoint
            .restore(target, Existing::Refuse, &limits)
            .await?;
        let sequence = checkpoint.info().sequence;
        eprintln!(
            "wasm-checkpoint: exported checkpoint {sequence} to {}",
            self.target.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}
