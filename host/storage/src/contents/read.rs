//! Reads contents back and verifies them.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{GetResult, GetResultPayload, ObjectStore};

use super::window::{Pieces, WindowPool, read_window, windows};
use crate::error::{Error, Result};
use crate::format::{
    Chunk, Commit, Contents, Described, Description, MAX_DESCRIPTION_BYTES, ObjectName, Objects,
    decode_list, size_of,
};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How many windows are read at once, ahead of the consumer, and how many ranges of each: enough to hide the latency of a
/// distant store.
pub(crate) const READS: usize = 4;

/// The pieces of contents for a consumer that does not care. In a component, writes are gathered into long ones, because each
/// calls its host; pieces that are long already need no copy. Natively, writes of 1 MiB restored 256 MiB faster, but 1 GiB in twice the
/// time on one machine.
const PIECES: Pieces = match cfg!(target_family = "wasm") {
    true => Pieces::Long,
    false => Pieces::Chunks,
};

/// Returns contents, several pieces at a time. Each piece is verified before it is returned. Reading continues while
/// pieces are consumed.
pub(crate) fn runs(
    location: &OpenLocation,
    description: Arc<Description>,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    match &description.contents {
        Contents::Inline(bytes) => {
            let piece = (!bytes.is_empty()).then(|| Ok(vec![bytes.clone()]));
            stream::iter(piece).boxed()
        }
        Contents::Chunks(chunks) => {
            let windows = windows(chunks, location.environment().sizes().read);
            read_ahead(location, windows, PIECES, move |window| {
                let chunks = description.contents.chunks();
                chunks.get(window).unwrap_or_default().to_vec()
            })
        }
    }
}

/// Like [`runs`], but returns single pieces.
pub(crate) fn pieces(
    location: &OpenLocation,
    description: Arc<Description>,
) -> BoxStream<'static, Result<Bytes>> {
    let pieces = runs(location, description)
        .map_ok(|pieces| stream::iter(pieces).map(Ok))
        .try_flatten();
    pieces.boxed()
}

/// Returns the contents of chunks, one after the other, each as a piece of its own. Each is verified.
pub(crate) fn chunks(
    location: &OpenLocation,
    chunks: Vec<Chunk>,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    let windows = windows(&chunks, location.environment().sizes().read);
    read_ahead(location, windows, Pieces::Chunks, move |window| {
        chunks.get(window).unwrap_or_default().to_vec()
    })
}

/// Reads windows while the consumer handles those before them.
fn read_ahead(
    location: &OpenLocation,
    windows: Vec<Range<usize>>,
    pieces: Pieces,
    chunks_of: impl Fn(Range<usize>) -> Vec<Chunk> + Send + 'static,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    let (location, pool) = (location.clone(), WindowPool::default());
    stream::iter(windows)
        .map(move |window| {
            let window = read_window(location.clone(), chunks_of(window), pieces, pool.clone());
            blocking::start(window)
        })
        .buffered(READS)
        .boxed()
}

/// Verifies chunks without returning them. Reads each stored block once, however often it is referred to.
pub(crate) async fn verify(location: &OpenLocation, all: &[Chunk]) -> Result<()> {
    let mut distinct = all.to_vec();
    distinct.sort_unstable_by_key(|c| (c.block, c.start, c.size_bytes, c.hash));
    distinct.dedup();
    let mut verified = chunks(location, distinct);
    while let Some(window) = verified.next().await {
        window?;
    }
    Ok(())
}

/// Reads the description of a checkpoint. Adds the nodes of its lists to `nodes`, before they are read.
///
/// # Errors
/// `Corrupt` if it is damaged.
pub(crate) async fn description(
    location: &OpenLocation,
    commit: &Commit,
    nodes: &mut Vec<Chunk>,
) -> Result<Arc<Description>> {
    let (root, inline) = match &commit.description {
        Described::Here(description) => return Ok(description.clone()),
        Described::Stored { root, inline } => (root, inline.clone()),
    };
    let objects = commit.objects.iter().map(|o| (o.name(), o.size_bytes));
    let objects: Arc<Objects> = Arc::new(objects.collect());
    let mut list = root.nodes.clone();
    nodes.extend_from_slice(&list);
    for _ in 1..root.levels {
        let bytes = concatenate(location, list).await?;
        let objects = objects.clone();
        let decoded = blocking::run(location.threads(), move || decode_list(&bytes, &objects));
        list = decoded.await??;
        nodes.extend_from_slice(&list);
    }
    if size_of(&list) != root.size_bytes() {
        return Err(Error::corrupt(
            "the description differs in length from what its commit says",
        ));
    }
    let bytes = concatenate(location, list).await?;
    let (root, nodes) = (root.clone(), nodes.clone());
    let decoded = blocking::run(location.threads(), move || {
        root.decode(&bytes, &objects, inline.as_ref(), &nodes)
    });
    Ok(Arc::new(decoded.await??))
}

/// Reads nodes into memory.
async fn concatenate(location: &OpenLocation, nodes: Vec<Chunk>) -> Result<Vec<u8>> {
    if size_of(&nodes) > MAX_DESCRIPTION_BYTES {
        return Err(Error::corrupt("the description is too long"));
    }
    let mut read = chunks(location, nodes);
    let mut bytes = Vec::new();
    while let Some(window) = read.try_next().await? {
        window
            .iter()
            .for_each(|piece| bytes.extend_from_slice(piece));
    }
    Ok(bytes)
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
