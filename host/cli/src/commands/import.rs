//! `wasm-checkpoint import`

use std::path::PathBuf;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, BeneathDir, Location};

use crate::options::human_size;

/// Save a directory or a file as the newest checkpoint of a location
///
/// Claims the location like an attempt, so a task that is running there is fenced.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The directory or file
    source: PathBuf,
    /// The URL or path of the location
    location: String,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = Location::parse(&self.location)?;
        // Before the claim: what cannot be read must not fence anybody.
        let source = BeneathDir::ambient(&self.source)?;
        anyhow::ensure!(
            self.source.try_exists()?,
            "{}: there is nothing",
            self.source.display()
        );
        let attempt = Attempt::begin(location, AttemptSettings::default()).await?;
        let saved = attempt.save(source).await?;
        eprintln!(
            "wasm-checkpoint: imported checkpoint {}, {} ({} uploaded)",
            saved.sequence,
            human_size(saved.logical_bytes),
            human_size(saved.uploaded_bytes)
        );
        Ok(ExitCode::SUCCESS)
    }
}
