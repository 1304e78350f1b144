//! Checkpoints as streams of the guest's, in constant memory on both sides.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use checkpoint_storage::{Error, ErrorKind, ReadStream, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::bindings::task::checkpoint::{streams, types};
use crate::ctx::CheckpointCtxView;
use crate::host::{Answer, metadata, saved};

/// The most that a guest may write to a stream at a time. As much again is on its way.
const PERMIT_BYTES: usize = 1 << 20;

/// A save whose contents the guest is writing: the resource `save-stream`.
#[derive(Debug)]
pub struct SaveStream {
    shared: Arc<Mutex<Shared>>,
    lent: bool,
    /// Of [`CheckpointCtx`](crate::CheckpointCtx).
    _writing: Arc<()>,
}

/// What the guest's stream and the save have in common.
struct Shared {
    stream: State,
    /// Set while the guest holds its output stream.
    open: bool,
    written_bytes: u64,
}

enum State {
    /// Ready for a piece, or to be committed.
    Idle(checkpoint_storage::SaveStream),
    Writing(BoxFuture<'static, (checkpoint_storage::SaveStream, Result<()>)>),
    Failed(Error),
    Over,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_held(token: &Arc<()>) -> bool {
    Arc::strong_count(token) > 1
}

fn one_at_a_time() -> Error {
    let what = "a task writes one stream at a time and reads one; end the one that is open";
    Error::new(ErrorKind::QuotaExceeded, what)
}

impl streams::Host for CheckpointCtxView<'_> {
    async fn read(&mut self) -> Answer<Option<streams::Reading>> {
        let answer = match self.settled().await {
            Ok(()) if is_held(&self.ctx.reading) => Err(one_at_a_time()),
            Ok(()) => self.ctx.attempt.read_stream().await,
            Err(error) => Err(error),
        };
        let reading = match self.answer(answer) {
            Ok(Some(reading)) => reading,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        let info = reading.info();
        let contents: DynInputStream = Box::new(Reading::new(reading, self.ctx.reading.clone()));
        Ok(Ok(Some(streams::Reading {
            contents: self.table.push(contents)?,
            size: info.logical_bytes,
            sequence: info.sequence,
        })))
    }
}

impl streams::HostSaveStream for CheckpointCtxView<'_> {
    async fn begin(&mut self, annotations: types::Annotations) -> Answer<Resource<SaveStream>> {
        let begun = match is_held(&self.ctx.writing) {
            true => Err(one_at_a_time()),
            false => self.ctx.attempt.write_stream(metadata(annotations)).await,
        };
        let stream = match self.answer(begun) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let shared = Shared {
            stream: State::Idle(stream),
            open: false,
            written_bytes: 0,
        };
        let stream = SaveStream {
            shared: Arc::new(Mutex::new(shared)),
            lent: false,
            _writing: self.ctx.writing.clone(),
        };
        Ok(Ok(self.table.push(stream)?))
    }

    async fn contents(&mut self, this: Resource<SaveStream>) -> Answer<Resource<DynOutputStream>> {
        let stream = self.table.get_mut(&this)?;
        if std::mem::replace(&mut stream.lent, true) {
            return Ok(Err(types::Error::Other(
                "the stream of these contents was given out before".into(),
            )));
        }
        lock(&stream.shared).open = true;
        let contents: DynOutputStream = Box::new(Writing(stream.shared.clone()));
        Ok(Ok(self.table.push(contents)?))
    }

    async fn commit(&mut self, this: Resource<SaveStream>, size: u64) -> Answer<types::Saved> {
        let began = Instant::now();
        let stream = self.table.delete(this)?;
        let (state, written_bytes) = {
            let mut shared = lock(&stream.shared);
            // Whatever the guest still writes goes nowhere.
            let state = std::mem::replace(&mut shared.stream, State::Over);
            if shared.open {
                let what = "the output stream is to be dropped before the commit";
                return Ok(Err(types::Error::Other(what.into())));
            }
            (state, shared.written_bytes)
        };
        let stream = match state {
            State::Idle(stream) => Ok(stream),
            State::Writing(writing) => match writing.await {
                (stream, Ok(())) => Ok(stream),
                (_, Err(error)) => Err(error),
            },
            State::Failed(error) => Err(error),
            State::Over => Err(Error::new(ErrorKind::Other, "the stream is over")),
        };
        // Whatever it has failed of is said first.
        if stream.is_ok() && written_bytes != size {
            let what = format!("{size} bytes were written, and {written_bytes} have arrived");
            return Ok(Err(types::Error::Other(what)));
        }
        let answer = match (stream, self.superseded().await) {
            (Ok(stream), Ok(())) => stream.commit().await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Ok(self.saved(began, answer).map(saved))
    }

    async fn drop(&mut self, this: Resource<SaveStream>) -> wasmtime::Result<()> {
        let stream = self.table.delete(this)?;
        // What the guest still writes goes nowhere.
        lock(&stream.shared).stream = State::Over;
        Ok(())
    }
}

/// The guest's end of a save.
struct Writing(Arc<Mutex<Shared>>);

impl Drop for Writing {
    fn drop(&mut self) {
        lock(&self.0).open = false;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut shared = lock(&self.0);
            let State::Writing(writing) = &mut shared.stream else {
                return std::task::Poll::Ready(());
            };
            writing.poll_unpin(cx).map(|(stream, written)| {
                shared.stream = match written {
                    Ok(()) => State::Idle(stream),
                    Err(error) => State::Failed(error),
                };
            })
        })
        .await;
    }
}

impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT_BYTES {
            return Err(StreamError::trap("more is written than was permitted"));
        }
        let mut shared = lock(&self.0);
        match std::mem::replace(&mut shared.stream, State::Over) {
            State::Idle(mut stream) => {
                shared.written_bytes += bytes.len() as u64;
                let writing = async move {
                    let written = stream.write(bytes).await;
                    (stream, written)
                };
                shared.stream = State::Writing(writing.boxed());
                Ok(())
            }
            State::Writing(_) => Err(StreamError::trap("more is written than was permitted")),
            state @ (State::Failed(_) | State::Over) => {
                shared.stream = state;
                Err(StreamError::Closed)
            }
        }
    }

    /// What is written is durable when it is committed, and not before.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match lock(&self.0).stream {
            State::Idle(_) => Ok(PERMIT_BYTES),
            State::Writing(_) => Ok(0),
            State::Failed(_) | State::Over => Err(StreamError::Closed),
        }
    }
}

/// A checkpoint that the guest is reading.
struct Reading {
    state: Progress,
    piece: Bytes,
    /// Of [`CheckpointCtx`](crate::CheckpointCtx).
    _reading: Arc<()>,
}

enum Progress {
    Fetching(BoxFuture<'static, (ReadStream, Result<Option<Bytes>>)>),
    Failed(String),
    Ended,
}

impl Reading {
    fn new(stream: ReadStream, reading: Arc<()>) -> Self {
        Self {
            _reading: reading,
            state: Progress::Fetching(fetch(stream)),
            piece: Bytes::new(),
        }
    }
}

fn fetch(mut stream: ReadStream) -> BoxFuture<'static, (ReadStream, Result<Option<Bytes>>)> {
    let fetching = async move {
        let piece = stream.next().await;
        (stream, piece)
    };
    fetching.boxed()
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        let Progress::Fetching(fetching) = &mut self.state else {
            return;
        };
        if !self.piece.is_empty() {
            return;
        }
        let (stream, piece) = fetching.await;
        self.state = match piece {
            Ok(Some(piece)) => {
                self.piece = piece;
                Progress::Fetching(fetch(stream))
            }
            Ok(None) => Progress::Ended,
            // The text names no more than the guest's own checkpoint.
            Err(error) => Progress::Failed(
                match error.kind() {
                    ErrorKind::Corrupt => {
                        "the checkpoint is damaged; reading anew gives an older one"
                    }
                    ErrorKind::Fenced => "a newer attempt of this task has begun",
                    _ => "the storage does not answer as it should",
                }
                .into(),
            ),
        };
    }
}

impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.piece.is_empty() {
            let taken = size.min(self.piece.len());
            return Ok(self.piece.split_to(taken));
        }
        // A guest that does not wait is given what is there already.
        self.ready().now_or_never();
        if !self.piece.is_empty() {
            let taken = size.min(self.piece.len());
            return Ok(self.piece.split_to(taken));
        }
        match std::mem::replace(&mut self.state, Progress::Ended) {
            Progress::Fetching(fetching) => {
                self.state = Progress::Fetching(fetching);
                Ok(Bytes::new())
            }
            Progress::Failed(error) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(
                error,
            ))),
            Progress::Ended => Err(StreamError::Closed),
        }
    }
}
