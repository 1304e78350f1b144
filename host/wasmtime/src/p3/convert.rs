//! Conversions between the types of the session and those of the bindings.

use checkpoint_session::Answer;

use super::bindings::task::checkpoint::types;

/// The result of a call of the import: a trap, or the answer to the guest.
pub(crate) type Returned<T> = wasmtime::Result<Result<T, types::Error>>;

/// Converts the session's answer to the answer to the guest.
pub(crate) fn returned<T>(answer: Answer<impl Into<T>>) -> Returned<T> {
    Ok(answer.map(Into::into).map_err(Into::into))
}

checkpoint_session::wit_conversions!(crate::p3::bindings::task::checkpoint);
