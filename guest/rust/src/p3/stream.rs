//! Saves and reads contents that are larger than the task's memory.

use std::fmt;

use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};

use super::Saving;
use super::bindings::task::checkpoint::{streams, types};
use super::bindings::{wit_future, wit_stream};
use crate::{Checkpoint, Error, Result, SaveOptions, Saved};

/// The size of the pieces that are read.
const PIECE_BYTES: usize = 256 << 10;

/// A save whose contents are written piece by piece. Nothing is visible until it is
/// [committed](Self::commit); dropping it before that saves nothing.
///
/// ```no_run
/// # async fn run() -> task_checkpoint::Result<()> {
/// let mut stream = task_checkpoint::p3::SaveStream::begin();
/// for piece in 0..1_000_u32 {
///     stream.write(vec![piece as u8; 1 << 20]).await?;
/// }
/// stream.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct SaveStream {
    contents: StreamWriter<u8>,
    size: FutureWriter<Option<u64>>,
    saving: Saving,
    /// The error of the save, once a write has failed.
    failed: Option<Error>,
    written_bytes: u64,
}

impl SaveStream {
    /// Begins a save.
    pub fn begin() -> Self {
        Self::begin_with(SaveOptions::new())
    }

    /// Begins a save with annotations.
    pub fn begin_with(options: SaveOptions) -> Self {
        let (contents, received) = wit_stream::new();
        // Dropping the writer abandons the save.
        let (size, announced) = wit_future::new(|| None);
        let saving = async move {
            let saved = streams::write(received, announced, options.annotations).await?;
            Ok(saved.into())
        };
        Self {
            contents,
            size,
            saving: Saving::start(saving),
            failed: None,
            written_bytes: 0,
        }
    }

    /// Waits until the host accepts the first piece. Nobody needs to call this, but it tells early if the save
    /// cannot be made.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub async fn ready(&mut self) -> Result<()> {
        let (result, _) = self.contents.write(Vec::new()).await;
        match result {
            StreamResult::Dropped => Err(self.failure().await),
            _ => Ok(()),
        }
    }

    /// Writes the next piece, and waits while the storage is slower than the task.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] once a newer attempt has begun, [`Error::QuotaExceeded`] if another stream is open or a
    /// limit is reached. Other errors of [`write()`](crate::write()).
    pub async fn write(&mut self, piece: Vec<u8>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let size = piece.len() as u64;
        if self.contents.write_all(piece).await.is_empty() {
            self.written_bytes += size;
            return Ok(());
        }
        Err(self.failure().await)
    }

    /// Returns the error of the save, once the host has stopped reading.
    async fn failure(&mut self) -> Error {
        if let Some(error) = &self.failed {
            return error.clone();
        }
        let error = match (&mut self.saving).await {
            Err(error) => error,
            Ok(_) => Error::Other("the host has not read all of the stream".into()),
        };
        self.failed = Some(error.clone());
        error
    }

    /// Replaces the checkpoint with what was written. The checkpoint is durable when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// The error of [`write`](Self::write), if it failed. Otherwise as [`write()`](crate::write()).
    pub async fn commit(self) -> Result<Saved> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        drop(self.contents);
        // If the host does not want the size any more, the result of the save says why.
        let _ = self.size.write(Some(self.written_bytes)).await;
        self.saving.await
    }
}

impl fmt::Debug for SaveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveStream").finish_non_exhaustive()
    }
}

/// The contents of a checkpoint, read piece by piece. They are not deleted while they are being read.
///
/// Reading fails if damage is found; another [`read_stream`] then returns an older checkpoint.
pub struct ReadStream {
    contents: StreamReader<u8>,
    /// `None` at the end.
    outcome: Option<FutureReader<std::result::Result<(), types::Error>>>,
    size_bytes: u64,
    checkpoint: Checkpoint,
}

/// See [`read_stream`](crate::read_stream).
///
/// # Errors
///
/// Those of [`read_stream`](crate::read_stream).
pub async fn read_stream() -> Result<Option<ReadStream>> {
    let reading = streams::read().await?;
    Ok(reading.map(|reading| ReadStream {
        contents: reading.contents,
        outcome: Some(reading.outcome),
        size_bytes: reading.size,
        checkpoint: reading.checkpoint.into(),
    }))
}

impl ReadStream {
    /// Returns the size of the contents.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the checkpoint that is being read.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the next piece, which is not empty, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if damage is found, [`Error::Unavailable`] if the storage cannot be reached.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        while self.outcome.is_some() {
            let (result, piece) = self.contents.read(Vec::with_capacity(PIECE_BYTES)).await;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if matches!(result, StreamResult::Dropped) {
                let outcome = self.outcome.take();
                if let Some(outcome) = outcome {
                    outcome.await?;
                }
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream")
            .field("size_bytes", &self.size_bytes)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}
