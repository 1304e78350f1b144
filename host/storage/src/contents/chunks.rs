//! The sources of a save's contents, in chunks: memory, a tree outside the storage, or a stream.

use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::blocking::{self, Threads};
use crate::cancel::Cancel;
use crate::contents::cutter::{self, Cutter};
use crate::contents::sizes::Sizes;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::tree::Tree;
use crate::tree::walk::TreeReader;

/// Contents that are consumed in chunks, as many at a time as one thread takes.
pub(crate) struct Chunks<'a>(Source<'a>);

enum Source<'a> {
    /// In memory; cut without a copy.
    Whole {
        rest: Bytes,
        sizes: Sizes,
        /// The size of the chunks that were taken.
        position: u64,
    },
    /// In borrowed memory that no other thread may access.
    Borrowed {
        rest: &'a [u8],
        cutter: Cutter,
    },
    Tree(&'a mut TreeChunks),
    Stream(&'a mut StreamChunks),
}

impl<'a> Chunks<'a> {
    pub(crate) fn whole(contents: Bytes, sizes: &Sizes) -> Self {
        Self(Source::Whole {
            rest: contents,
            sizes: *sizes,
            position: 0,
        })
    }

    pub(crate) fn borrowed(contents: &'a [u8], sizes: &Sizes) -> Self {
        Self(Source::Borrowed {
            rest: contents,
            cutter: Cutter::of_size(*sizes, contents.len()),
        })
    }

    pub(crate) fn tree(chunks: &'a mut TreeChunks) -> Self {
        Self(Source::Tree(chunks))
    }

    pub(crate) fn stream(chunks: &'a mut StreamChunks) -> Self {
        Self(Source::Stream(chunks))
    }

    /// Returns the next chunks; none at the end. They share memory: a buffer of their own, or all of the contents if those are
    /// in memory as a whole.
    pub(crate) async fn next_batch(&mut self) -> Result<Vec<Bytes>> {
        match &mut self.0 {
            Source::Whole {
                rest,
                sizes,
                position,
            } => {
                let batch_bytes = sizes.batch_at(*position);
                let (mut batch, end) = (Vec::new(), *position + batch_bytes as u64);
                while *position < end
                    && let Some(chunk) = cutter::next_piece(rest, sizes.chunks_at(*position))
                {
                    *position += chunk.len() as u64;
                    batch.push(chunk);
                }
                Ok(batch)
            }
            Source::Borrowed { rest, cutter } => {
                cutter.take(rest);
                Ok(match rest.is_empty() {
                    true => cutter.finish(),
                    false => cutter.cut(),
                })
            }
            Source::Tree(tree) => tree.next_batch().await,
            Source::Stream(stream) => stream.next_batch().await,
        }
    }
}

type Filling = Pin<Box<dyn Future<Output = Result<Result<Filled>>> + Send>>;

/// The chunks of a tree's files. One batch is read and cut while the one before it is consumed.
pub(crate) struct TreeChunks {
    threads: Threads,
    filling: Option<Filling>,
    ended: Option<Box<dyn TreeReader>>,
    cancel: Cancel,
}

struct Filled {
    reader: Box<dyn TreeReader>,
    cutter: Cutter,
    chunks: Vec<Bytes>,
    ended: bool,
}

impl TreeChunks {
    /// Begins to read, until `cancel` says that nobody takes the chunks any more.
    pub(crate) fn new(
        reader: Box<dyn TreeReader>,
        environment: &Environment,
        cancel: Cancel,
    ) -> Self {
        let cutter = Cutter::new(*environment.sizes());
        let mut chunks = Self {
            threads: environment.threads(),
            filling: None,
            ended: None,
            cancel,
        };
        chunks.fill(reader, cutter);
        chunks
    }

    fn fill(&mut self, reader: Box<dyn TreeReader>, cutter: Cutter) {
        let cancel = self.cancel.clone();
        let filling = blocking::run(self.threads, move || fill(reader, cutter, &cancel));
        self.filling = Some(Box::pin(filling));
    }

    async fn next_batch(&mut self) -> Result<Vec<Bytes>> {
        let Some(filling) = &mut self.filling else {
            return Ok(Vec::new());
        };
        let filled = filling.await;
        self.filling = None;
        let filled = filled??;
        match filled.ended {
            true => self.ended = Some(filled.reader),
            false => self.fill(filled.reader, filled.cutter),
        }
        Ok(filled.chunks)
    }

    /// Returns the tree, after its last chunk was taken.
    pub(crate) async fn finish(self) -> Result<Tree> {
        let Some(reader) = self.ended else {
            let what = "the tree was finished before all of it was read";
            return Err(Error::new(ErrorKind::Other, what));
        };
        blocking::run(self.threads, move || reader.finish()).await?
    }
}

fn fill(mut reader: Box<dyn TreeReader>, mut cutter: Cutter, cancel: &Cancel) -> Result<Filled> {
    let mut ended = false;
    while !cutter.is_full() && !ended {
        cancel.check()?;
        ended = cutter.read(|into| reader.read(into))? == 0;
    }
    let chunks = match ended {
        true => cutter.finish(),
        false => cutter.cut(),
    };
    Ok(Filled {
        reader,
        cutter,
        chunks,
        ended,
    })
}

/// How many parts of a stream may wait to be cut. The cutter bounds the memory, so that a writer of
/// many small parts does not wait for each one.
const STREAM_PARTS: usize = 4;

/// The chunks of the bytes written to a [`StreamWriter`].
pub(crate) struct StreamChunks {
    threads: Threads,
    parts: mpsc::Receiver<Part>,
    cutter: Cutter,
    /// What the cutter has not taken yet.
    rest: Bytes,
    ended: bool,
}

enum Part {
    Bytes(Bytes),
    End,
}

/// The writing end of a stream. If it is dropped without [`end`](Self::end), the contents are
/// incomplete.
#[derive(Debug)]
pub(crate) struct StreamWriter(mpsc::Sender<Part>);

pub(crate) fn stream(environment: &Environment) -> (StreamWriter, StreamChunks) {
    let (sender, parts) = mpsc::channel(STREAM_PARTS);
    let chunks = StreamChunks {
        threads: environment.threads(),
        parts,
        cutter: Cutter::new(*environment.sizes()),
        rest: Bytes::new(),
        ended: false,
    };
    (StreamWriter(sender), chunks)
}

impl StreamWriter {
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn write(&self, bytes: Bytes) -> Result<(), ()> {
        self.0.send(Part::Bytes(bytes)).await.map_err(drop)
    }

    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn end(self) -> Result<(), ()> {
        self.0.send(Part::End).await.map_err(drop)
    }
}

impl StreamChunks {
    async fn next_batch(&mut self) -> Result<Vec<Bytes>> {
        while !self.ended {
            self.cutter.take(&mut self.rest);
            if self.cutter.is_full() {
                break;
            }
            match self.parts.recv().await {
                None => {
                    let what = "the stream was dropped before it ended";
                    return Err(Error::new(ErrorKind::Other, what));
                }
                Some(Part::End) => self.ended = true,
                Some(Part::Bytes(part)) => self.rest = part,
            }
        }
        let mut cutter = std::mem::take(&mut self.cutter);
        let ended = self.ended;
        let cut = blocking::run(self.threads, move || {
            let chunks = match ended {
                true => cutter.finish(),
                false => cutter.cut(),
            };
            (cutter, chunks)
        });
        let (cutter, chunks) = cut.await?;
        self.cutter = cutter;
        Ok(chunks)
    }
}
