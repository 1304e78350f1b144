//! Typed state: any type that serde knows, as CBOR.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, Saved};

/// Saves `state` as CBOR (RFC 8949). CBOR includes the names of fields, so you can add a field with a default
/// later.
///
/// # Errors
///
/// [`Error::Other`] if the type cannot be serialized. Otherwise as [`write()`](crate::write()).
///
/// ```no_run
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct State {
///     step: u64,
///     weights: Vec<f32>,
/// }
///
/// let mut state: State = task_checkpoint::load()?.unwrap_or_default();
/// while state.step < 1_000 {
///     state.step += 1; // a piece of work
///     task_checkpoint::store(&state)?;
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn store<T: Serialize>(state: &T) -> Result<Saved> {
    let bytes = minicbor_serde::to_vec(state)
        .map_err(|e| Error::Other(format!("cannot encode the state as CBOR: {e}")))?;
    crate::write(bytes)
}

/// Returns the state that [`store`] saved last, in this attempt or an earlier one. `None` if there is none.
///
/// # Errors
///
/// [`Error::SchemaMismatch`] if the checkpoint does not contain a `T`. Otherwise as
/// [`read`](crate::read).
///
/// ```no_run
/// let step: u64 = task_checkpoint::load()?.unwrap_or(0);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn load<T: DeserializeOwned>() -> Result<Option<T>> {
    let Some(bytes) = crate::read()? else {
        return Ok(None);
    };
    let state = minicbor_serde::from_slice(&bytes);
    state.map(Some).map_err(|e| {
        let what = format!("the checkpoint does not contain this type: {e}");
        Error::SchemaMismatch(what)
    })
}
