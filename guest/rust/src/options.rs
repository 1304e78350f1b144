//! Options of a save.

use std::path::Path;

use crate::bindings::task::checkpoint::{checkpointer, paths};
use crate::files::text;
use crate::{Result, SaveStream, Saved};

/// A save with annotations for people and tools.
///
/// ```no_run
/// use task_checkpoint::SaveOptions;
///
/// # let (step, loss, state) = (7, 0.1, [0]);
/// SaveOptions::new()
///     .annotate("step", step)
///     .annotate("loss", loss)
///     .write(state)?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    pub(crate) annotations: Vec<(String, String)>,
}

impl SaveOptions {
    /// Creates options without annotations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an annotation. If a key is repeated, the last value counts.
    #[must_use]
    pub fn annotate(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.annotations.push((key.into(), value.to_string()));
        self
    }

    /// Saves bytes. See [`write()`](crate::write()).
    ///
    /// # Errors
    ///
    /// Those of [`write()`](crate::write()).
    pub fn write(self, contents: impl AsRef<[u8]>) -> Result<Saved> {
        Ok(checkpointer::write(contents.as_ref(), &self.annotations)?)
    }

    /// Saves bytes in the background. See [`write_in_background`](crate::write_in_background).
    ///
    /// # Errors
    ///
    /// Those of [`write_in_background`](crate::write_in_background).
    pub fn write_in_background(self, contents: impl AsRef<[u8]>) -> Result<()> {
        let contents = contents.as_ref();
        Ok(checkpointer::write_in_background(
            contents,
            &self.annotations,
        )?)
    }

    /// Saves a file or directory. See [`save`](crate::save).
    ///
    /// # Errors
    ///
    /// Those of [`save`](crate::save).
    pub fn save(self, path: impl AsRef<Path>) -> Result<Saved> {
        Ok(paths::save(text(path.as_ref())?, &self.annotations)?)
    }

    /// Saves a file or directory in the background. See [`save_in_background`](crate::save_in_background).
    ///
    /// # Errors
    ///
    /// Those of [`save_in_background`](crate::save_in_background).
    pub fn save_in_background(self, path: impl AsRef<Path>) -> Result<()> {
        let path = text(path.as_ref())?;
        Ok(paths::save_in_background(path, &self.annotations)?)
    }

    /// Begins a save whose contents are streamed. See [`SaveStream`].
    ///
    /// # Errors
    ///
    /// Those of [`SaveStream::begin`].
    pub fn stream(self) -> Result<SaveStream> {
        SaveStream::begin_with(&self.annotations)
    }

    /// Saves a value of any serde type. See [`store`](crate::store).
    ///
    /// # Errors
    ///
    /// Those of [`store`](crate::store).
    #[cfg(feature = "serde")]
    pub fn store<T: serde::Serialize>(self, state: &T) -> Result<Saved> {
        self.write(crate::typed::to_cbor(state)?)
    }

    /// Saves a value of any serde type in the background. See
    /// [`store_in_background`](crate::store_in_background).
    ///
    /// # Errors
    ///
    /// Those of [`store_in_background`](crate::store_in_background).
    #[cfg(feature = "serde")]
    pub fn store_in_background<T: serde::Serialize>(self, state: &T) -> Result<()> {
        self.write_in_background(crate::typed::to_cbor(state)?)
    }
}
