//! The subcommands, one module each.

#[cfg(feature = "compose")]
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

use checkpoint_storage::{Checkpoint, CheckpointInfo, Damage, OpenLocation, Resumable};
use clap::Subcommand;
use serde::Serialize;

use crate::exit::{Code, failure};
use crate::log::{self, Verbosity};
use crate::options::LocationArg;
use crate::output::say;

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
    #[cfg(feature = "compose")]
    Compose(compose::Args),
}

impl Command {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        match &self {
            Self::Run(args) => log::start(args.log, Verbosity::Warn),
            // They say themselves what is damaged.
            _ => log::start(None, Verbosity::Off),
        }
        match self {
            Self::Run(args) => args.exec().await,
            Self::Ls(args) => args.exec().await,
            Self::Show(args) => args.exec().await,
            Self::Export(args) => args.exec().await,
            Self::Import(args) => args.exec().await,
            Self::Verify(args) => args.exec().await,
            Self::Prune(args) => args.exec().await,
            Self::Doctor(args) => args.exec().await,
            #[cfg(feature = "compose")]
            Self::Compose(args) => args.exec().await,
        }
    }
}

/// A checkpoint as every command prints it with `--json`.
#[derive(Serialize)]
struct CheckpointRow {
    /// The location that holds it: the given one, or a predecessor.
    stored_in: String,
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
            stored_in: info.location,
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

/// Damage as every command prints it with `--json`.
#[derive(Serialize)]
struct DamageRow {
    stored_in: String,
    sequence: u64,
    reason: String,
}

impl From<Damage> for DamageRow {
    fn from(damage: Damage) -> Self {
        Self {
            stored_in: damage.location,
            sequence: damage.sequence,
            reason: damage.reason,
        }
    }
}

/// Returns what an attempt at this location would find. Says on stderr what is damaged, and where the checkpoints are
/// if they are in a predecessor.
///
/// # Errors
/// With [`Code::NoInput`] if there is no such location.
async fn resumable(location: &OpenLocation) -> anyhow::Result<Resumable> {
    let found = location.resumable().await?;
    if found.checkpoints.is_empty() && found.damaged.is_empty() {
        must_exist(location).await?;
    }
    tell_damage(&found.damaged, &found.checkpoints);
    if let Some(newest) = found.checkpoints.first().map(Checkpoint::info)
        && newest.location != location.url()
    {
        say(format!(
            "{location} holds no checkpoint; the newest is in its predecessor {}",
            newest.location
        ));
    }
    Ok(found)
}

/// Says on stderr what is damaged, and which checkpoint is used instead.
fn tell_damage(damaged: &[Damage], checkpoints: &[Checkpoint]) {
    for damage in damaged {
        say(format!(
            "checkpoint {} in {} is damaged: {}",
            damage.sequence, damage.location, damage.reason
        ));
    }
    if let (Some(newest), false) = (checkpoints.first(), damaged.is_empty()) {
        say(format!(
            "the newest checkpoint that is not damaged is {}",
            newest.info().sequence
        ));
    }
}

/// Returns the checkpoint with this number, or the newest one, and what is damaged.
async fn find(
    location: &LocationArg,
    sequence: Option<u64>,
) -> anyhow::Result<(Checkpoint, Vec<Damage>)> {
    let found = resumable(&location.open()?).await?;
    let is_wanted = |c: &&Checkpoint| sequence.is_none_or(|sequence| c.info().sequence == sequence);
    match found.checkpoints.iter().find(is_wanted) {
        Some(checkpoint) => Ok((checkpoint.clone(), found.damaged)),
        None => Err(not_found(location, sequence, &found.damaged)),
    }
}

fn not_found(location: &LocationArg, sequence: Option<u64>, damaged: &[Damage]) -> anyhow::Error {
    let is_wanted = |damage: &&Damage| sequence.is_none_or(|s| s == damage.sequence);
    let (code, what) = match (damaged.iter().find(is_wanted), sequence) {
        (Some(damage), _) => (
            Code::Corrupt,
            format!(
                "{location}: checkpoint {} is damaged: {}",
                damage.sequence, damage.reason
            ),
        ),
        (None, None) => (
            Code::NoInput,
            format!("{location}: no checkpoint to restore"),
        ),
        (None, Some(sequence)) => (
            Code::NoInput,
            format!(
                "{location}: no checkpoint {sequence} to restore; `wasm-checkpoint ls` lists those there are"
            ),
        ),
    };
    failure(code, what)
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
