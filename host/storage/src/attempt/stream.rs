//! Saves and reads contents larger than memory, piece by piece.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::attempt::Attempt;
use crate::attempt::log_writer::Draft;
use crate::attempt::saved::Saved;
use crate::blocking;
use crate::checkpoint::{Checkpoint, CheckpointInfo};
use crate::contents::chunks::{self, Chunks, StreamWriter};
use crate::contents::lease::{Lease, Purpose};
use crate::contents::read;
use crate::contents::stage::{Stage, Storing};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Metadata;
use crate::tree::Tree;

impl Attempt {
    /// Starts to replace the checkpoint with one unnamed file whose contents are written piece by
    /// piece.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn write_stream(self: &Arc<Self>, metadata: Metadata) -> Result<SaveStream> {
        self.admit(&metadata)?.used();
        let stage = self.stage().await?;
        Ok(SaveStream::begin(self.clone(), stage, metadata))
    }

    /// Like [`read`](Self::read), but returns a stream, for contents larger than memory. If damage
    /// is found after the stream has returned some contents, it cannot fall back: the stream ends
    /// with the error, and the next call returns an older checkpoint.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub async fn read_stream(self: &Arc<Self>) -> Result<Option<ReadStream>> {
        let Some((checkpoint, description, lease)) = self.newest(Purpose::Read).await? else {
            return Ok(None);
        };
        checkpoint.check_single()?;
        let contents = read::pieces(&checkpoint.location, description);
        let attempt = self.clone();
        Ok(Some(ReadStream::begin(
            attempt, checkpoint, lease, contents,
        )))
    }
}

/// A streamed save. Nothing is visible until it is [committed](Self::commit); dropping it before
/// that saves nothing.
///
/// The attempt can be used meanwhile, including for other saves. The data of checkpoints that were
/// retained when the stream began is not deleted before the stream is committed or dropped.
pub struct SaveStream {
    attempt: Arc<Attempt>,
    writer: StreamWriter,
    storing: BoxFuture<'static, Result<Storing>>,
    metadata: Metadata,
    /// A piece is in flight, or was lost.
    broken: bool,
}

impl SaveStream {
    pub(crate) fn begin(attempt: Arc<Attempt>, stage: Stage, metadata: Metadata) -> Self {
        let (writer, mut chunks) = chunks::stream(stage.location.environment());
        let storing = async move { stage.store(Chunks::stream(&mut chunks)).await };
        Self {
            attempt,
            writer,
            storing: blocking::start(storing).boxed(),
            metadata,
            broken: false,
        }
    }

    /// Writes the next piece of the contents. Waits while the storage is slower than the writer.
    ///
    /// # Errors
    /// Those of [`Attempt::write`]. After an error the stream is unusable.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        // If this future is dropped while it waits, the contents would lack the piece.
        if std::mem::replace(&mut self.broken, true) {
            return Err(over());
        }
        let written = match select(self.writer.write(piece).boxed(), &mut self.storing).await {
            Either::Left((Ok(()), _)) => {
                self.broken = false;
                return Ok(());
            }
            Either::Left((Err(()), storing)) => storing.await,
            Either::Right((stored, _)) => stored,
        };
        // Storing ends before the stream only if it fails.
        self.storing = async { Err(over()) }.boxed();
        let error = written.err().unwrap_or_else(over);
        Err(not_stored(&self.attempt, error).await)
    }

    /// Replaces the checkpoint with one unnamed file that holds the written contents.
    ///
    /// # Errors
    /// Those of [`Attempt::write`].
    pub async fn commit(self) -> Result<Saved> {
        if self.broken {
            return Err(over());
        }
        let ended = select(self.writer.end().boxed(), self.storing).await;
        let stored = match ended {
            Either::Left((_, storing)) => storing.await,
            Either::Right((stored, _)) => stored,
        };
        let saved_at = self.attempt.now();
        let stored = async {
            let storing = stored?;
            let tree = Tree::single_file(storing.size_bytes(), saved_at);
            storing.describe(tree).await
        };
        let stored = match stored.await {
            Ok(stored) => stored,
            Err(error) => return Err(not_stored(&self.attempt, error).await),
        };
        let draft = Draft {
            saved_at,
            metadata: self.metadata,
        };
        let saved = self.attempt.commit(draft, stored).await;
        if let Err(error) = &saved {
            self.attempt.make_room_after(error).await;
        }
        saved
    }
}

impl fmt::Debug for SaveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveStream").finish_non_exhaustive()
    }
}

/// Returns why a stream was not stored. Only its writer can store it again.
async fn not_stored(attempt: &Attempt, error: Error) -> Error {
    attempt.make_room_after(&error).await;
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    match attempt.mark_corrupt(error).await {
        Ok(()) => Error::reused_corrupt(),
        Err(error) => error,
    }
}

fn over() -> Error {
    Error::new(ErrorKind::Other, "the stream has already failed")
}

/// The contents of a checkpoint's only file, piece by piece. Each piece is verified before it is
/// returned. The contents are not deleted while the stream exists.
pub struct ReadStream {
    attempt: Arc<Attempt>,
    checkpoint: Checkpoint,
    _lease: Lease,
    contents: BoxStream<'static, Result<Bytes>>,
    failed: bool,
    fell_back: bool,
}

impl ReadStream {
    fn begin(
        attempt: Arc<Attempt>,
        checkpoint: Checkpoint,
        lease: Lease,
        contents: BoxStream<'static, Result<Bytes>>,
    ) -> Self {
        Self {
            attempt,
            contents,
            checkpoint,
            _lease: lease,
            failed: false,
            fell_back: false,
        }
    }

    /// Returns the checkpoint's metadata.
    pub fn info(&self) -> CheckpointInfo {
        self.checkpoint.info()
    }

    /// Returns whether the checkpoint was found damaged and comes from an earlier attempt, so that
    /// another read returns an older one. A damaged save of this attempt is reported instead; reads
    /// never silently fall back from it.
    pub fn fell_back(&self) -> bool {
        self.fell_back
    }

    /// Returns the next piece, which is not empty and at most a few MiB; `None` at the end.
    ///
    /// # Errors
    /// Those of [`Attempt::read`]. After an error the stream returns no more pieces.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.failed {
            return Err(over());
        }
        let error = match self.contents.next().await {
            None => return Ok(None),
            Some(Ok(piece)) => return Ok(Some(piece)),
            Some(Err(error)) => error,
        };
        self.failed = true;
        let message = error.to_string();
        // Runs in the background: other calls of the attempt wait for it, and a caller that reads
        // without blocking, such as a guest, may never poll this read again.
        let (attempt, checkpoint) = (self.attempt.clone(), self.checkpoint.clone());
        blocking::start(async move { attempt.fall_back(&checkpoint, error).await }).await?;
        self.fell_back = true;
        Err(Error::corrupt(format!(
            "checkpoint {}: {message}; read again to get an older one",
            self.checkpoint.sequence
        )))
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream").finish_non_exhaustive()
    }
}
