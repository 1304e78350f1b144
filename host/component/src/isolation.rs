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
        let own = settings::directories();
        let mut directories = wasip2::filesystem::preopens::get_directories();
        let names: Vec<String> = directories.iter().map(|(_, name)| name.clone()).collect();
        let hidden: Vec<Option<usize>> = own.iter().map(|dir| holder(&names, dir)).collect();
        let mut index = 0;
        directories.retain(|_| {
            let keep = !hidden.contains(&Some(index));
            index += 1;
            keep
        });
        directories
    }
}

/// The directory that was given to hold `path`: that of the longest name which leads to it.
pub(crate) fn holder(names: &[String], path: &str) -> Option<usize> {
    let path = plain(path);
    let leads = |name: &str| {
        let name = plain(name);
        path == name
            || name.is_empty()
            || path
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let found = names.iter().enumerate().filter(|(_, name)| leads(name));
    found
        .max_by_key(|(_, name)| plain(name).len())
        .map(|(index, _)| index)
}

/// Without what makes no difference.
fn plain(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    if path == "." { "" } else { path }
}
