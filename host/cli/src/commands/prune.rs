//! `wasm-checkpoint prune`

use std::num::NonZeroUsize;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, Location};

/// Delete all but the newest checkpoints of a location
///
/// Claims the location like an attempt: a task that is running there is fenced, and its later saves
/// fail. The newest checkpoint gets a new sequence number.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: String,
    /// How many checkpoints are kept
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
    /// Say what would be deleted, claim nothing and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = Location::parse(&self.location)?;
        let checkpoints = location.checkpoints().await?;
        let dead = checkpoints.iter().skip(self.keep.get());
        let dead: Vec<_> = dead.map(|c| c.info().sequence).collect();
        if !self.dry_run && !checkpoints.is_empty() {
            let settings = AttemptSettings::default().keep(self.keep);
            Attempt::begin(location, settings).await?.prune().await?;
        }
        let verb = match self.dry_run {
            true => "would delete",
            false => "deleted",
        };
        let kept = checkpoints.len() - dead.len();
        eprintln!("wasm-checkpoint: {verb} checkpoints {dead:?}, {kept} kept");
        Ok(ExitCode::SUCCESS)
    }
}
