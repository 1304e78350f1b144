//! What the task sees of the directories and variables that its host was given: all but this component's.
//!
//! Both halves of a composed component are given the same by `wasmtime run`. The task could read its
//! credentials and write into its own log, so it is given these in the place of WASI's own.

use wasip2::filesystem::types::Descriptor;

use crate::bindings::exports::wasi::cli::environment;
use crate::bindings::exports::wasi::filesystem::preopens;
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
        let names: Vec<String> = directories.iter().map(|(_, name)| name.clone()).collect();
        let mut hidden = Vec::new();
        for own in settings::directories() {
            match index_of_holder(&names, &own) {
                // All of that name: which of them is meant is for others to say.
                Some((index, _)) => hidden.extend(names.get(index)),
                // None of them is known not to be it.
                None => return Vec::new(),
            }
        }
        let is_hidden = |name: &str| {
            hidden
                .iter()
                .any(|own| components(own).eq(components(name)))
        };
        directories.retain(|(_, name)| !is_hidden(name));
        directories
    }
}

/// The directory given to this component that holds `path`, and the rest of the path in it. Of several, the
/// one with the longest name.
pub(crate) fn holder(path: &str) -> Option<(Descriptor, String)> {
    let mut directories = wasip2::filesystem::preopens::get_directories();
    let names: Vec<String> = directories.iter().map(|(_, name)| name.clone()).collect();
    let (index, rest) = index_of_holder(&names, path)?;
    let (directory, _) = directories.swap_remove(index);
    Some((directory, rest))
}

fn index_of_holder(names: &[String], path: &str) -> Option<(usize, String)> {
    let path: Vec<&str> = components(path).collect();
    let leads = names.iter().enumerate().filter_map(|(index, name)| {
        let name: Vec<&str> = components(name).collect();
        let rest = path.strip_prefix(name.as_slice())?;
        Some((name.len(), index, rest.join("/")))
    });
    let found = leads.max_by_key(|(length, ..)| *length);
    found.map(|(_, index, rest)| (index, rest))
}

/// Without what makes no difference.
fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}
