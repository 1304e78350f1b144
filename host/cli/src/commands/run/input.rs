//! The task's stdin. Each attempt reads it from the start: an attempt must not succeed with only what an earlier one
//! left unread.

mod spool;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use spool::Spool;

/// The maximum size of one read.
const PIECE_BYTES: usize = 64 << 10;

/// The stdin of all attempts of a run.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// There is only one attempt, so it uses the process's stdin directly.
    Inherited,
    Replayed(Arc<Source>),
}

/// A source that every attempt can read from the start.
#[derive(Debug)]
pub(super) enum Source {
    /// A regular file, and its position when the run began.
    File { file: File, start: u64 },
    /// A pipe or a terminal, and a copy of what was read from it.
    Spool(Spool),
}

impl Input {
    /// # Errors
    /// If stdin cannot be opened.
    pub(super) fn open(retries: u32) -> io::Result<Self> {
        if retries == 0 {
            return Ok(Self::Inherited);
        }
        let mut file = stdin()?;
        let start = match file.metadata()?.is_file() {
            true => file.stream_position().ok(),
            false => None,
        };
        Ok(Self::Replayed(Arc::new(match start {
            Some(start) => Source::File { file, start },
            None => Source::Spool(Spool::new(file)?),
        })))
    }

    /// Gives stdin to an attempt, from its start.
    pub(super) fn give(&self, wasi: &mut WasiCtxBuilder) {
        match self {
            Self::Inherited => wasi.inherit_stdin(),
            Self::Replayed(source) => wasi.stdin(Replay::new(source.clone())),
        };
    }

    /// Returns why another attempt could not read the same input; `None` if it could.
    pub(super) fn lost(&self) -> Option<String> {
        match self {
            Self::Replayed(source) => match &**source {
                Source::Spool(spool) => spool.lost(),
                Source::File { .. } => None,
            },
            Self::Inherited => None,
        }
    }
}

#[cfg(unix)]
fn stdin() -> io::Result<File> {
    use std::os::fd::AsFd;

    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn stdin() -> io::Result<File> {
    use std::os::windows::io::AsHandle;

    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}

/// The result of one read.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Bytes),
    End,
    /// There is no input yet.
    Pending,
}

/// The stdin of one attempt. All streams that the task opens share one position.
#[derive(Clone, Debug)]
struct Replay {
    source: Arc<Source>,
    position: Arc<Mutex<u64>>,
}

impl Replay {
    fn new(source: Arc<Source>) -> Self {
        let start = match &*source {
            Source::File { start, .. } => *start,
            Source::Spool(_) => 0,
        };
        Self {
            source,
            position: Arc::new(Mutex::new(start)),
        }
    }

    fn next(&self, most: usize) -> io::Result<Piece> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(PIECE_BYTES);
        let piece = match &*self.source {
            Source::File { file, .. } => match read_at(file, *position, most)? {
                bytes if bytes.is_empty() && most > 0 => Piece::End,
                bytes => Piece::Bytes(bytes),
            },
            Source::Spool(spool) => spool.read(*position, most)?,
        };
        if let Piece::Bytes(bytes) = &piece {
            *position += bytes.len() as u64;
            if let Source::File { file, .. } = &*self.source {
                // Move the shared position, as an inherited stdin would: the next process that reads from this file
                // continues after what the task has read.
                let _ = (&*file).seek(SeekFrom::Start(*position));
            }
        }
        Ok(piece)
    }

    async fn wait(&self) {
        if let Source::Spool(spool) = &*self.source {
            let position = *self.position.lock().unwrap_or_else(PoisonError::into_inner);
            spool.wait(position).await;
        }
    }
}

impl IsTerminal for Replay {
    fn is_terminal(&self) -> bool {
        IsTerminal::is_terminal(&io::stdin())
    }
}

impl StdinStream for Replay {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(AsyncReplay {
            replay: self.clone(),
            waiting: None,
        })
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Replay {
    async fn ready(&mut self) {
        self.wait().await;
    }
}

impl InputStream for Replay {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.next(size) {
            Ok(Piece::Bytes(bytes)) => Ok(bytes),
            Ok(Piece::Pending) => Ok(Bytes::new()),
            Ok(Piece::End) => Err(StreamError::Closed),
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

/// The same for interfaces that need tokio's `AsyncRead`.
struct AsyncReplay {
    replay: Replay,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncRead for AsyncReplay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.replay.next(buffer.remaining())? {
                Piece::Bytes(bytes) => {
                    buffer.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Piece::End => return Poll::Ready(Ok(())),
                Piece::Pending => {}
            }
            let replay = self.replay.clone();
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(async move { replay.wait().await }));
            std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
    }
}

/// Reads at a position, so that other readers of the file do not interfere: an abandoned attempt may still read.
fn read_at(file: &File, position: u64, most: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; most];
    let read = loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, &mut piece, position);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, &mut piece, position);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    piece.truncate(read);
    Ok(piece.into())
}
