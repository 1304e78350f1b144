//! Reading contents back, verified.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::{codec, regular};
use crate::error::{Error, Result};
use crate::format::{Chunk, Commit, Contents, ObjectName};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How many ranges are read at once, ahead of what is being consumed: enough to hide the latency of a
/// far store.
pub(crate) const READS: usize = 4;

/// The contents of all files one after the other, several pieces at a time, each piece verified
/// before it is given. Reading goes on while pieces are consumed.
pub(crate) fn runs(
    location: &OpenLocation,
    commit: &Arc<Commit>,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    match &commit.contents {
        Contents::Inline(bytes) => {
            let piece = (!bytes.is_empty()).then(|| Ok(vec![bytes.clone()]));
            stream::iter(piece).boxed()
        }
        Contents::Chunks { chunks, .. } => {
            let (location, commit) = (location.clone(), commit.clone());
            stream::iter(adjoining(chunks, location.environment().sizes().read))
                .map(move |run| blocking::start(read_run(location.clone(), commit.clone(), run)))
                .buffered(READS)
                .boxed()
        }
    }
}

/// The same, piece by piece.
pub(crate) fn pieces(
    location: &OpenLocation,
    commit: &Arc<Commit>,
) -> BoxStream<'static, Result<Bytes>> {
    let pieces = runs(location, commit)
        .map_ok(|pieces| stream::iter(pieces).map(Ok))
        .try_flatten();
    pieces.boxed()
}

/// The data object that holds the chunks of the run at `index` in [`runs`].
pub(crate) fn object_of_run(
    location: &OpenLocation,
    commit: &Commit,
    index: usize,
) -> Option<ObjectName> {
    let Contents::Chunks { objects, chunks } = &commit.contents else {
        return None;
    };
    let runs = adjoining(chunks, location.environment().sizes().read);
    let first = chunks.get(runs.get(index)?.start)?;
    Some(objects.get(first.object as usize)?.name())
}

/// Reads chunks that lie one after the other in one object, in one request.
async fn read_run(
    location: OpenLocation,
    commit: Arc<Commit>,
    run: Range<usize>,
) -> Result<Vec<Bytes>> {
    let Contents::Chunks { objects, chunks } = &commit.contents else {
        return Err(Error::corrupt("an inline checkpoint has no chunks"));
    };
    let chunks = chunks.get(run).unwrap_or_default().to_vec();
    let Some((first, last)) = chunks.first().zip(chunks.last()) else {
        return Ok(Vec::new());
    };
    // Decoding checked that each chunk lies in an object of the list.
    let Some(object) = objects.get(first.object as usize) else {
        return Err(Error::corrupt("a chunk without an object"));
    };
    let end = last.offset + u64::from(last.stored_bytes);
    let mut bytes = get_range(&location, object.name(), first.offset..end).await?;
    let name = object.name();
    blocking::run(location.threads(), move || {
        let unpack = |chunk: &Chunk| {
            let stored = bytes.split_to(chunk.stored_bytes as usize);
            codec::unpack(stored, chunk.codec, chunk.size_bytes, chunk.hash).map_err(|e| {
                let (epoch, counter) = (name.epoch, name.counter);
                let what = format!("data object {epoch}-{counter} is damaged");
                Error::corrupt(what).with_source(e)
            })
        };
        chunks.iter().map(unpack).collect()
    })
    .await?
}

/// The chunks that are read in one request each.
fn adjoining(chunks: &[Chunk], most: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let most = most as u64;
    let (mut stored, mut size) = (0, 0);
    for (index, chunk) in chunks.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| chunks.get(before));
        let adjoins = before.is_some_and(|before| {
            before.object == chunk.object
                && before.offset + u64::from(before.stored_bytes) == chunk.offset
        });
        stored += u64::from(chunk.stored_bytes);
        size += u64::from(chunk.size_bytes);
        match runs.last_mut() {
            Some(run) if adjoins && stored <= most && size <= most => {
                run.end = index + 1;
            }
            _ => {
                runs.push(index..index + 1);
                (stored, size) = (chunk.stored_bytes.into(), chunk.size_bytes.into());
            }
        }
    }
    runs
}

/// Reads a part of a data object.
pub(crate) async fn get_range(
    location: &OpenLocation,
    object: ObjectName,
    range: Range<u64>,
) -> Result<Bytes> {
    let path = paths::object(location.prefix(), object);
    let name = path.filename().unwrap_or_default();
    regular::check(location, &path).await?;
    match location.store().get_range(&path, range.clone()).await {
        Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
        Ok(_) => Err(Error::corrupt(format!("data object {name} is cut short"))),
        Err(object_store::Error::NotFound { .. }) => {
            Err(Error::corrupt(format!("data object {name} is missing")))
        }
        // A range beyond the end is an error of many forms; the size tells it from the others.
        Err(error) => match location.store().head(&path).await {
            Ok(meta) if meta.size < range.end => {
                Err(Error::corrupt(format!("data object {name} is cut short")))
            }
            _ => Err(location.error(format!("data object {name} cannot be read"), error)),
        },
    }
}

/// The data objects of a location, with their sizes.
pub(crate) async fn list_objects(location: &OpenLocation) -> Result<Vec<(ObjectName, u64)>> {
    let store: &dyn ObjectStore = location.store();
    store
        .list(Some(&paths::data(location.prefix())))
        .try_filter_map(|meta| async move {
            let name = paths::parse_object(location.prefix(), &meta.location);
            Ok(name.map(|name| (name, meta.size)))
        })
        .try_collect()
        .await
        .map_err(|e| location.error("the data objects cannot be listed", e))
}
