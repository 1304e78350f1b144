//! The subcommands, one module each.

mod doctor;
mod export;
mod import;
mod ls;
mod prune;
mod run;
mod show;
mod verify;

use std::process::ExitCode;

use checkpoint_storage::{Checkpoint, Location};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Ls(ls::Args),
    Show(show::Args),
    Export(export::Args),
    Import(import::Args),
    Verify(verify::Args),
    Prune(prune::Args),
    Doctor(doctor::Args),
}

impl Command {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => args.exec().await,
            Self::Ls(args) => args.exec().await,
            Self::Show(args) => args.exec().await,
            Self::Export(args) => args.exec().await,
            Self::Import(args) => args.exec().await,
            Self::Verify(args) => args.exec().await,
            Self::Prune(args) => args.exec().await,
            Self::Doctor(args) => args.exec().await,
        }
    }
}

/// The checkpoint of this number, or the newest one.
async fn find(location: &str, sequence: Option<u64>) -> anyhow::Result<Checkpoint> {
    let checkpoints = Location::parse(location)?.checkpoints().await?;
    let found = checkpoints
        .into_iter()
        .find(|c| sequence.is_none_or(|sequence| c.info().sequence == sequence));
    match (found, sequence) {
        (Some(checkpoint), _) => Ok(checkpoint),
        (None, None) => anyhow::bail!("{location}: no checkpoint"),
        (None, Some(sequence)) => anyhow::bail!(
            "{location}: no checkpoint {sequence} that can be restored; `wasm-checkpoint ls` lists them"
        ),
    }
}
