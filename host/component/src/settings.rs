//! The environment variables that say where checkpoints lie and what the task may store.
//!
//! | variable | what it says | default |
//! |---|---|---|
//! | `CHECKPOINT_STORE` | the location: a directory as the component sees it, or `s3://bucket/prefix` | `/checkpoint` |
//! | `CHECKPOINT_PREV` | an earlier attempt's location, where that is another one | none |
//! | `CHECKPOINT_SCRATCH` | a directory for streams that are under way | the location, if it is a directory |
//! | `CHECKPOINT_KEEP` | how many checkpoints are kept | 3 |
//! | `CHECKPOINT_QUOTA` | the bytes that the location may hold | that of [`Limits`] |
//! | `CHECKPOINT_MAX_CHECKPOINT` | the bytes of a checkpoint | likewise |
//! | `CHECKPOINT_MAX_FILES` | its files, directories and links | likewise |
//! | `CHECKPOINT_MAX_PATH` | the bytes of a path in it | likewise |
//! | `CHECKPOINT_MAX_ANNOTATIONS` | the bytes of its annotations | likewise |
//! | `CHECKPOINT_MAX_SAVES` | the saves in any minute | likewise |
//! | `CHECKPOINT_SAVE_EVERY` | the seconds after which `should-save` says yes | 5 % of the run time |
//!
//! Numbers are whole ones, without units. A variable that is blank counts as missing.

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

/// Where checkpoints lie unless the environment says otherwise.
const DEFAULT_STORE: &str = "/checkpoint";

/// What the variables that are kept from the task begin with.
const OWN: [&str; 3] = ["CHECKPOINT_", "AWS_", "FLYTE_AWS_"];

/// Whether a variable is for this component alone.
pub(crate) fn is_own(variable: &str) -> bool {
    OWN.iter().any(|prefix| variable.starts_with(prefix))
}

/// What the environment says.
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
        set("CHECKPOINT_MAX_PATH", &mut limits.path_bytes)?;
        set("CHECKPOINT_MAX_ANNOTATIONS", &mut limits.annotation_bytes)?;
        set("CHECKPOINT_MAX_SAVES", &mut limits.saves_per_minute)?;
        let mut attempt = AttemptSettings::default().limits(limits);
        if let Some(keep) = number::<NonZeroUsize>("CHECKPOINT_KEEP")? {
            attempt = attempt.keep(keep);
        }
        if let Some(previous) = variable("CHECKPOINT_PREV") {
            attempt = attempt.previous(self::location(&previous)?);
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

/// The directories that are for this component alone.
///
/// # Errors
/// `InvalidLocation` if what one of them is cannot be told.
pub(crate) fn directories() -> Result<Vec<PathBuf>> {
    let all = [
        Some(store()),
        variable("CHECKPOINT_PREV"),
        variable("CHECKPOINT_SCRATCH"),
    ];
    let all = all.into_iter().flatten();
    all.filter_map(|place| directory(&place).transpose())
        .collect()
}

/// The directory in which streams that are under way lie.
///
/// # Errors
/// `InvalidLocation` if what it is cannot be told.
pub(crate) fn scratch() -> Result<Option<PathBuf>> {
    let named = variable("CHECKPOINT_SCRATCH").unwrap_or_else(store);
    directory(&named)
}

/// The directory that a location is, if it is one: the same path for whoever opens it and whoever hides it.
fn directory(location: &str) -> Result<Option<PathBuf>> {
    location.parse::<Location>()?.directory()
}

fn location(text: &str) -> Result<OpenLocation> {
    let location: Location = text.parse()?;
    if let Some(directory) = location.directory()? {
        // Or it would pass for one that holds nothing.
        if holder(&directory).is_none() {
            return Err(not_given(&directory));
        }
    }
    #[cfg(feature = "s3")]
    return location.open_with(crate::s3::Connector, Arc::new(crate::s3::Sha2));
    #[cfg(not(feature = "s3"))]
    location.open().map_err(|error| {
        let what = "it lies in no directory; a task that keeps its checkpoints in a bucket of S3 is composed with --s3";
        match location.directory() {
            Ok(None) => Error::new(error.kind(), format!("{location}: {what}")),
            _ => error,
        }
    })
}

/// Where in this component a directory of this name lies.
pub(crate) fn place(name: &str) -> PathBuf {
    let place = Location::from_path(name).directory();
    place.ok().flatten().unwrap_or_else(|| name.into())
}

/// The error for a directory that no other one which this component was given holds.
pub(crate) fn not_given(directory: &Path) -> Error {
    let directory = directory.display();
    let what = format!("\"{directory}\": no directory was given that holds this; see --dir");
    Error::new(ErrorKind::InvalidLocation, what)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn number<T: FromStr>(name: &str) -> Result<Option<T>> {
    let parse = |value: String| {
        let what = format!("{name}={value}: a whole number is expected");
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
