//! The contents of a checkpoint that a guest reads as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use checkpoint_session::{Answer, GuestError, ReadStream};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Destination, FutureReader, StreamProducer, StreamReader, StreamResult,
};

use super::bindings::task::checkpoint::{streams, types};
use crate::HasCheckpoint;

/// Creates the guest's ends of a stream.
pub(crate) fn reading<T: 'static>(
    mut store: Access<'_, T, HasCheckpoint>,
    stream: ReadStream,
) -> wasmtime::Result<streams::Reading> {
    let given = stream.checkpoint().clone();
    let (ended, outcome) = oneshot::channel();
    let pieces = Pieces {
        fetching: Some(fetch(stream)),
        ended: Some(ended),
    };
    let outcome = async move {
        wasmtime::error::Ok(match outcome.await {
            Ok(answer) => answer.map_err(types::Error::from),
            Err(_) => Err(types::Error::Other(
                "the stream was dropped before its end".into(),
            )),
        })
    };
    Ok(streams::Reading {
        contents: StreamReader::new(&mut store, pieces)?,
        outcome: FutureReader::new(&mut store, outcome)?,
        size: given.info.logical_bytes,
        checkpoint: given.into(),
    })
}

type Fetched = (ReadStream, Answer<Option<Bytes>>);

/// Gives the guest one piece after the other.
struct Pieces {
    /// `None` at the end.
    fetching: Option<BoxFuture<'static, Fetched>>,
    ended: Option<oneshot::Sender<Result<(), GuestError>>>,
}

fn fetch(mut stream: ReadStream) -> BoxFuture<'static, Fetched> {
    let fetching = async move {
        let piece = stream.next().await;
        (stream, piece)
    };
    fetching.boxed()
}

impl<D: 'static> StreamProducer<D> for Pieces {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // The guest asks whether it may read. A piece that is fetched now could not be kept for it.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let Some(fetching) = &mut self.fetching else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        let (stream, piece) = match fetching.poll_unpin(cx) {
            Poll::Ready(fetched) => fetched,
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        let outcome = match piece {
            Ok(Some(piece)) => {
                // Wasmtime keeps what the guest does not take now.
                destination.set_buffer(piece);
                self.fetching = Some(fetch(stream));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.fetching = None;
        if let Some(ended) = self.ended.take() {
            // The guest may have dropped the future.
            let _ = ended.send(outcome);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}
