//! The subcommands, one module each.

mod compose;
mod doctor;
mod export;
mod import;
mod ls;
mod prune;
mod run;
mod show;
mod verify;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use checkpoint_storage::{Checkpoint, CheckpointInfo, OpenLocation};
use clap::Subcommand;
use serde::Serialize;

use crate::exit::{Code, failure};
use crate::options::LocationArg;

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
    Compose(compose::Args),
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
            Self::Compose(args) => args.exec().await,
        }
    }
}

/// A checkpoint as every command prints it with `--json`.
#[derive(Serialize)]
struct CheckpointRow {
    sequence: u64,
    attempt: u32,
    saved_at: String,
    files: u64,
    logical_bytes: u64,
    schema: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl From<CheckpointInfo> for CheckpointRow {
    fn from(info: CheckpointInfo) -> Self {
        Self {
            sequence: info.sequence,
            attempt: info.attempt,
            saved_at: rfc3339(info.saved_at),
            files: info.files,
            logical_bytes: info.logical_bytes,
            schema: info.metadata.schema,
            annotations: info.metadata.annotations,
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    // The formatter supports only the years 1970 to 9999.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    match (SystemTime::UNIX_EPOCH..=last).contains(&time) {
        true => humantime::format_rfc3339_seconds(time).to_string(),
        false => "-".to_owned(),
    }
}

/// Returns the checkpoint with this number, or the newest one.
async fn find(location: &LocationArg, sequence: Option<u64>) -> anyhow::Result<Checkpoint> {
    let opened = location.open()?;
    let checkpoints = opened.checkpoints().await?;
    if checkpoints.is_empty() {
        must_exist(&opened).await?;
    }
    let found = checkpoints
        .into_iter()
        .find(|c| sequence.is_none_or(|sequence| c.info().sequence == sequence));
    let what = match (found, sequence) {
        (Some(checkpoint), _) => return Ok(checkpoint),
        (None, None) => format!("{location}: no checkpoint to restore"),
        (None, Some(sequence)) => format!(
            "{location}: no checkpoint {sequence} to restore; `wasm-checkpoint ls` lists those there are"
        ),
    };
    Err(failure(Code::NoInput, what))
}

/// Checks that a location exists: a mistyped name must not pass for a location without checkpoints.
///
/// # Errors
/// With [`Code::NoInput`] if there is no such location.
async fn must_exist(location: &OpenLocation) -> anyhow::Result<()> {
    match location.exists().await? {
        true => Ok(()),
        false => Err(failure(
            Code::NoInput,
            format!("{location}: no such location"),
        )),
    }
}
