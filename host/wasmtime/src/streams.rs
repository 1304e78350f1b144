//! The interface `streams`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use checkpoint_session::{Answer, Misuse, ReadStream};
use futures::FutureExt;
use futures::future::BoxFuture;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::bindings::task::checkpoint::{streams, types};
use crate::convert::{Returned, returned};
use crate::ctx::CheckpointCtxView;

/// The most that a guest may write to a stream at a time. The write in flight holds up to as much again.
const PERMIT_BYTES: usize = 1 << 20;

/// A save whose contents the guest is writing: the resource `save-stream`.
#[derive(Debug)]
pub struct SaveStream {
    shared: Arc<Mutex<Shared>>,
}

/// The state shared by the guest's output stream and the save.
struct Shared {
    stream: State,
    /// Whether the guest has already received the output stream.
    is_taken: bool,
    /// Whether the guest still holds the output stream.
    is_open: bool,
}

enum State {
    /// Ready for a piece, or to be committed.
    Idle(checkpoint_session::SaveStream),
    Writing(BoxFuture<'static, checkpoint_session::SaveStream>),
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

impl streams::Host for CheckpointCtxView<'_> {
    async fn read(&mut self) -> Returned<Option<streams::Reading>> {
        let stream = match self.ctx.session.read_stream().await {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error.into())),
        };
        let given = stream.checkpoint().clone();
        let contents: DynInputStream = Box::new(Reading::new(stream));
        Ok(Ok(Some(streams::Reading {
            contents: self.table.push(contents)?,
            size: given.info.logical_bytes,
            checkpoint: given.into(),
        })))
    }
}

impl streams::HostSaveStream for CheckpointCtxView<'_> {
    async fn begin(&mut self, annotations: types::Annotations) -> Returned<Resource<SaveStream>> {
        let stream = match self.ctx.session.begin_stream(annotations).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        let shared = Shared {
            stream: State::Idle(stream),
            is_taken: false,
            is_open: false,
        };
        let shared = Arc::new(Mutex::new(shared));
        Ok(Ok(self.table.push(SaveStream { shared })?))
    }

    async fn contents(
        &mut self,
        this: Resource<SaveStream>,
    ) -> Returned<Resource<DynOutputStream>> {
        let shared = self.table.get(&this)?.shared.clone();
        {
            let mut shared = lock(&shared);
            if std::mem::replace(&mut shared.is_taken, true) {
                return Ok(Err(self.ctx.session.misuse(Misuse::OutputTaken).into()));
            }
            shared.is_open = true;
        }
        let contents: DynOutputStream = Box::new(Writing(shared));
        Ok(Ok(self.table.push(contents)?))
    }

    async fn commit(&mut self, this: Resource<SaveStream>, size: u64) -> Returned<types::Saved> {
        let stream = self.table.delete(this)?;
        let state = {
            let mut shared = lock(&stream.shared);
            // Discards anything that the guest still writes.
            let state = std::mem::replace(&mut shared.stream, State::Over);
            if shared.is_open {
                return Ok(Err(self.ctx.session.misuse(Misuse::OutputHeld).into()));
            }
            state
        };
        let stream = match state {
            State::Idle(stream) => stream,
            State::Writing(writing) => writing.await,
            State::Over => return Ok(Err(self.ctx.session.misuse(Misuse::StreamOver).into())),
        };
        returned(stream.commit(size).await)
    }

    async fn drop(&mut self, this: Resource<SaveStream>) -> wasmtime::Result<()> {
        let stream = self.table.delete(this)?;
        // Discards anything that the guest still writes.
        lock(&stream.shared).stream = State::Over;
        Ok(())
    }
}

/// The guest's end of a save.
struct Writing(Arc<Mutex<Shared>>);

impl Drop for Writing {
    fn drop(&mut self) {
        lock(&self.0).is_open = false;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut shared = lock(&self.0);
            let State::Writing(writing) = &mut shared.stream else {
                return Poll::Ready(());
            };
            writing.poll_unpin(cx).map(|stream| {
                shared.stream = State::Idle(stream);
            })
        })
        .await;
    }
}

impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut shared = lock(&self.0);
        match std::mem::replace(&mut shared.stream, State::Over) {
            State::Idle(stream) if stream.has_failed() => {
                shared.stream = State::Idle(stream);
                Err(StreamError::Closed)
            }
            State::Idle(mut stream) if bytes.len() <= PERMIT_BYTES => {
                let writing = async move {
                    stream.write(bytes).await;
                    stream
                };
                shared.stream = State::Writing(writing.boxed());
                Ok(())
            }
            State::Idle(_) | State::Writing(_) => Err(StreamError::trap(
                "the guest wrote more than `check-write` permits",
            )),
            State::Over => Err(StreamError::Closed),
        }
    }

    /// Does nothing: contents become durable only when they are committed.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &lock(&self.0).stream {
            State::Idle(stream) if stream.has_failed() => Err(StreamError::Closed),
            State::Idle(_) => Ok(PERMIT_BYTES),
            State::Writing(_) => Ok(0),
            State::Over => Err(StreamError::Closed),
        }
    }
}

/// A checkpoint that the guest is reading.
struct Reading {
    state: Progress,
    piece: Bytes,
    /// Held until the guest drops its stream, because it may have only one open for reading.
    _over: Option<ReadStream>,
}

enum Progress {
    Fetching(BoxFuture<'static, (ReadStream, Answer<Option<Bytes>>)>),
    Failed(String),
    Ended,
}

impl Reading {
    fn new(stream: ReadStream) -> Self {
        Self {
            state: Progress::Fetching(fetch(stream)),
            piece: Bytes::new(),
            _over: None,
        }
    }

    fn take(&mut self, size: usize) -> Bytes {
        self.piece.split_to(size.min(self.piece.len()))
    }
}

fn fetch(mut stream: ReadStream) -> BoxFuture<'static, (ReadStream, Answer<Option<Bytes>>)> {
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
                self.state = Progress::Fetching(fetch(stream));
                return;
            }
            Ok(None) => Progress::Ended,
            Err(error) => Progress::Failed(error.to_string()),
        };
        self._over = Some(stream);
    }
}

impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.piece.is_empty() {
            // A guest that does not block gets only what is available.
            self.ready().now_or_never();
        }
        if !self.piece.is_empty() {
            return Ok(self.take(size));
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
