//! Typed state: any serde type, as CBOR.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, Saved};

/// Saves `state` as CBOR (RFC 8949). The CBOR contains the field names, so a field with a default can be
/// added later.
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
    crate::write(to_cbor(state)?)
}

/// Like [`store`], but in the background: returns once the state is serialized. See
/// [`write_in_background`](crate::write_in_background).
///
/// # Errors
///
/// [`Error::Other`] if the type cannot be serialized. Otherwise as
/// [`write_in_background`](crate::write_in_background).
///
/// ```no_run
/// let mut weights = vec![0.0_f32; 1024];
/// task_checkpoint::store_in_background(&weights)?;
/// weights.fill(1.0); // not in this checkpoint
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn store_in_background<T: Serialize>(state: &T) -> Result<()> {
    crate::write_in_background(to_cbor(state)?)
}

pub(crate) fn to_cbor<T: Serialize>(state: &T) -> Result<Vec<u8>> {
    let bytes = minicbor_serde::to_vec(state);
    bytes.map_err(|e| Error::Other(format!("cannot serialize the state as CBOR: {e}")))
}

/// Returns the state that [`store`] saved last, in this attempt or an earlier one, or `None` if there is none.
///
/// # Errors
///
/// [`Error::SchemaMismatch`] if the checkpoint does not hold a `T`. Otherwise as
/// [`read`](crate::read).
///
/// ```no_run
/// let step: u64 = task_checkpoint::load()?.unwrap_or(0);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn load<T: DeserializeOwned>() -> Result<Option<T>> {
    crate::read()?.map(|bytes| from_cbor(&bytes)).transpose()
}

pub(crate) fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    minicbor_serde::from_slice(bytes).map_err(|e| {
        let what = format!("the checkpoint does not hold the expected type: {e}");
        Error::SchemaMismatch(what)
    })
}
