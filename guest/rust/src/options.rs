//! Annotations of checkpoints.

use std::path::Path;

use crate::bindings::task::checkpoint::{checkpointer, files};
use crate::files::locate;
use crate::{Result, SaveStream, Saved};

/// A save with annotations, for people and tools.
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
    annotations: Vec<(String, String)>,
}

impl SaveOptions {
    /// Creates options without annotations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an annotation. If a key occurs twice, the last value counts.
    #[must_use]
    pub fn annotate(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.annotations.push((key.into(), value.to_string()));
        self
    }

    /// See [`write()`](crate::write()).
    ///
    /// # Errors
    ///
    /// Those of [`write()`](crate::write()).
    pub fn write(self, contents: impl AsRef<[u8]>) -> Result<Saved> {
        Ok(checkpointer::write(contents.as_ref(), &self.annotations)?)
    }

    /// See [`write_in_background`](crate::write_in_background).
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

    /// See [`save`](crate::save).
    ///
    /// # Errors
    ///
    /// Those of [`save`](crate::save).
    pub fn save(self, path: impl AsRef<Path>) -> Result<Saved> {
        let (dir, path) = locate(path.as_ref())?;
        Ok(files::save(&dir, &path, &self.annotations)?)
    }

    /// See [`save_in_background`](crate::save_in_background).
    ///
    /// # Errors
    ///
    /// Those of [`save_in_background`](crate::save_in_background).
    pub fn save_in_background(self, path: impl AsRef<Path>) -> Result<()> {
        let (dir, path) = locate(path.as_ref())?;
        Ok(files::save_in_background(&dir, &path, &self.annotations)?)
    }

    /// See [`SaveStream`].
    ///
    /// # Errors
    ///
    /// Those of [`SaveStream::begin`].
    pub fn stream(self) -> Result<SaveStream> {
        SaveStream::begin_with(&self.annotations)
    }
}
