//! Contents on their way between code that blocks and code that awaits, in chunks.
//!
//! Where there are threads the pipe is bounded and both ends run at once. On wasm there are none: the
//! pipe holds everything, and one end runs after the other.

use std::future::Future;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::cut::{self, Cutter};
use crate::{Error, ErrorKind, Result};

/// The chunks between both ends: enough that neither waits for every chunk of the other.
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
pub(crate) fn pipe() -> (PipeWriter, Chunks) {
    let (sender, receiver) = channel();
    let writer = PipeWriter {
        sender,
        cutter: Cutter::default(),
    };
    (writer, Chunks::Piped(receiver))
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
    cutter: Cutter,
}

impl PipeWriter {
    /// Sends what is left. Contents that end without it are cut short.
    pub(crate) fn finish(mut self) -> Result<()> {
        while let Some(chunk) = self.cutter.last_chunk() {
            self.send(chunk).map_err(|e| {
                Error::new(ErrorKind::Other, "the storage stopped taking contents").with_source(e)
            })?;
        }
        Ok(())
    }

    fn send(&mut self, chunk: Bytes) -> io::Result<()> {
        #[cfg(not(target_family = "wasm"))]
        let sent = self.sender.blocking_send(chunk);
        #[cfg(target_family = "wasm")]
        let sent = self.sender.send(chunk);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.cutter.take(bytes);
        while let Some(chunk) = self.cutter.full_chunk() {
            self.send(chunk)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end from which code that awaits takes chunks.
#[derive(Debug)]
pub(crate) enum Chunks {
    Piped(Receiver),
    Whole(Bytes),
}

impl Chunks {
    /// Contents that are in memory already, cut without a copy.
    pub(crate) fn whole(contents: Bytes) -> Self {
        Self::Whole(contents)
    }

    /// The next chunk, which is not empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Piped(receiver) => receiver.recv().await,
            Self::Whole(rest) => cut::next_chunk(rest),
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
