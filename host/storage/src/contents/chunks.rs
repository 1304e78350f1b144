//! The sources of a save's contents, in chunks: memory, a tree outside the storage, or a stream.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::blocking::{self, Threads};
use crate::cancel::Cancel;
use crate::contents::cutter::{self, Copier, Cutter};
use crate::contents::sizes::Sizes;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::tree::Tree;
use crate::tree::walk::TreeReader;

/// Contents that are consumed chunk by chunk.
pub(crate) struct Chunks<'a> {
    source: Source<'a>,
    /// The size of the chunks that were taken.
    position: u64,
}

enum Source<'a> {
    /// In memory; cut without a copy.
    Whole(Bytes),
    /// In borrowed memory that no other thread may access; copied and cut a batch at a time.
    Borrowed {
        rest: &'a [u8],
        copier: Copier,
        ready: VecDeque<Bytes>,
    },
    Tree(&'a mut TreeChunks),
    Stream(&'a mut StreamChunks),
}

impl<'a> Chunks<'a> {
    fn of(source: Source<'a>) -> Self {
        Self {
            source,
            position: 0,
        }
    }

    pub(crate) fn whole(contents: Bytes) -> Self {
        Self::of(Source::Whole(contents))
    }

    pub(crate) fn borrowed(contents: &'a [u8]) -> Self {
        Self::of(Source::Borrowed {
            rest: contents,
            copier: Copier::default(),
            ready: VecDeque::new(),
        })
    }

    pub(crate) fn tree(chunks: &'a mut TreeChunks) -> Self {
        Self::of(Source::Tree(chunks))
    }

    pub(crate) fn stream(chunks: &'a mut StreamChunks) -> Self {
        Self::of(Source::Stream(chunks))
    }

    /// Returns the next chunks, as many as a thread takes at a time; none at the end.
    pub(crate) async fn next_batch(&mut self, sizes: &Sizes) -> Result<Vec<Bytes>> {
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        while batch_bytes < sizes.batch {
            let Some(chunk) = self.next(sizes).await? else {
                break;
            };
            batch_bytes += chunk.len();
            batch.push(chunk);
        }
        Ok(batch)
    }

    async fn next(&mut self, sizes: &Sizes) -> Result<Option<Bytes>> {
        let cut = sizes.chunks_at(self.position);
        let chunk = match &mut self.source {
            Source::Whole(rest) => cutter::next_piece(rest, cut),
            Source::Borrowed {
                rest,
                copier,
                ready,
            } => {
                if ready.is_empty() {
                    *ready = copier.next_batch(rest, self.position, sizes);
                }
                ready.pop_front()
            }
            Source::Tree(tree) => tree.next().await?,
            Source::Stream(stream) => stream.next().await?,
        };
        self.position += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }
}

type Filling = Pin<Box<dyn Future<Output = Result<Result<Filled>>> + Send>>;

/// The chunks of a tree's files. One segment is read and cut while the chunks of the previous one
/// are consumed.
pub(crate) struct TreeChunks {
    threads: Threads,
    filling: Option<Filling>,
    ready: VecDeque<Bytes>,
    ended: Option<Box<dyn TreeReader>>,
    cancel: Cancel,
}

struct Filled {
    reader: Box<dyn TreeReader>,
    cutter: Cutter,
    chunks: VecDeque<Bytes>,
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
            ready: VecDeque::new(),
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

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(filling) = &mut self.filling else {
                return Ok(None);
            };
            let filled = filling.await;
            self.filling = None;
            let filled = filled??;
            self.ready = filled.chunks;
            match filled.ended {
                true => self.ended = Some(filled.reader),
                false => self.fill(filled.reader, filled.cutter),
            }
        }
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
    ready: VecDeque<Bytes>,
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
        ready: VecDeque::new(),
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
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if self.ended {
                return Ok(None);
            }
            match self.parts.recv().await {
                None => {
                    let what = "the stream was dropped before it ended";
                    return Err(Error::new(ErrorKind::Other, what));
                }
                Some(Part::End) => self.ended = true,
                Some(Part::Bytes(mut part)) => {
                    while !part.is_empty() {
                        self.cutter.take(&mut part);
                        if self.cutter.is_full() {
                            self.cut().await?;
                        }
                    }
                }
            }
            if self.ended {
                self.cut().await?;
            }
        }
    }

    async fn cut(&mut self) -> Result<()> {
        let mut cutter = std::mem::take(&mut self.cutter);
        let ended = self.ended;
        let cut = blocking::run(self.threads, move || {
            let chunks = match ended {
                true => cutter.finish(),
                false => cutter.cut(),
            };
            (cutter, chunks)
        });
        let (cutter, mut chunks) = cut.await?;
        self.cutter = cutter;
        self.ready.append(&mut chunks);
        Ok(())
    }
}
