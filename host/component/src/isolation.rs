//! What the task sees of the directories and variables that its host was given: all but this component's.
//!
//! Both halves of a composed component are given the same by `wasmtime run`. The task could read its
//! credentials and write into its own log, so it is given these in the place of WASI's own.

use std::path::{Path, PathBuf};

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
        let mut directories = wasip2::filesystem::preopens::get_directories();
        let places: Vec<PathBuf> = directories.iter().map(|(_, name)| place(name)).collect();
        // If a location is misspelt, none of them is known not to be it.
        let Ok(own) = settings::directories() else {
            return Vec::new();
        };
        let mut hidden = Vec::new();
        for own in own {
            match index_of_holder(&places, &own) {
                // All of that name: which of them is meant is for others to say.
                Some((index, _)) => hidden.extend(places.get(index)),
                // None of them is known not to be it.
                None => return Vec::new(),
            }
        }
        directories.retain(|(_, name)| !hidden.contains(&&place(name)));
        directories
    }
}

/// The directory given to this component that holds `path`, and the rest of the path in it. Of several, the
/// one with the longest name.
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
