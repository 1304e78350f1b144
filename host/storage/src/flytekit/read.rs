//! Reads objects in order, ahead of the consumer.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStoreExt};
use tokio::runtime::Handle;

use super::Planned;
use crate::blocking;
use crate::cancel::Cancel;
use crate::contents::read;
use crate::error::{Error, ErrorKind, Result};
use crate::location::OpenLocation;
use crate::tree::walk::TreeReader;
use crate::tree::{Entry, Node, Tree};

/// The most that one request fetches: enough to saturate a connection, yet small compared with a
/// data object.
pub(super) const READ_BYTES: u64 = 4 << 20;

/// How many objects are read ahead, by their first pieces. Otherwise each of many small files would
/// pay the latency of a distant store.
const OBJECTS: usize = 8;

/// How many further pieces of one object are read ahead. Few suffice, because pieces are large.
const PIECES: usize = 4;

/// The objects' contents as they arrive. Its calls block, so they run on a thread of [`blocking`].
pub(super) struct ObjectsReader {
    runtime: Handle,
    /// Each file's size counts the bytes returned so far.
    entries: Vec<Entry>,
    pieces: BoxStream<'static, Result<Piece>>,
    /// The index of the entry that `rest` belongs to.
    entry: usize,
    rest: Bytes,
    cancel: Cancel,
}

impl ObjectsReader {
    /// Creates the reader. Call it where the reader will be used.
    pub(super) fn new(location: &OpenLocation, planned: &Arc<[Planned]>, cancel: Cancel) -> Self {
        Self {
            runtime: Handle::current(),
            entries: planned.iter().map(|p| p.entry.clone()).collect(),
            pieces: pieces(location.clone(), planned.clone()),
            entry: 0,
            rest: Bytes::new(),
            cancel,
        }
    }
}

/// A part of an entry's contents.
struct Piece {
    entry: usize,
    /// `None` if the entry is a directory.
    contents: Option<Bytes>,
}

impl TreeReader for ObjectsReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        while self.rest.is_empty() {
            let next = self.cancel.or(self.pieces.try_next());
            let Some(piece) = self.runtime.block_on(next)?? else {
                return Ok(0);
            };
            self.entry = piece.entry;
            match (piece.contents, self.entries.get_mut(piece.entry)) {
                (Some(contents), _) => self.rest = contents,
                (None, Some(entry)) => (entry.node, entry.mode) = (Node::Dir, 0o755),
                (None, None) => {}
            }
        }
        let count = self.rest.len().min(into.len());
        self.rest.copy_to_slice(&mut into[..count]);
        if let Some(entry) = self.entries.get_mut(self.entry)
            && let Node::File { size_bytes } = &mut entry.node
        {
            *size_bytes += count as u64;
        }
        Ok(count)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Tree::new(self.entries)
    }
}

/// Returns the contents of the objects, in the order of their entries. Requests continue while
/// earlier pieces are consumed: a request that is not polled for a while would time out.
fn pieces(location: OpenLocation, planned: Arc<[Planned]>) -> BoxStream<'static, Result<Piece>> {
    let objects: Vec<_> = planned
        .iter()
        .enumerate()
        .filter_map(|(entry, planned)| Some((entry, planned.object.clone()?)))
        .collect();
    let opened = stream::iter(objects).map({
        let location = location.clone();
        move |(entry, object)| blocking::start(open(location.clone(), entry, object))
    });
    opened
        .buffered(OBJECTS)
        .map_ok(move |(first, rest)| {
            stream::iter([Ok(first)]).chain(read_on(location.clone(), rest))
        })
        .try_flatten()
        .boxed()
}

/// What remains to be read of an object after its first piece.
struct Rest {
    entry: usize,
    /// The version that the first piece was read from. Later pieces must match it.
    object: ObjectMeta,
    from: u64,
}

/// Reads the first piece of an object, which decides which version is read.
async fn open(
    location: OpenLocation,
    entry: usize,
    listed: ObjectMeta,
) -> Result<(Piece, Option<Rest>)> {
    // An empty range is invalid.
    let range = (listed.size > 0).then(|| GetRange::Bounded(0..listed.size.min(READ_BYTES)));
    let options = GetOptions {
        range,
        ..Default::default()
    };
    let path = &listed.location;
    let answer = match location.store().get_opts(path, options).await {
        Ok(answer) => answer,
        // `object_store` drops the trailing slash of an object that stands for a directory, so the
        // listed name does not exist.
        Err(object_store::Error::NotFound { .. }) if listed.size == 0 => {
            let contents = None;
            return Ok((Piece { entry, contents }, None));
        }
        Err(error) => return Err(unread(&location, &listed, error).await),
    };
    let object = answer.meta.clone();
    // It may have been listed as empty and have grown to more than may be held in memory.
    let first = collect(&location, answer).await?;
    let from = first.len() as u64;
    let rest = (from < object.size).then_some(Rest {
        entry,
        object,
        from,
    });
    let contents = Some(first);
    Ok((Piece { entry, contents }, rest))
}

fn read_on(
    location: OpenLocation,
    rest: Option<Rest>,
) -> impl Stream<Item = Result<Piece>> + Send + 'static {
    let ranges = rest.into_iter().flat_map(
        |Rest {
             entry,
             object,
             from,
         }| {
            let starts = (from..object.size).step_by(READ_BYTES as usize);
            starts.map(move |start| {
                let end = object.size.min(start.saturating_add(READ_BYTES));
                (entry, object.clone(), start..end)
            })
        },
    );
    stream::iter(ranges)
        .map(move |(entry, object, range)| {
            let location = location.clone();
            blocking::start(async move {
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range.clone())),
                    if_match: object.e_tag.clone(),
                    ..Default::default()
                };
                let answer = location.store().get_opts(&object.location, options).await;
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) => return Err(unread(&location, &object, error).await),
                };
                // Not every storage honours the condition.
                if !same_version(&answer.meta, &object) || answer.range != range {
                    return Err(changed(&location, &object.location));
                }
                let contents = Some(collect(&location, answer).await?);
                Ok(Piece { entry, contents })
            })
        })
        .buffered(PIECES)
}

/// Collects a piece. Whatever is longer than was asked for is not held in memory.
async fn collect(location: &OpenLocation, answer: GetResult) -> Result<Bytes> {
    let path = answer.meta.location.clone();
    let contents = read::collect(answer, READ_BYTES).await;
    let contents = contents.map_err(|e| location.error(format!("cannot read {path}"), e))?;
    contents.ok_or_else(|| changed(location, &path))
}

fn same_version(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    (a.size, &a.e_tag) == (b.size, &b.e_tag)
}

/// Returns why an object cannot be read, given how it was listed.
async fn unread(location: &OpenLocation, object: &ObjectMeta, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let path = &object.location;
    match &error {
        E::NotFound { .. } | E::Precondition { .. } => return changed(location, path),
        _ => {}
    }
    // Stores report a range beyond the end in many ways; the size tells this case from others.
    match location.store().head(path).await {
        Ok(now) if !same_version(&now, object) => changed(location, path),
        _ => location.error(format!("cannot read {path}"), error),
    }
}

fn changed(location: &OpenLocation, path: &Path) -> Error {
    let url = location.url();
    let what =
        format!("{url}: {path} changed while it was being read; retry when nothing writes to it");
    Error::new(ErrorKind::Unavailable, what)
}
