//! Hides the same from a task that asks through WASI 0.3.

use super::bindings::exports::wasi::cli::environment;
use super::bindings::exports::wasi::filesystem::preopens;
use super::bindings::wasi::filesystem::preopens::get_directories;
use super::bindings::wasi::filesystem::types::Descriptor;
use crate::Component;
use crate::bindings::exports::wasi::cli::environment::Guest;
use crate::isolation::visible;

impl environment::Guest for Component {
    fn get_environment() -> Vec<(String, String)> {
        <Self as Guest>::get_environment()
    }

    fn get_arguments() -> Vec<String> {
        <Self as Guest>::get_arguments()
    }

    fn get_initial_cwd() -> Option<String> {
        <Self as Guest>::initial_cwd()
    }
}

impl preopens::Guest for Component {
    fn get_directories() -> Vec<(Descriptor, String)> {
        visible(get_directories())
    }
}
