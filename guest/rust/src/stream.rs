//! Saves and reads contents that are larger than the task's memory.

use std::fmt;
use std::io::{self, Read, Write};

use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::bindings::task::checkpoint::streams;
use crate::{Checkpoint, Error, Result, Saved};

/// A save whose contents are written piece by piece. Nothing is visible until it is
/// [committed](Self::commit); dropping it before that saves nothing.
///
/// ```no_run
/// use std::io::Write;
///
/// let mut stream = task_checkpoint::SaveStream::begin()?;
/// for piece in 0..1_000_u32 {
///     stream.write_all(&[piece as u8; 1 << 20])?;
/// }
/// stream.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SaveStream {
    // Declared first, because it must be dropped before `save`.
    contents: OutputStream,
    save: streams::SaveStream,
    /// Number of bytes that the host accepts before the next `check_write`.
    permit: usize,
    /// Number of bytes that the host has accepted.
    written_bytes: u64,
}

impl SaveStream {
    /// Begins a save.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] once a newer attempt has begun, [`Error::QuotaExceeded`] if another
    /// stream is open or there were too many saves.
    pub fn begin() -> Result<Self> {
        Self::begin_with(&[])
    }

    pub(crate) fn begin_with(annotations: &[(String, String)]) -> Result<Self> {
        let save = streams::SaveStream::begin(annotations)?;
        Ok(Self {
            contents: save.contents()?,
            save,
            permit: 0,
            written_bytes: 0,
        })
    }

    /// Replaces the checkpoint with what was written. The checkpoint is durable when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// The error of the stream, if writing failed. Otherwise as [`write()`](crate::write()).
    pub fn commit(self) -> Result<Saved> {
        // If the flush fails, data has not arrived, so the commit fails with the reason.
        let _ = self.contents.blocking_flush();
        drop(self.contents);
        let saved = streams::SaveStream::commit(self.save, self.written_bytes);
        Ok(saved?)
    }
}

impl Write for SaveStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        while self.permit == 0 {
            let permit = self.contents.check_write().map_err(io_error)?;
            // On a 32-bit guest, no slice is longer than `usize::MAX`.
            self.permit = usize::try_from(permit).unwrap_or(usize::MAX);
            if self.permit == 0 {
                self.contents.subscribe().block();
            }
        }
        let taken = bytes.len().min(self.permit);
        self.contents.write(&bytes[..taken]).map_err(io_error)?;
        self.written_bytes += taken as u64;
        // The host may accept less now, so the next write checks again.
        self.permit = 0;
        Ok(taken)
    }

    /// Does nothing, because contents become durable only when they are committed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SaveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveStream").finish_non_exhaustive()
    }
}

/// Saves everything that a reader returns until its end, in constant memory.
///
/// # Errors
///
/// [`Error::Other`] if the reader fails; nothing is saved then. Otherwise as
/// [`write()`](crate::write()).
///
/// ```no_run
/// let input = std::fs::File::open("/data/journal")?;
/// task_checkpoint::save_reader(input)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_reader(mut reader: impl Read) -> Result<Saved> {
    let mut stream = SaveStream::begin()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return stream.commit(),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::Other(format!(
                    "cannot read the contents to save: {error}"
                )));
            }
        };
        if stream.write_all(&buffer[..read]).is_err() {
            // The commit fails with the reason.
            return stream.commit();
        }
    }
}

/// Size of the buffer between the reader and the stream.
const BUFFER_BYTES: usize = 256 << 10;

/// The contents of a checkpoint, read piece by piece. They are not deleted while they are being read.
///
/// Reading fails if damage is found; another [`read_stream`] then returns an older checkpoint.
pub struct ReadStream {
    contents: InputStream,
    size_bytes: u64,
    checkpoint: Checkpoint,
}

/// Returns what [`read`](crate::read) would return as a stream, for contents that are larger than memory.
///
/// # Errors
///
/// Those of [`read`](crate::read), and [`Error::QuotaExceeded`] if the host permits no other open stream.
///
/// ```no_run
/// use std::io::Read;
///
/// if let Some(mut contents) = task_checkpoint::read_stream()? {
///     let mut header = [0; 16];
///     contents.read_exact(&mut header)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_stream() -> Result<Option<ReadStream>> {
    let reading = streams::read()?;
    Ok(reading.map(|reading| ReadStream {
        contents: reading.contents,
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
}

impl Read for ReadStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        match self.contents.blocking_read(into.len() as u64) {
            Ok(bytes) => {
                // The host returns no more bytes than requested.
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(error) => Err(io_error(error)),
        }
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

fn io_error(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the save has failed; commit it to get the reason",
        ),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}
