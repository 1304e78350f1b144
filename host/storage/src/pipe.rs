//! Contents on their way between code that blocks and code that awaits, in pieces of one size.
//!
//! Where there are threads the pipe is bounded and both ends run at once. On wasm there are none: the
//! pipe holds everything, and one end runs after the other.

use std::future::Future;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::{Error, ErrorKind, Result};

/// The size of every piece but the last. Each is a chunk of the checkpoint.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// The pieces between both ends: enough that neither waits for every piece of the other.
#[cfg(not(target_family = "wasm"))]
const DEPTH: usize = 8;

#[cfg(not(target_family = "wasm"))]
type Sender = mpsc::Sender<Bytes>;
#[cfg(not(target_family = "wasm"))]
type Receiver = mpsc::Receiver<Bytes>;
#[cfg(target_family = "wasm")]
type Sender = mpsc::UnboundedSender<Bytes>;
#[cfg(target_family = "wasm")]
type Receiver = mpsc::UnboundedReceiver<Bytes>;

fn channel() -> (Sender, Receiver) {
    #[cfg(not(target_family = "wasm"))]
    return mpsc::channel(DEPTH);
    #[cfg(target_family = "wasm")]
    return mpsc::unbounded_channel();
}

/// A pipe from code that blocks.
pub(crate) fn pipe() -> (PipeWriter, Pieces) {
    let (sender, receiver) = channel();
    let writer = PipeWriter {
        sender,
        piece: BytesMut::new(),
    };
    (writer, Pieces::Piped(receiver))
}

/// A pipe to code that blocks.
pub(crate) fn reverse_pipe() -> (PieceSender, PipeReader) {
    let (sender, receiver) = channel();
    let reader = PipeReader {
        receiver,
        piece: Bytes::new(),
    };
    (PieceSender(sender), reader)
}

/// Drives both ends of a pipe; `first` is the one that produces.
pub(crate) async fn both<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    #[cfg(not(target_family = "wasm"))]
    return futures::future::join(first, second).await;
    #[cfg(target_family = "wasm")]
    return (first.await, second.await);
}

/// The end into which code that blocks writes.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: Sender,
    piece: BytesMut,
}

impl PipeWriter {
    /// Sends what is left. Contents that end without it are cut short.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush().map_err(|e| {
            Error::new(ErrorKind::Other, "the storage stopped taking contents").with_source(e)
        })
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = self.piece.split().freeze();
        #[cfg(not(target_family = "wasm"))]
        let sent = self.sender.blocking_send(piece);
        #[cfg(target_family = "wasm")]
        let sent = self.sender.send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve(PIECE_BYTES);
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.piece.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

/// The end from which code that awaits takes pieces.
#[derive(Debug)]
pub(crate) enum Pieces {
    Piped(Receiver),
    Whole(Bytes),
}

impl Pieces {
    /// Contents that are in memory already, cut without a copy.
    pub(crate) fn whole(contents: Bytes) -> Self {
        Self::Whole(contents)
    }

    /// The next piece, which is not empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Piped(receiver) => receiver.recv().await,
            Self::Whole(rest) if rest.is_empty() => None,
            Self::Whole(rest) => Some(rest.split_to(rest.len().min(PIECE_BYTES))),
        }
    }
}

/// The end into which code that awaits puts pieces.
#[derive(Debug)]
pub(crate) struct PieceSender(Sender);

impl PieceSender {
    /// # Errors
    /// If the other end is gone.
    pub(crate) async fn send(&self, piece: Bytes) -> Result<(), ()> {
        #[cfg(not(target_family = "wasm"))]
        let sent = self.0.send(piece).await;
        #[cfg(target_family = "wasm")]
        let sent = self.0.send(piece);
        sent.map_err(drop)
    }
}

/// The end from which code that blocks reads.
#[derive(Debug)]
pub(crate) struct PipeReader {
    receiver: Receiver,
    piece: Bytes,
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            #[cfg(not(target_family = "wasm"))]
            let next = self.receiver.blocking_recv();
            #[cfg(target_family = "wasm")]
            let next = self.receiver.try_recv().ok();
            self.piece = next.unwrap_or_default();
        }
        let taken = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..taken]);
        Ok(taken)
    }
}
