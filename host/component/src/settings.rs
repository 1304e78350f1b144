//! The environment variables that configure where checkpoints are stored and how much the task may store.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CHECKPOINT_STORE` | the location: a directory as the component sees it, or `s3://bucket/prefix` | `/checkpoint` |
//! | `CHECKPOINT_PREV` | an earlier attempt's location, if it differs | the one that a record names |
//! | `CHECKPOINT_FRESH` | `true` begins again from nothing, as `run --fresh` does | `false` |
//! | `CHECKPOINT_SCRATCH` | a directory for open streams | the location, if it is a directory |
//! | `CHECKPOINT_KEEP` | how many checkpoints to keep, from now on | as before, or 3 |
//! | `CHECKPOINT_QUOTA` | maximum bytes stored in the location | see [`Limits`] |
//! | `CHECKPOINT_MAX_CHECKPOINT` | maximum bytes in a checkpoint | see [`Limits`] |
//! | `CHECKPOINT_MAX_FILES` | maximum files, directories and links in a checkpoint | see [`Limits`] |
//! | `CHECKPOINT_MAX_TREE` | maximum bytes in the names in a checkpoint | see [`Limits`] |
//! | `CHECKPOINT_MAX_READ` | maximum bytes of contents that `read` returns at once | see [`Limits`] |
//! | `CHECKPOINT_MAX_PATH` | maximum bytes in a path | see [`Limits`] |
//! | `CHECKPOINT_MAX_ANNOTATIONS` | maximum bytes in a checkpoint's annotations | see [`Limits`] |
//! | `CHECKPOINT_MAX_SAVES` | maximum saves in any minute | see [`Limits`] |
//! | `CHECKPOINT_MAX_BACKGROUND` | maximum bytes in the arguments of the calls in flight of a task of WASI 0.3 | see [`Limits`] |
//! | `CHECKPOINT_SAVE_EVERY` | the seconds between saves that `should-save` advises | as often as costs 5 % of the run time |
//!
//! A background save is made at once, because a component has no threads. So the limits on copies do not apply to it.
//!
//! Numbers are integers without units. A blank variable counts as unset.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
#[cfg(feature = "s3")]
use std::sync::Arc;
use std::time::Duration;

use checkpoint_session::SaveAdvice;
use checkpoint_storage::{
    AttemptSettings, Error, ErrorKind, Limits, Location, OpenLocation, Result,
};

use crate::isolation::holder;
use crate::task::runtime;

/// The default location.
const DEFAULT_STORE: &str = "/checkpoint";

/// The prefixes of the variables that are hidden from the task.
const OWN: [&str; 3] = ["CHECKPOINT_", "AWS_", "FLYTE_AWS_"];

/// Returns whether a variable is for this component only.
pub(crate) fn is_own(variable: &str) -> bool {
    OWN.iter().any(|prefix| variable.starts_with(prefix))
}

/// The settings from the environment.
pub(crate) struct Settings {
    pub(crate) location: OpenLocation,
    pub(crate) attempt: AttemptSettings,
    pub(crate) advice: SaveAdvice,
}

impl Settings {
    pub(crate) fn read() -> Result<Self> {
        let location = location(&store())?;
        let mut limits = Limits::default();
        set("CHECKPOINT_QUOTA", &mut limits.stored_bytes)?;
        set("CHECKPOINT_MAX_CHECKPOINT", &mut limits.checkpoint_bytes)?;
        set("CHECKPOINT_MAX_FILES", &mut limits.entries)?;
        set("CHECKPOINT_MAX_TREE", &mut limits.tree_bytes)?;
        set("CHECKPOINT_MAX_READ", &mut limits.read_bytes)?;
        set("CHECKPOINT_MAX_PATH", &mut limits.path_bytes)?;
        set("CHECKPOINT_MAX_ANNOTATIONS", &mut limits.annotation_bytes)?;
        set("CHECKPOINT_MAX_SAVES", &mut limits.saves_per_minute)?;
        set("CHECKPOINT_MAX_BACKGROUND", &mut limits.background_bytes)?;
        let mut attempt = AttemptSettings::default().limits(limits);
        if let Some(keep) = number::<NonZeroUsize>("CHECKPOINT_KEEP")? {
            attempt = attempt.keep(keep);
        }
        if let Some(previous) = variable("CHECKPOINT_PREV") {
            attempt = attempt.previous(self::location(&previous)?);
        }
        if fresh()? {
            attempt = attempt.fresh();
        }
        let every = number("CHECKPOINT_SAVE_EVERY")?.map(Duration::from_secs);
        Ok(Self {
            location,
            attempt,
            advice: every.map_or_else(SaveAdvice::default, SaveAdvice::Every),
        })
    }
}

fn store() -> String {
    variable("CHECKPOINT_STORE").unwrap_or_else(|| DEFAULT_STORE.into())
}

/// Returns the directories that are for this component only.
///
/// # Errors
/// `InvalidLocation` if one of the variables is not a valid location, or if a recorded predecessor is not what it
/// was; `Unavailable` if the records cannot be read.
pub(crate) fn directories() -> Result<Vec<PathBuf>> {
    let named = [
        Some(store()),
        variable("CHECKPOINT_PREV"),
        variable("CHECKPOINT_SCRATCH"),
    ];
    let named = named.into_iter().flatten();
    let named: Result<Vec<_>> = named
        .filter_map(|place| directory(&place).transpose())
        .collect();
    Ok([named?, predecessors()?].concat())
}

/// Returns the directories that the records of the location name as its predecessors.
fn predecessors() -> Result<Vec<PathBuf>> {
    let first = variable("CHECKPOINT_PREV").unwrap_or_else(store);
    let Some(path) = directory(&first)? else {
        return Ok(Vec::new());
    };
    if fresh()? || holder(&path).is_none() {
        return Ok(Vec::new());
    }
    let found = runtime()?.block_on(location(&first)?.predecessors())?;
    let directories = found.iter().filter_map(OpenLocation::local_dir);
    Ok(directories.map(Path::to_owned).collect())
}

/// Returns whether to begin again from nothing.
fn fresh() -> Result<bool> {
    match variable("CHECKPOINT_FRESH").as_deref().map(str::trim) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(value) => {
            let what = format!("CHECKPOINT_FRESH={value}: expected true or false");
            Err(Error::new(ErrorKind::InvalidLocation, what))
        }
    }
}

/// Returns the directory for open streams, if there is one.
///
/// # Errors
/// `InvalidLocation` if the variable is not a valid location.
pub(crate) fn scratch() -> Result<Option<PathBuf>> {
    let named = variable("CHECKPOINT_SCRATCH").unwrap_or_else(store);
    directory(&named)
}

/// Returns the location's path if it is a directory. Opening and hiding it must use this same path.
fn directory(location: &str) -> Result<Option<PathBuf>> {
    location.parse::<Location>()?.directory()
}

fn location(text: &str) -> Result<OpenLocation> {
    let location: Location = text.parse()?;
    if let Some(directory) = location.directory()? {
        // Otherwise it would look like an empty location.
        if holder(&directory).is_none() {
            return Err(not_given(&directory));
        }
    }
    #[cfg(feature = "s3")]
    return location.open_with(crate::s3::Connector, Arc::new(crate::s3::Sha2));
    #[cfg(not(feature = "s3"))]
    location.open().map_err(|error| {
        let what = "this component supports only directories; for a bucket of S3, compose the task with --s3";
        match location.directory() {
            Ok(None) => Error::new(error.kind(), format!("{location}: {what}")),
            _ => error,
        }
    })
}

/// Returns the normalized path of a preopened directory with this name.
pub(crate) fn place(name: &str) -> PathBuf {
    let place = Location::from_path(name).directory();
    place.ok().flatten().unwrap_or_else(|| name.into())
}

/// Returns the error for a directory that is in none of the preopened directories.
pub(crate) fn not_given(directory: &Path) -> Error {
    let directory = directory.display();
    let what =
        format!("\"{directory}\": not in any directory that the host grants; pass one with --dir");
    Error::new(ErrorKind::InvalidLocation, what)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn number<T: FromStr>(name: &str) -> Result<Option<T>> {
    let parse = |value: String| {
        let what = format!("{name}={value}: expected a whole number");
        value
            .trim()
            .parse()
            .map_err(|_| Error::new(ErrorKind::InvalidLocation, what))
    };
    variable(name).map(parse).transpose()
}

fn set<T: FromStr>(name: &str, limit: &mut T) -> Result<()> {
    if let Some(value) = number(name)? {
        *limit = value;
    }
    Ok(())
}
