//! Reads contents back and verifies them.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt,
};

use super::codec;
use crate::error::{Error, Result};
use crate::format::{Chunk, Commit, Contents, ObjectName, by_place};
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
                .map(move |run| {
                    let chunks = match &commit.contents {
                        Contents::Chunks { chunks, .. } => chunks.get(run).unwrap_or_default(),
                        Contents::Inline(_) => &[],
                    };
                    blocking::start(read_run(location.clone(), commit.clone(), chunks.to_vec()))
                })
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

/// Verifies the contents without returning them. Reads each stored chunk once, however often the contents repeat it.
pub(crate) async fn verify(location: &OpenLocation, commit: &Arc<Commit>) -> Result<()> {
    let Contents::Chunks { chunks, .. } = &commit.contents else {
        return Ok(());
    };
    let distinct: Vec<Chunk> = by_place(chunks)?.into_iter().copied().collect();
    let runs = adjoining(&distinct, location.environment().sizes().read);
    let runs = runs.into_iter().map(|run| {
        let chunks = distinct.get(run).unwrap_or_default().to_vec();
        blocking::start(read_run(location.clone(), commit.clone(), chunks))
    });
    let mut verified = stream::iter(runs).buffered(READS);
    while let Some(run) = verified.next().await {
        run?;
    }
    Ok(())
}

/// Reads chunks that are adjacent in one object with one request.
async fn read_run(
    location: OpenLocation,
    commit: Arc<Commit>,
    chunks: Vec<Chunk>,
) -> Result<Vec<Bytes>> {
    let Some((first, last)) = chunks.first().zip(chunks.last()) else {
        return Ok(Vec::new());
    };
    // Decoding has checked that each chunk lies in an object of the list.
    let Some(object) = commit.contents.objects().get(first.object as usize) else {
        return Err(Error::corrupt("a chunk without an object"));
    };
    let range = first.offset..last.end();
    let mut bytes = get_range(&location, object.name(), range).await?;
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
        let adjoins = before
            .is_some_and(|before| before.object == chunk.object && before.end() == chunk.offset);
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

/// Reads an answer to its end. Returns `None` if it is longer than `most` bytes. Takes memory for what has arrived:
/// neither a listed size nor the one in the answer is believed.
pub(crate) async fn collect(answer: GetResult, most: u64) -> object_store::Result<Option<Bytes>> {
    if answer.range.end.saturating_sub(answer.range.start) > most {
        return Ok(None);
    }
    // The size of an open file is known, and as a stream it would be read in many small pieces.
    if !matches!(answer.payload, GetResultPayload::Stream(_)) {
        return answer.bytes().await.map(Some);
    }
    let mut pieces = answer.into_stream();
    let Some(first) = pieces.try_next().await? else {
        return Ok(Some(Bytes::new()));
    };
    // Most objects arrive in one piece, which is not copied.
    let mut whole = match pieces.try_next().await? {
        None if first.len() as u64 <= most => return Ok(Some(first)),
        None => return Ok(None),
        Some(second) => {
            let mut whole = BytesMut::from(&first[..]);
            whole.extend_from_slice(&second);
            whole
        }
    };
    while whole.len() as u64 <= most {
        match pieces.try_next().await? {
            Some(piece) => whole.extend_from_slice(&piece),
            None => return Ok(Some(whole.freeze())),
        }
    }
    Ok(None)
}

/// Reads a range of a data object.
pub(crate) async fn get_range(
    location: &OpenLocation,
    object: ObjectName,
    range: Range<u64>,
) -> Result<Bytes> {
    let path = paths::object(location.prefix(), object);
    let name = path.filename().unwrap_or_default();
    let length = range.end.saturating_sub(range.start);
    let options = GetOptions {
        range: Some(GetRange::Bounded(range.clone())),
        ..GetOptions::default()
    };
    let read = async { collect(location.store().get_opts(&path, options).await?, length).await };
    match read.await {
        Ok(Some(bytes)) if bytes.len() as u64 == length => Ok(bytes),
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
