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
//! Numbers are whole ones, without units. A variable that is empty counts as missing.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use checkpoint_session::SaveAdvice;
use checkpoint_storage::{AttemptSettings, Error, ErrorKind, Limits, OpenLocation, Result};
use object_store::path::Path;
use url::Url;

use crate::dir_store::{self, DirStore};
use crate::isolation::holder;

/// Where checkpoints lie unless the environment says otherwise.
const DEFAULT_STORE: &str = "/checkpoint";

/// What the variables that are kept from the task begin with.
const OWN: [&str; 2] = ["CHECKPOINT_", "AWS_"];

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
pub(crate) fn directories() -> Vec<String> {
    let all = [
        Some(store()),
        variable("CHECKPOINT_PREV"),
        variable("CHECKPOINT_SCRATCH"),
    ];
    let all = all.into_iter().flatten();
    all.filter_map(|place| directory(&place)).collect()
}

/// The directory in which streams that are under way lie.
pub(crate) fn scratch() -> Option<String> {
    let named = variable("CHECKPOINT_SCRATCH").unwrap_or_else(store);
    directory(&named)
}

/// The directory that a location is, if it is one.
fn directory(location: &str) -> Option<String> {
    match location.split_once("://") {
        None => Some(location.to_owned()),
        Some(("file", path)) => Some(path.to_owned()),
        Some(_) => None,
    }
}

fn location(text: &str) -> Result<OpenLocation> {
    if let Some(directory) = directory(text) {
        return in_a_directory(text, &directory);
    }
    let url = Url::parse(text).map_err(|e| invalid(text, "not a URL").with_source(e))?;
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => {
            let bucket = url
                .host_str()
                .ok_or_else(|| invalid(text, "names no bucket"))?;
            let store = crate::s3::bucket(bucket).map_err(|e| {
                invalid(text, "the environment does not say how to reach it").with_source(e)
            })?;
            let prefix = Path::from_url_path(url.path()).map_err(|e| {
                invalid(text, "not a path that can hold checkpoints").with_source(e)
            })?;
            Ok(OpenLocation::new(store, prefix, text))
        }
        #[cfg(not(feature = "s3"))]
        "s3" => Err(invalid(
            text,
            "this was composed without S3; compose it with --s3",
        )),
        _ => Err(invalid(
            text,
            "no storage of this kind; use a directory or s3",
        )),
    }
}

/// Its scheme is `dir`: to this machine its path is another one, or none, and no other host may take it for
/// its own when a claim names it as the predecessor.
fn in_a_directory(text: &str, directory: &str) -> Result<OpenLocation> {
    let no_path = || invalid(text, "no path that can hold checkpoints");
    let parts = directory.split('/');
    let parts: Vec<_> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
    let path = Path::parse(parts.join("/")).map_err(|e| no_path().with_source(e))?;
    let mut url = Url::parse("dir:///").map_err(|e| no_path().with_source(e))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(path.as_ref().split('/'));
    }
    // Or it would pass for one that holds nothing.
    if holder(directory).is_none() {
        return Err(not_given(text));
    }
    let directory = dir_store::place(&path);
    Ok(OpenLocation::in_directory(
        Arc::new(DirStore),
        &directory,
        path,
        url,
    ))
}

/// The error for a directory that no other one which this component was given holds.
pub(crate) fn not_given(directory: &str) -> Error {
    invalid(
        directory,
        "no directory was given that holds this; see --dir",
    )
}

fn invalid(what: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidLocation, format!("{what:?}: {why}"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: FromStr>(name: &str) -> Result<Option<T>> {
    let parse = |value: String| {
        let what = format!("{name}={value}: a whole number is expected");
        value
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
