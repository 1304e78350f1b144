//! Streaming saves and reads, in constant memory.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use checkpoint_storage::{Error, ErrorKind, Result, Saved};

use crate::error::{GuestError, Misuse};
use crate::session::{Annotations, Answer, Given, Session};
use crate::slot::{Held, Slot};

impl Session {
    /// Begins a save whose contents the guest writes in pieces. Only one may be open at a time.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] while another one is open. Those of [`write`](Self::write).
    pub async fn begin_stream(&self, annotations: Annotations) -> Answer<SaveStream> {
        let begun = match take(&self.shared.writing) {
            Ok(held) => match self.metadata(annotations) {
                Ok(metadata) => {
                    let stream = self.attempt().write_stream(metadata).await;
                    stream.map(|stream| (stream, held))
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let (stream, held) = self.answer(begun)?;
        Ok(SaveStream {
            session: self.clone(),
            stream: Ok(stream),
            written_bytes: 0,
            _held: held,
        })
    }

    /// Returns the contents that [`read`](Self::read) would return, as a stream. Only one may be open at
    /// a time. `None` if there is no checkpoint.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`] while another one is open. Those of [`read`](Self::read).
    pub async fn read_stream(&self) -> Answer<Option<ReadStream>> {
        let begun = match self.settle().await {
            Ok(()) => self.begin_reading().await,
            Err(error) => Err(error),
        };
        let reading = self.answer(begun)?;
        Ok(reading.map(|(stream, held)| ReadStream {
            session: self.clone(),
            checkpoint: self.given(stream.info()),
            stream: Some(stream),
            fell_back: false,
            _held: held,
        }))
    }

    async fn begin_reading(&self) -> Result<Option<(checkpoint_storage::ReadStream, Held)>> {
        let held = take(&self.shared.reading)?;
        let stream = self.attempt().read_stream().await?;
        Ok(stream.map(|stream| (stream, held)))
    }
}

fn take(slot: &Slot) -> Result<Held> {
    slot.take().ok_or_else(|| {
        let what = "another stream of this kind is open; close it first";
        Error::new(ErrorKind::QuotaExceeded, what)
    })
}

/// A save whose contents the guest is writing. Nothing is visible until it is
/// [committed](Self::commit); dropping it saves nothing.
pub struct SaveStream {
    session: Session,
    /// The stream, or the error that ended it.
    stream: Result<checkpoint_storage::SaveStream>,
    written_bytes: u64,
    _held: Held,
}

impl SaveStream {
    /// Writes the next piece, waiting while the storage is slower than the guest.
    /// [`commit`](Self::commit) reports a failure; [`has_failed`](Self::has_failed) detects it earlier.
    pub async fn write(&mut self, piece: Bytes) {
        let Ok(stream) = &mut self.stream else {
            return;
        };
        self.written_bytes = self.written_bytes.saturating_add(piece.len() as u64);
        if let Err(error) = self.session.until_end(stream.write(piece)).await {
            self.stream = Err(error);
        }
    }

    /// Returns whether a write has failed. The stream ignores further pieces then.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.stream.is_err()
    }

    /// Replaces the checkpoint with one unnamed file with the written contents. `size` is the number of
    /// bytes that the guest says it wrote.
    ///
    /// # Errors
    /// The first failure of the stream. [`GuestError::Other`] if a different number of bytes arrived.
    /// Those of [`Session::write`].
    pub async fn commit(self, size: u64) -> Answer<Saved> {
        let began = self.session.now();
        self.commit_since(began, size).await
    }

    /// [Writes](Self::write) pieces until one is empty, then [commits](Self::commit).
    ///
    /// # Errors
    /// Those of `next_piece` and [`commit`](Self::commit).
    pub async fn commit_all(
        mut self,
        size: u64,
        mut next_piece: impl FnMut() -> Result<Bytes>,
    ) -> Answer<Saved> {
        let began = self.session.now();
        while self.stream.is_ok() {
            match next_piece() {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => self.write(piece).await,
                Err(error) => self.stream = Err(error),
            }
        }
        self.commit_since(began, size).await
    }

    async fn commit_since(self, began: Instant, size: u64) -> Answer<Saved> {
        let arrived = self.written_bytes;
        // A failed stream explains a wrong size, so its error takes precedence.
        if self.stream.is_ok() && arrived != size {
            return Err(self.session.misuse(Misuse::Lost { size, arrived }));
        }
        let saving = self.session.until_end(async {
            let stream = self.stream?;
            self.session.supersede().await?;
            stream.commit().await
        });
        self.session.saved(began, saving.await)
    }
}

impl fmt::Debug for SaveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveStream").finish_non_exhaustive()
    }
}

/// A checkpoint that the guest is reading.
pub struct ReadStream {
    session: Session,
    checkpoint: Given,
    /// `None` once it has ended or failed.
    stream: Option<checkpoint_storage::ReadStream>,
    fell_back: bool,
    _held: Held,
}

impl ReadStream {
    /// Returns the checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Given {
        &self.checkpoint
    }

    /// Returns whether the checkpoint proved to be damaged and reading again returns an older one.
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.fell_back
    }

    /// Returns the next piece, at most a few MiB and not empty. `None` at the end and after an error.
    ///
    /// # Errors
    /// [`GuestError::Corrupt`] if the checkpoint proved to be damaged. Those of
    /// [`Attempt::read`](checkpoint_storage::Attempt::read).
    pub async fn next(&mut self) -> Answer<Option<Bytes>> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(None);
        };
        let error = match self.session.until_end(stream.next()).await {
            Ok(None) => return Ok(None),
            Ok(piece) => {
                self.stream = Some(stream);
                return Ok(piece);
            }
            Err(error) => error,
        };
        self.fell_back = stream.fell_back();
        Err(match self.session.tell(error) {
            GuestError::Corrupt(_) => {
                let what = "the checkpoint is damaged; read again to get an older one";
                GuestError::Corrupt(what.into())
            }
            told => told,
        })
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream").finish_non_exhaustive()
    }
}
