//! The interface `streams`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use checkpoint_session::{Answer, Call, Misuse, SaveStream, Session, held_bytes};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, FutureConsumer, FutureReader, Source, StreamConsumer, StreamReader, StreamResult,
};

use super::bindings::task::checkpoint::{streams, types};
use super::calls::{in_task, in_turn, session};
use super::convert::{Returned, returned};
use super::reading::reading;
use crate::HasCheckpoint;
use crate::ctx::CheckpointCtxView;

/// The most that is taken from a guest's stream at a time. The write in flight holds up to as much again.
const PIECE_BYTES: usize = 1 << 20;

impl streams::Host for CheckpointCtxView<'_> {}

impl<T: 'static> streams::HostWithStore<T> for HasCheckpoint {
    async fn write(
        store: &Accessor<T, Self>,
        contents: StreamReader<u8>,
        size: FutureReader<Option<u64>>,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let session = session(store);
        let (contents, size) = (contents.guard(store), size.guard(store));
        let (_call, stream) = match begin(&session, annotations).await {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error.into())),
        };
        let (written, ended) = oneshot::channel();
        let (sent, announced) = oneshot::channel();
        let pieces = Pieces {
            state: State::Idle(stream),
            ended: Some(written),
        };
        let (contents, size) = (contents.into_stream(), size.into_future());
        store.with(|mut access| {
            contents.pipe(&mut access, pieces)?;
            size.pipe(&mut access, Size(Some(sent)))
        })?;
        // Fails only if the store has dropped the stream, which ends this call too.
        let stream = match ended.await? {
            State::Idle(stream) => stream,
            State::Writing(writing) => writing.await,
            State::Over => return Ok(Err(session.misuse(Misuse::StreamOver).into())),
        };
        let size = match stream.has_failed() {
            // Committing returns the error of the stream.
            true => 0,
            false => match announced.await? {
                Some(size) => size,
                None => return Ok(Err(session.misuse(Misuse::Abandoned).into())),
            },
        };
        returned(in_task(async move { stream.commit(size).await }).await?)
    }

    async fn read(store: &Accessor<T, Self>) -> Returned<Option<streams::Reading>> {
        let call = |session: Session| async move { session.read_stream().await };
        match in_turn(session(store), 0, call).await? {
            Ok(Some(stream)) => Ok(Ok(Some(store.with(|access| reading(access, stream))?))),
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

async fn begin(session: &Session, annotations: types::Annotations) -> Answer<(Call, SaveStream)> {
    let call = session.begin_call(held_bytes(0, &annotations))?;
    Ok((call, session.begin_stream(annotations).await?))
}

/// Takes the guest's pieces, and hands the save back when the stream has ended.
struct Pieces {
    state: State,
    ended: Option<oneshot::Sender<State>>,
}

enum State {
    /// Ready for a piece, or to be committed.
    Idle(SaveStream),
    Writing(BoxFuture<'static, SaveStream>),
    Over,
}

impl Pieces {
    /// Waits for the write in flight.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<StreamResult> {
        if let State::Writing(writing) = &mut self.state {
            match writing.poll_unpin(cx) {
                Poll::Ready(stream) => self.state = State::Idle(stream),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(match &self.state {
            State::Idle(stream) if !stream.has_failed() => StreamResult::Completed,
            _ => StreamResult::Dropped,
        })
    }

    fn begin_write(&mut self, piece: Bytes) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Idle(mut stream) => {
                let writing = async move {
                    stream.write(piece).await;
                    stream
                };
                State::Writing(writing.boxed())
            }
            state => state,
        };
    }
}

impl<D> StreamConsumer<D> for Pieces {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if matches!(self.state, State::Writing(_)) {
            // The piece was taken by an earlier call, which has not been answered yet.
            return match self.poll_written(cx) {
                Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Completed)),
                polled => polled.map(Ok),
            };
        }
        let mut source = source.as_direct(store);
        let available = source.remaining();
        let piece = Bytes::copy_from_slice(&available[..available.len().min(PIECE_BYTES)]);
        if piece.is_empty() {
            return self.poll_written(cx).map(Ok);
        }
        source.mark_read(piece.len());
        self.begin_write(piece);
        self.poll_written(cx).map(Ok)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let Some(ended) = self.ended.take() {
            // Nobody waits if the call was cancelled.
            let _ = ended.send(state);
        }
    }
}

/// Takes the size that the guest announces.
struct Size(Option<oneshot::Sender<Option<u64>>>);

impl<D> FutureConsumer<D> for Size {
    type Item = Option<u64>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, Option<u64>>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut size = None;
        source.read(store, &mut size)?;
        if let (Some(size), Some(announced)) = (size, self.0.take()) {
            // Nobody waits if the call was cancelled, or the stream has failed.
            let _ = announced.send(size);
        }
        Poll::Ready(Ok(()))
    }
}
