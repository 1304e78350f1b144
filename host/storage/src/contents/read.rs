//! Reads contents back and verifies them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt,
};

use super::codec;
use crate::error::{Error, Result};
use crate::format::{
    Block, Chunk, Commit, Contents, Described, Description, MAX_DESCRIPTION_BYTES, ObjectName,
    Objects, decode_list, size_of,
};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How many ranges are read at once, ahead of the consumer: enough to hide the latency of a distant
/// store.
pub(crate) const READS: usize = 4;

/// How far apart blocks of one data object may lie to be read with one request. Reading as much in vain takes less time
/// than another request.
const GAP_BYTES: u64 = 64 << 10;

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
            let location = location.clone();
            let windows = windows(chunks, location.environment().sizes().read);
            stream::iter(windows)
                .map(move |window| {
                    let chunks = description
                        .contents
                        .chunks()
                        .get(window)
                        .unwrap_or_default();
                    blocking::start(read_window(location.clone(), chunks.to_vec()))
                })
                .buffered(READS)
                .boxed()
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

/// Returns the contents of chunks, one after the other. Each is verified.
pub(crate) fn chunks(
    location: &OpenLocation,
    chunks: Vec<Chunk>,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    let location = location.clone();
    let windows = windows(&chunks, location.environment().sizes().read);
    stream::iter(windows)
        .map(move |window| {
            let chunks = chunks.get(window).unwrap_or_default();
            blocking::start(read_window(location.clone(), chunks.to_vec()))
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

/// Splits chunks into windows, each read at once. Blocks that repeat one after the other count once.
fn windows(chunks: &[Chunk], most: usize) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    let (most, mut size, mut contents) = (most as u64, 0, 0);
    let mut before = None;
    for (index, chunk) in chunks.iter().enumerate() {
        let new_block = before.replace(chunk.block) != Some(chunk.block);
        size += match new_block {
            true => u64::from(chunk.block.size_bytes),
            false => 0,
        };
        contents += u64::from(chunk.size_bytes);
        match windows.last_mut() {
            Some(window) if size <= most && contents <= most => window.end = index + 1,
            _ => {
                windows.push(index..index + 1);
                (size, contents) = (chunk.block.size_bytes.into(), chunk.size_bytes.into());
            }
        }
    }
    windows
}

/// Reads chunks. Each of their blocks is read and decoded once; those that lie near one another, with one request.
async fn read_window(location: OpenLocation, chunks: Vec<Chunk>) -> Result<Vec<Bytes>> {
    let mut blocks: Vec<Block> = chunks.iter().map(|chunk| chunk.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let most = location.environment().sizes().read as u64;
    let reads = ranges(&blocks, most).into_iter();
    let reads = reads.map(|(object, range)| {
        let location = &location;
        async move {
            let bytes = get_range(location, object, range.clone()).await?;
            Ok::<_, Error>((object, range.start, bytes))
        }
    });
    let read: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
    blocking::run(location.threads(), move || decode(&blocks, read, &chunks)).await?
}

/// Groups blocks, in the order of their places, into ranges to read. Together they have at most twice `most` bytes, if the
/// blocks have at most that.
fn ranges(blocks: &[Block], most: u64) -> Vec<(ObjectName, Range<u64>)> {
    let near = ranges_within(blocks, most, GAP_BYTES);
    let size_bytes = |ranges: &[(ObjectName, Range<u64>)]| -> u64 {
        ranges
            .iter()
            .map(|(_, range)| range.end - range.start)
            .sum()
    };
    // A checkpoint can be such that there is more between its blocks than in them, and all of it would be in memory.
    match size_bytes(&near) <= 2 * most {
        true => near,
        false => ranges_within(blocks, most, 0),
    }
}

/// Groups blocks that lie at most `gap` bytes apart.
fn ranges_within(blocks: &[Block], most: u64, gap: u64) -> Vec<(ObjectName, Range<u64>)> {
    let mut ranges: Vec<(ObjectName, Range<u64>)> = Vec::new();
    for block in blocks {
        let start = u64::from(block.offset);
        match ranges.last_mut() {
            Some((object, range))
                if *object == block.object
                    && start <= range.end + gap
                    && block.end().saturating_sub(range.start) <= most =>
            {
                range.end = range.end.max(block.end());
            }
            _ => ranges.push((block.object, start..block.end())),
        }
    }
    ranges
}

/// Returns the contents of chunks, given what was read of their objects: in the same order as the blocks.
fn decode(
    blocks: &[Block],
    read: Vec<(ObjectName, u64, Bytes)>,
    chunks: &[Chunk],
) -> Result<Vec<Bytes>> {
    let mut read = read.into_iter().peekable();
    let mut decoded: HashMap<Block, Bytes> = HashMap::with_capacity(blocks.len());
    for block in blocks {
        let is_before = |(object, start, bytes): &(ObjectName, u64, Bytes)| {
            *object != block.object || start + (bytes.len() as u64) < block.end()
        };
        while read.next_if(is_before).is_some() {}
        let stored = read.peek().and_then(|(_, start, bytes)| {
            let from = usize::try_from(u64::from(block.offset).checked_sub(*start)?).ok()?;
            let to = from + block.stored_bytes as usize;
            (to <= bytes.len()).then(|| bytes.slice(from..to))
        });
        let Some(stored) = stored else {
            return Err(damaged(block, Error::corrupt("a block was not read")));
        };
        let contents = codec::unpack(stored, block.codec, block.size_bytes);
        decoded.insert(*block, contents.map_err(|e| damaged(block, e))?);
    }
    let contents = chunks.iter().map(|chunk| match decoded.get(&chunk.block) {
        Some(block) => codec::chunk_of(block, chunk).map_err(|e| damaged(&chunk.block, e)),
        None => Err(damaged(
            &chunk.block,
            Error::corrupt("a block was not read"),
        )),
    });
    contents.collect()
}

fn damaged(block: &Block, error: Error) -> Error {
    let ObjectName { epoch, counter } = block.object;
    Error::corrupt(format!("data object {epoch}-{counter} is damaged")).with_source(error)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Codec;

    /// The ranges to read for a MiB of blocks of this size, so far apart.
    fn ranges_of(size_bytes: u32, gap: u32) -> Vec<Range<u64>> {
        let blocks = (0..(1 << 20) / size_bytes).map(|n| Block {
            object: ObjectName {
                epoch: 1,
                counter: 0,
            },
            offset: n * (size_bytes + gap),
            stored_bytes: size_bytes,
            size_bytes,
            codec: Codec::Raw,
        });
        let ranges = ranges(&blocks.collect::<Vec<_>>(), 1 << 20).into_iter();
        ranges.map(|(_, range)| range).collect()
    }

    #[test]
    fn what_lies_between_blocks_is_read_only_if_it_is_little() {
        assert_eq!(ranges_of(16 << 10, 0).len(), 1);
        assert_eq!(ranges_of(16 << 10, 8 << 10).len(), 2);
        assert_eq!(ranges_of(16 << 10, 128 << 10).len(), 64);
        // More than would be in memory otherwise.
        let ranges = ranges_of(1 << 10, 60 << 10);
        assert_eq!(ranges.len(), 1024);
        assert_eq!(ranges[1], 61 << 10..62 << 10);
    }
}
