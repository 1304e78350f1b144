//! Hides this component's directories and environment variables from the task.
//!
//! `wasmtime run` gives the same directories and variables to both halves of a composed component. The
//! task could therefore read the credentials and write to its own log, so it imports these filtered
//! interfaces instead of WASI's own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasip2::filesystem::types::Descriptor;

use crate::bindings::exports::wasi::cli::environment;
use crate::bindings::exports::wasi::filesystem::preopens;
use crate::settings::place;
use crate::{Component, settings};

impl environment::Guest for Component {
    fn get_environment() -> Vec<(String, String)> {
        let mut variables = wasip2::cli::environment::get_environment();
        variables.retain(|(name, _)| !settings::is_own(name));
        variables
    }

    fn get_arguments() -> Vec<String> {
        wasip2::cli::environment::get_arguments()
    }

    fn initial_cwd() -> Option<String> {
        wasip2::cli::environment::initial_cwd()
    }
}

impl preopens::Guest for Component {
    fn get_directories() -> Vec<(Descriptor, String)> {
        visible(wasip2::filesystem::preopens::get_directories())
    }
}

/// Returns those of all preopened directories that the task may see, in any version of WASI.
pub(crate) fn visible<D>(mut directories: Vec<(D, String)>) -> Vec<(D, String)> {
    let places: Vec<PathBuf> = directories.iter().map(|(_, name)| place(name)).collect();
    // If a location is invalid, any of the directories could be the one to hide, so hide them all.
    let Some(own) = own_directories() else {
        return Vec::new();
    };
    let mut hidden = Vec::new();
    for own in own {
        match index_of_holder(&places, own) {
            // Several directories may have this name. Hide them all, because any could be meant.
            Some((index, _)) => hidden.extend(places.get(index)),
            // Any of the directories could be the one to hide, so hide them all.
            None => return Vec::new(),
        }
    }
    directories.retain(|(_, name)| !hidden.contains(&&place(name)));
    directories
}

/// Returns the directories that are for this component only, which do not change while it runs. `None` if they cannot
/// be determined now.
fn own_directories() -> Option<&'static [PathBuf]> {
    // Reading them takes requests to the storage, and `paths` needs them in every call.
    static OWN: OnceLock<Vec<PathBuf>> = OnceLock::new();
    if OWN.get().is_none() {
        // There is one thread, so nobody else has set it.
        let _ = OWN.set(settings::directories().ok()?);
    }
    OWN.get().map(Vec::as_slice)
}

/// Returns the preopened directory that contains `path`, and the rest of the path in it. If several do, picks
/// the one with the longest name.
pub(crate) fn holder(path: &Path) -> Option<(Descriptor, PathBuf)> {
    let mut directories = wasip2::filesystem::preopens::get_directories();
    let places: Vec<PathBuf> = directories.iter().map(|(_, name)| place(name)).collect();
    let (index, rest) = index_of_holder(&places, path)?;
    let (directory, _) = directories.swap_remove(index);
    Some((directory, rest.to_owned()))
}

fn index_of_holder<'a>(places: &[PathBuf], path: &'a Path) -> Option<(usize, &'a Path)> {
    let leads = places.iter().enumerate().filter_map(|(index, place)| {
        let rest = path.strip_prefix(place).ok()?;
        Some((place.components().count(), index, rest))
    });
    let found = leads.max_by_key(|(length, ..)| *length);
    found.map(|(_, index, rest)| (index, rest))
}
