//! Reads chunks a window at a time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(not(target_family = "wasm"))]
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStoreExt};

use super::codec;
use super::read::READS;
#[cfg(not(target_family = "wasm"))]
use crate::blocking::Threads;
use crate::error::{Error, Result};
use crate::format::{Block, Chunk, Codec, ObjectName};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How far apart blocks of one data object may lie to be read with one request. Reading that much unneeded data takes less
/// time than another request.
const GAP_BYTES: u64 = 64 << 10;

/// The number of windows in memory at once: those being read, and the one being consumed.
const MAX_WINDOWS: usize = READS + 1;

/// A pool of buffers for the windows of one stream. Without it, the threads that read would allocate buffers of many
/// sizes, and the allocator keeps some memory of each size for each thread.
///
/// Unlike a [`BufferPool`](super::buffers::BufferPool), several requests fill parts of one buffer at the same time.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowPool(Arc<Mutex<Vec<BytesMut>>>);

impl WindowPool {
    /// Returns a zeroed buffer for each range. In a component the buffers are empty, and grow if they are needed: it has one
    /// thread, and its directories return a range in one piece.
    fn buffers(&self, ranges: &[(ObjectName, Range<u64>)]) -> Vec<BytesMut> {
        if cfg!(target_family = "wasm") {
            return vec![BytesMut::new(); ranges.len()];
        }
        let mut rest = self.take(size_of_ranges(ranges) as usize);
        let sizes = ranges.iter().map(|(_, range)| range.end - range.start);
        let buffers = sizes.map(|size| rest.split_to(size as usize)).collect();
        self.recycle(rest);
        buffers
    }

    /// Returns a zeroed buffer of this size.
    fn take(&self, size_bytes: usize) -> BytesMut {
        let mut pool = self.lock();
        let is_free = |buffer: &mut BytesMut| buffer.try_reclaim(size_bytes);
        let free = pool.iter_mut().position(is_free);
        match free.map(|index| pool.swap_remove(index)) {
            Some(mut buffer) => {
                buffer.resize(size_bytes, 0);
                buffer
            }
            None => {
                // The next window may be a little larger, and should fit too.
                let mut buffer = BytesMut::zeroed(size_bytes + size_bytes / 8);
                buffer.truncate(size_bytes);
                buffer
            }
        }
    }

    /// Adds what is left of a buffer after its parts were split off. The buffer is reused once all of them are dropped.
    fn recycle(&self, rest: BytesMut) {
        let mut pool = self.lock();
        if pool.len() == MAX_WINDOWS {
            pool.remove(0);
        }
        pool.push(rest);
    }

    // A std mutex is enough, because it is never held across an await.
    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the contents of chunks are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// As one piece each.
    Chunks,
    /// Those that lie side by side in memory, as one piece.
    Long,
}

/// Splits chunks into windows, each read at once. Blocks that repeat one after the other count once.
pub(super) fn windows(chunks: &[Chunk], most: usize) -> Vec<Range<usize>> {
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
pub(super) async fn read_window(
    location: OpenLocation,
    chunks: Vec<Chunk>,
    pieces: Pieces,
    pool: WindowPool,
) -> Result<Vec<Bytes>> {
    let mut blocks: Vec<Block> = chunks.iter().map(|chunk| chunk.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let most = location.environment().sizes().read as u64;
    let ranges = ranges(&blocks, most);
    let buffers = pool.buffers(&ranges);
    let reads = ranges.into_iter().zip(buffers);
    let reads = reads.map(|((object, range), into)| {
        let location = &location;
        async move {
            let bytes = get_range(location, object, range.clone(), into).await?;
            Ok::<_, Error>((object, range.start, bytes))
        }
    });
    let read: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
    blocking::run(location.threads(), move || {
        decode(&blocks, &read, &chunks, pieces)
    })
    .await?
}

/// Groups blocks, in the order of their places, into ranges to read. Together they have at most twice `most` bytes, if the
/// blocks have at most that.
fn ranges(blocks: &[Block], most: u64) -> Vec<(ObjectName, Range<u64>)> {
    let near = ranges_within(blocks, most, GAP_BYTES);
    // In some checkpoints the gaps are larger than the blocks, and all of them would be in memory.
    match size_of_ranges(&near) <= 2 * most {
        true => near,
        false => ranges_within(blocks, most, 0),
    }
}

fn size_of_ranges(ranges: &[(ObjectName, Range<u64>)]) -> u64 {
    let sizes = ranges.iter().map(|(_, range)| range.end - range.start);
    sizes.sum()
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
    read: &[(ObjectName, u64, Bytes)],
    chunks: &[Chunk],
    pieces: Pieces,
) -> Result<Vec<Bytes>> {
    let not_read = || Error::corrupt("a block was not read");
    let mut range = 0;
    let mut decoded: HashMap<Block, Decoded> = HashMap::with_capacity(blocks.len());
    for block in blocks {
        let is_before = |(object, start, bytes): &(ObjectName, u64, Bytes)| {
            *object != block.object || start + (bytes.len() as u64) < block.end()
        };
        while read.get(range).is_some_and(is_before) {
            range += 1;
        }
        let stored = read.get(range).and_then(|(_, start, bytes)| {
            let from = usize::try_from(u64::from(block.offset).checked_sub(*start)?).ok()?;
            let to = from + block.stored_bytes as usize;
            (to <= bytes.len()).then(|| (from, bytes.slice(from..to)))
        });
        let Some((from, stored)) = stored else {
            return Err(damaged(block, not_read()));
        };
        let contents = codec::unpack(stored, block.codec, block.size_bytes);
        let contents = contents.map_err(|e| damaged(block, e))?;
        let place = (block.codec == Codec::Raw).then_some((range, from));
        decoded.insert(*block, Decoded { contents, place });
    }
    let mut joined = Vec::with_capacity(chunks.len());
    // Where the last piece lies: a range, and a part of it.
    let mut last: Option<(usize, Range<usize>)> = None;
    for chunk in chunks {
        let here = |error| damaged(&chunk.block, error);
        let block = decoded.get(&chunk.block).ok_or_else(|| here(not_read()))?;
        let contents = codec::chunk_of(&block.contents, chunk).map_err(here)?;
        let place = block.place.map(|(range, from)| {
            let start = from + chunk.start as usize;
            (range, start..start + contents.len())
        });
        match (&mut last, place) {
            (Some((range, part)), Some((same, next)))
                if pieces == Pieces::Long && *range == same && part.end == next.start =>
            {
                part.end = next.end;
                joined.pop();
                joined.push(read[same].2.slice(part.clone()));
            }
            (_, place) => {
                last = place;
                joined.push(contents);
            }
        }
    }
    Ok(joined)
}

/// A block as it was before it was stored.
struct Decoded {
    contents: Bytes,
    /// If it was stored as it is: which of the ranges it lies in, and where.
    place: Option<(usize, usize)>,
}

fn damaged(block: &Block, error: Error) -> Error {
    let ObjectName { epoch, counter } = block.object;
    Error::corrupt(format!("data object {epoch}-{counter} is damaged")).with_source(error)
}

/// Reads a range of a data object, into a buffer of its size or an empty one.
async fn get_range(
    location: &OpenLocation,
    object: ObjectName,
    range: Range<u64>,
    into: BytesMut,
) -> Result<Bytes> {
    let path = paths::object(location.prefix(), object);
    let name = path.filename().unwrap_or_default();
    let options = GetOptions {
        range: Some(GetRange::Bounded(range.clone())),
        ..GetOptions::default()
    };
    let read = async {
        let answer = location.store().get_opts(&path, options).await?;
        fill(into, range.end - range.start, answer).await
    };
    match read.await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Error::corrupt(format!("data object {name} is truncated"))),
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

/// Returns what an answer has, in a buffer of this size or an empty one. Returns `None` if the answer has another size.
async fn fill(
    into: BytesMut,
    size_bytes: u64,
    answer: GetResult,
) -> object_store::Result<Option<Bytes>> {
    if answer.range.end.saturating_sub(answer.range.start) != size_bytes {
        return Ok(None);
    }
    match answer.payload {
        #[cfg(not(target_family = "wasm"))]
        GetResultPayload::File(file, _) => fill_from_file(into, file, answer.range.start).await,
        GetResultPayload::Stream(pieces) => {
            fill_from_stream(into, size_bytes as usize, pieces).await
        }
    }
}

#[cfg(not(target_family = "wasm"))]
async fn fill_from_file(
    mut into: BytesMut,
    mut file: File,
    start: u64,
) -> object_store::Result<Option<Bytes>> {
    let read = blocking::run(Threads::default(), move || {
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut into).map(|()| into.freeze())
    });
    let failed = |source| object_store::Error::Generic {
        store: "file",
        source,
    };
    match read.await.map_err(|error| failed(error.into()))? {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

async fn fill_from_stream(
    mut into: BytesMut,
    size_bytes: usize,
    mut pieces: BoxStream<'static, object_store::Result<Bytes>>,
) -> object_store::Result<Option<Bytes>> {
    let mut next = pieces.try_next().await?;
    // A piece keeps its memory alive, so it is copied where there is a buffer for it.
    if into.is_empty()
        && let Some(piece) = next.take_if(|piece| piece.len() == size_bytes)
    {
        // A client may return empty pieces too.
        while let Some(more) = pieces.try_next().await? {
            if !more.is_empty() {
                return Ok(None);
            }
        }
        return Ok(Some(piece));
    }
    into.resize(size_bytes, 0);
    let mut rest = &mut into[..];
    while let Some(piece) = next {
        let Some((room, after)) = rest.split_at_mut_checked(piece.len()) else {
            return Ok(None);
        };
        room.copy_from_slice(&piece);
        rest = after;
        next = pieces.try_next().await?;
    }
    let filled = rest.is_empty();
    Ok(filled.then(|| into.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise::noise;

    /// Returns the ranges to read for 1 MiB of blocks of this size, `gap` bytes apart.
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

    /// Stores each of these as a chunk of its own, in one data object.
    fn stored(contents: &[Bytes]) -> (Bytes, Vec<Chunk>) {
        let (mut object, mut chunks) = (Vec::new(), Vec::new());
        for contents in contents {
            let hash = blake3::hash(contents).into();
            for packed in codec::pack(&[(contents.clone(), hash)]) {
                let size_bytes = packed.size_bytes;
                let block = Block {
                    object: ObjectName {
                        epoch: 1,
                        counter: 0,
                    },
                    offset: object.len() as u32,
                    stored_bytes: packed.stored.len() as u32,
                    size_bytes,
                    codec: packed.codec,
                };
                object.extend_from_slice(&packed.stored);
                chunks.push(Chunk {
                    block,
                    start: 0,
                    size_bytes,
                    hash,
                });
            }
        }
        (object.into(), chunks)
    }

    #[test]
    fn long_pieces_are_the_chunks_that_lie_side_by_side() {
        let text = Bytes::from("all work and no play ".repeat(1000));
        let [a, b, c] = [1, 2, 3].map(|seed| Bytes::from(noise(seed, 20_000)));
        let (object, chunks) = stored(&[a.clone(), b.clone(), text.clone(), c.clone()]);
        let blocks: Vec<Block> = chunks.iter().map(|chunk| chunk.block).collect();
        assert_eq!(blocks[2].codec, Codec::Lz4);
        // Two ranges, as if something lay between the first blocks.
        let (first, rest) = (blocks[0].end(), object.len() as u64);
        let read = [(0, first), (first, rest)].map(|(start, end)| {
            (
                blocks[0].object,
                start,
                object.slice(start as usize..end as usize),
            )
        });
        let whole = [(blocks[0].object, 0, object.clone())];
        // The last two are in one object, with others between.
        let wanted = [0, 1, 2, 3, 1, 0, 1, 0, 3].map(|n| chunks[n]);
        let each = [&a, &b, &text, &c, &b, &a, &b, &a, &c].map(Bytes::clone);
        let joined = Bytes::from([&a[..], &b].concat());
        for (read, pieces, expected) in [
            (&whole[..], Pieces::Chunks, &each[..]),
            (&read, Pieces::Long, &each),
            (
                &whole,
                Pieces::Long,
                &[joined.clone(), text, c.clone(), b, joined, a, c],
            ),
        ] {
            let decoded = decode(&blocks, read, &wanted, pieces).unwrap();
            assert!(decoded == expected, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_whole_however_it_is_cut() {
        let answers: [(&[&'static [u8]], bool); 8] = [
            (&[b"ab"], true),
            (&[b"ab", b""], true),
            (&[b"", b"ab"], true),
            (&[b"a", b"", b"b"], true),
            (&[b"ab", b"c"], false),
            (&[b"abc"], false),
            (&[b"a"], false),
            (&[], false),
        ];
        for (pieces, is_whole) in answers {
            // Of a host with threads, and of a component.
            for into in [BytesMut::zeroed(2), BytesMut::new()] {
                let answer: Vec<_> = pieces.iter().map(|p| Ok(Bytes::from_static(p))).collect();
                let filled = fill_from_stream(into, 2, stream::iter(answer).boxed()).await;
                let expected = is_whole.then_some(Bytes::from_static(b"ab"));
                assert_eq!(filled.unwrap(), expected, "{pieces:?}");
            }
        }
    }

    #[test]
    fn only_small_gaps_between_blocks_are_read() {
        assert_eq!(ranges_of(16 << 10, 0).len(), 1);
        assert_eq!(ranges_of(16 << 10, 8 << 10).len(), 2);
        assert_eq!(ranges_of(16 << 10, 128 << 10).len(), 64);
        // Reading these gaps, too, would take 61 times the memory of the blocks.
        let ranges = ranges_of(1 << 10, 60 << 10);
        assert_eq!(ranges.len(), 1024);
        assert_eq!(ranges[1], 61 << 10..62 << 10);
    }
}
