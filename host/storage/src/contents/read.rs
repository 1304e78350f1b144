//! Reads contents back and verifies them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::codec;
use crate::error::{Error, Result};
use crate::format::{Chunk, Commit, Contents, ObjectName};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How many ranges are read at once, ahead of the consumer: enough to hide the latency of a distant
/// store.
pub(crate) const READS: usize = 4;

/// Returns the contents of all files, concatenated, several pieces at a time. Each piece is
/// verified before it is returned. Reading continues while pieces are consumed.
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

/// Like [`runs`], but returns single pieces.
pub(crate) fn pieces(
    location: &OpenLocation,
    commit: &Arc<Commit>,
) -> BoxStream<'static, Result<Bytes>> {
    let pieces = runs(location, commit)
        .map_ok(|pieces| stream::iter(pieces).map(Ok))
        .try_flatten();
    pieces.boxed()
}

/// Returns the data object that holds the chunks of the run at `index` in [`runs`].
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

/// Reads chunks that are adjacent in one object with one request.
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
    // Decoding has checked that each chunk lies in an object of the list.
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

/// Groups adjacent chunks into runs, each read with one request.
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

/// Reads a range of a data object.
pub(crate) async fn get_range(
    location: &OpenLocation,
    object: ObjectName,
    range: Range<u64>,
) -> Result<Bytes> {
    let path = paths::object(location.prefix(), object);
    let name = path.filename().unwrap_or_default();
    match location.store().get_range(&path, range.clone()).await {
        Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
        Ok(_) => Err(Error::corrupt(format!("data object {name} is truncated"))),
        Err(object_store::Error::NotFound { .. }) => {
            Err(Error::corrupt(format!("data object {name} is missing")))
        }
        // Stores report a range beyond the end in many ways; the size tells this case from others.
        Err(error) => match location.store().head(&path).await {
            Ok(meta) if meta.size < range.end => {
                Err(Error::corrupt(format!("data object {name} is truncated")))
            }
            _ => Err(location.error(format!("cannot read data object {name}"), error)),
        },
    }
}

/// Lists the data objects of a location, with their sizes. Ignores whatever else lies in their folder.
pub(crate) async fn list_objects(location: &OpenLocation) -> Result<Vec<(ObjectName, u64)>> {
    let failed = |e| location.error("cannot list the data objects", e);
    if let Some(dir) = location.local_dir() {
        // Not through object_store, where one name that is not Unicode fails the whole list.
        let dir = dir.join("data");
        let listed = blocking::run(location.threads(), move || list_local(&dir)).await?;
        return listed.map_err(|source| {
            failed(object_store::Error::Generic {
                store: "LocalFileSystem",
                source: source.into(),
            })
        });
    }
    let store: &dyn ObjectStore = location.store();
    store
        .list(Some(&paths::data(location.prefix())))
        .try_filter_map(|meta| async move {
            let name = paths::parse_object(location.prefix(), &meta.location);
            Ok(name.map(|name| (name, meta.size)))
        })
        .try_collect()
        .await
        .map_err(failed)
}

fn list_local(dir: &std::path::Path) -> std::io::Result<Vec<(ObjectName, u64)>> {
    use std::io::ErrorKind::NotFound;

    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut objects = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(paths::parse_object_name) else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => objects.push((name, metadata.len())),
            // Not a file, or deleted just now.
            Ok(_) => {}
            Err(error) if error.kind() == NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}
