//! Reads each data object once, and checks everything that the checkpoints say about it.

use std::collections::HashMap;

use bytes::Bytes;
use object_store::ObjectStoreExt;

use crate::checkpoint::Checkpoint;
use crate::contents::codec;
use crate::contents::read::collect;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Block, Chunk, Codec, ObjectName, pack};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// The chunks that checkpoints refer to, by the data object that holds them.
#[derive(Debug, Default)]
pub(super) struct Uses(HashMap<ObjectName, Vec<Use>>);

/// A reference to a chunk.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// The sequence number of the checkpoint.
    by: u64,
    chunk: Chunk,
}

/// What was found out about a data object.
#[derive(Debug)]
pub(super) enum Examined {
    /// Its bytes are whole. These checkpoints misstate some of its chunks.
    Whole(Vec<(u64, Error)>),
    /// It is damaged, and these checkpoints refer to it.
    Damaged(Error, Vec<u64>),
}

/// The checkpoints whose description cannot be read, and why.
pub(super) type Undescribed = Vec<(u64, Error)>;

impl Uses {
    /// Collects the distinct chunks of each checkpoint, and of its description as far as it can be read.
    pub(super) async fn of(checkpoints: &[Checkpoint]) -> Result<(Self, Undescribed)> {
        let mut uses: HashMap<_, Vec<Use>> = HashMap::new();
        let mut undescribed = Vec::new();
        for checkpoint in checkpoints {
            let by = checkpoint.sequence;
            let mut chunks = Vec::new();
            match checkpoint.load(&mut chunks).await {
                Ok(description) => chunks.extend_from_slice(description.contents.chunks()),
                Err(error) if error.kind() == ErrorKind::Corrupt => undescribed.push((by, error)),
                Err(error) => return Err(error),
            }
            chunks.sort_unstable_by_key(place);
            chunks.dedup();
            for chunk in chunks {
                let uses = uses.entry(chunk.block.object).or_default();
                uses.push(Use { by, chunk });
            }
        }
        Ok((Self(uses), undescribed))
    }

    /// Reads a data object, which was listed with this size.
    pub(super) async fn examine(
        &mut self,
        location: &OpenLocation,
        name: ObjectName,
        size_bytes: u64,
    ) -> Result<Examined> {
        let uses = self.0.remove(&name).unwrap_or_default();
        let object = match read(location, name, size_bytes).await {
            Ok(object) => object,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Ok(Examined::Damaged(error, users(&uses)));
            }
            Err(error) => return Err(error),
        };
        blocking::run(location.threads(), move || match pack::verify(&object) {
            Ok(stored) => Examined::Whole(misstated(&object, &stored, uses)),
            Err(error) => Examined::Damaged(error, users(&uses)),
        })
        .await
    }
}

/// Returns the checkpoints that refer to an object, in the order in which they were collected.
fn users(uses: &[Use]) -> Vec<u64> {
    let mut users: Vec<u64> = uses.iter().map(|u| u.by).collect();
    users.dedup();
    users
}

async fn read(location: &OpenLocation, name: ObjectName, size_bytes: u64) -> Result<Bytes> {
    let too_long = || Error::corrupt("longer than the maximum size of a data object");
    if size_bytes > pack::MAX_OBJECT_BYTES {
        return Err(too_long());
    }
    let path = paths::object(location.prefix(), name);
    let failed = |e| location.error("cannot read a data object", e);
    let answer = match location.store().get(&path).await {
        Ok(answer) => answer,
        Err(object_store::Error::NotFound { .. }) => return Err(Error::corrupt("missing")),
        Err(error) => return Err(failed(error)),
    };
    let object = collect(answer, pack::MAX_OBJECT_BYTES).await;
    object.map_err(failed)?.ok_or_else(too_long)
}

/// Returns the checkpoints that misstate chunks of an object which holds these, and a reason for each.
///
/// Decodes each stored block at most once for each way to state it rightly, and once more for each checkpoint that
/// states it wrongly. References that cut across the stored chunks cost nothing: they are wrong.
fn misstated(
    object: &Bytes,
    stored: &[pack::StoredChunk],
    mut uses: Vec<Use>,
) -> Vec<(u64, Error)> {
    // References to the same chunk follow one another, and so do those to the same block.
    uses.sort_unstable_by_key(|Use { by, chunk }| (place(chunk), *by));
    let mut starts = starts(stored).peekable();
    let mut found: HashMap<u64, Error> = HashMap::new();
    let mut right: Option<Chunk> = None;
    let mut decoded: Option<(Block, Bytes)> = None;
    for Use { by, chunk } in uses {
        if right == Some(chunk) || found.contains_key(&by) {
            continue;
        }
        let block = chunk.block;
        let offset = u64::from(block.offset);
        while starts.next_if(|(start, _)| *start < offset).is_some() {}
        let listed = starts
            .peek()
            .filter(|(start, stored)| *start == offset && stored.bytes == block.stored_bytes);
        let checked = match (listed, &decoded) {
            (None, _) => Err(Error::corrupt("it does not list a block of a commit")),
            // Its index was checked.
            (Some((_, stored)), _) if block.codec == Codec::Raw => {
                match stored.hash == chunk.hash {
                    true => Ok(()),
                    false => Err(Error::corrupt("a chunk that does not match its hash")),
                }
            }
            (Some(_), Some((last, contents))) if *last == block => {
                codec::chunk_of(contents, &chunk).map(drop)
            }
            (Some(_), _) => decode(object, &block).and_then(|contents| {
                let checked = codec::chunk_of(&contents, &chunk).map(drop);
                decoded = Some((block, contents));
                checked
            }),
        };
        match checked {
            Ok(()) => right = Some(chunk),
            Err(error) => drop(found.insert(by, error)),
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|(by, _)| *by);
    found
}

/// Returns where the chunks of an object start, without empty ones, to which no commit refers.
fn starts(stored: &[pack::StoredChunk]) -> impl Iterator<Item = (u64, pack::StoredChunk)> + '_ {
    let starts = stored.iter().scan(0, |end: &mut u64, chunk| {
        let start = *end;
        *end = end.saturating_add(chunk.bytes.into());
        Some((start, *chunk))
    });
    starts.filter(|(_, chunk)| chunk.bytes > 0)
}

fn decode(object: &Bytes, block: &Block) -> Result<Bytes> {
    let place = usize::try_from(block.offset)
        .ok()
        .zip(usize::try_from(block.end()).ok());
    let Some((start, end)) = place.filter(|(_, end)| *end <= object.len()) else {
        return Err(Error::corrupt("a block beyond the end"));
    };
    codec::unpack(object.slice(start..end), block.codec, block.size_bytes)
}

/// Where a chunk is, and what it says of itself.
fn place(chunk: &Chunk) -> (Block, u32, u32, [u8; 32]) {
    (chunk.block, chunk.start, chunk.size_bytes, chunk.hash)
}
