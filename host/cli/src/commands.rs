//! The subcommands, one module each.

mod ls;
mod run;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Ls(ls::Args),
}

impl Command {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => args.exec().await,
            Self::Ls(args) => args.exec().await,
        }
    }
}
