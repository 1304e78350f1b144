//! Data objects and the chunks in them.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{CborLen, Decode, Decoder, Encode, Encoder};

use super::pack::MAX_OBJECT_BYTES;
use crate::error::{Error, Result};

/// The longest chunk, and the longest block, before and after compression. A reader holds several of them at a time.
pub(crate) const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// How many times the size of the chunks their blocks may have together. Decompressing the block of each chunk
/// therefore takes time in proportion to the contents, even if a record was forged.
const MAX_BLOCK_RATIO: u64 = 16;

/// The name of a data object; never reused within a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName {
    pub(crate) epoch: u64,
    pub(crate) counter: u64,
}

/// A data object that a commit refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub(crate) struct ObjectRef {
    #[n(0)]
    pub(crate) epoch: u64,
    #[n(1)]
    pub(crate) counter: u64,
    #[n(2)]
    pub(crate) size_bytes: u64,
}

/// A piece of the contents, or of a checkpoint's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chunk {
    /// Where it is stored.
    pub(crate) block: Block,
    /// Where it begins in the uncompressed block.
    pub(crate) start: u32,
    pub(crate) size_bytes: u32,
    /// BLAKE3 of the chunk.
    pub(crate) hash: [u8; 32],
}

/// A range of a data object. It holds one chunk as it is, or several that are compressed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Block {
    pub(crate) object: ObjectName,
    pub(crate) offset: u32,
    /// Its size in the object.
    pub(crate) stored_bytes: u32,
    /// Its uncompressed size.
    pub(crate) size_bytes: u32,
    pub(crate) codec: Codec,
}

/// How a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Codec {
    /// Uncompressed. The block is one chunk.
    Raw,
    /// As one LZ4 block.
    Lz4,
}

impl ObjectRef {
    pub(crate) fn name(&self) -> ObjectName {
        ObjectName {
            epoch: self.epoch,
            counter: self.counter,
        }
    }
}

impl Block {
    /// Returns where it ends in its object.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.stored_bytes)
    }
}

/// The sum of the sizes of chunks.
pub(crate) fn size_of(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|c| u64::from(c.size_bytes)).sum()
}

/// The items of a chunk that is stored as it is: the name of its object, its offset there, its size and its hash.
const RAW_ITEMS: u64 = 5;
/// The items of a chunk in a compressed block: the name of its object; the block's offset, stored size and
/// uncompressed size; the chunk's offset in the block, its size and its hash.
const LZ4_ITEMS: u64 = 8;

impl Chunk {
    /// Returns its share of what its block takes in the data object.
    pub(crate) fn live_bytes(&self) -> u64 {
        let share = u64::from(self.block.stored_bytes) * u64::from(self.size_bytes);
        share.div_ceil(u64::from(self.block.size_bytes).max(1))
    }

    /// Returns the numbers before the hash.
    fn numbers(&self) -> ([u64; 7], usize) {
        let Block {
            object,
            offset,
            stored_bytes,
            size_bytes,
            codec,
        } = self.block;
        let (epoch, counter) = (object.epoch, object.counter);
        let own = u64::from(self.size_bytes);
        let [offset, stored_bytes, block_bytes, start] =
            [offset, stored_bytes, size_bytes, self.start].map(u64::from);
        match codec {
            Codec::Raw => ([epoch, counter, offset, own, 0, 0, 0], 4),
            Codec::Lz4 => {
                let numbers = [
                    epoch,
                    counter,
                    offset,
                    stored_bytes,
                    block_bytes,
                    start,
                    own,
                ];
                (numbers, 7)
            }
        }
    }
}

impl<C> Encode<C> for Chunk {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let (numbers, count) = self.numbers();
        e.array(count as u64 + 1)?;
        for number in numbers.iter().take(count) {
            e.u64(*number)?;
        }
        e.bytes(&self.hash)?.ok()
    }
}

impl<C> CborLen<C> for Chunk {
    fn cbor_len(&self, context: &mut C) -> usize {
        let (numbers, count) = self.numbers();
        let numbers = numbers.iter().take(count);
        let numbers: usize = numbers.map(|number| number.cbor_len(context)).sum();
        // The head of an array of fewer than 24 items has one byte, that of 32 bytes has two.
        1 + numbers + 2 + self.hash.len()
    }
}

impl<'b, C> Decode<'b, C> for Chunk {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let items = d.array()?;
        let object = ObjectName {
            epoch: d.u64()?,
            counter: d.u64()?,
        };
        let offset = d.u32()?;
        let block = |stored_bytes, size_bytes, codec| Block {
            object,
            offset,
            stored_bytes,
            size_bytes,
            codec,
        };
        let (block, start, size_bytes) = match items {
            Some(RAW_ITEMS) => {
                let size_bytes = d.u32()?;
                (block(size_bytes, size_bytes, Codec::Raw), 0, size_bytes)
            }
            Some(LZ4_ITEMS) => {
                let block = block(d.u32()?, d.u32()?, Codec::Lz4);
                (block, d.u32()?, d.u32()?)
            }
            _ => return Err(DecodeError::message("a chunk of an unknown form")),
        };
        let hash = <[u8; 32]>::try_from(d.bytes()?)
            .map_err(|_| DecodeError::message("a hash that has not 32 bytes"))?;
        Ok(Self {
            block,
            start,
            size_bytes,
            hash,
        })
    }
}

/// The data objects that a commit refers to, by name.
pub(crate) type Objects = BTreeMap<ObjectName, u64>;

/// Checks the data objects that a commit of this epoch refers to.
pub(super) fn check_objects(epoch: u64, objects: &[ObjectRef]) -> Result<Objects> {
    let mut sizes = Objects::new();
    for object in objects {
        // Otherwise a forged commit could make a later attempt overwrite what the commit refers to.
        if object.epoch > epoch {
            return Err(Error::corrupt(
                "the commit refers to a data object of a newer epoch",
            ));
        }
        if object.size_bytes > MAX_OBJECT_BYTES {
            return Err(Error::corrupt(
                "the commit refers to a data object that is too large",
            ));
        }
        if sizes.insert(object.name(), object.size_bytes).is_some() {
            return Err(Error::corrupt("the commit lists a data object twice"));
        }
    }
    if !objects.is_sorted_by_key(ObjectRef::name) {
        return Err(Error::corrupt(
            "the data objects of the commit are not in order",
        ));
    }
    Ok(sizes)
}

/// Checks chunks that lie in these data objects, except that blocks do not overlap.
pub(crate) fn check_chunks(objects: &Objects, chunks: &[Chunk]) -> Result<()> {
    let mut block_bytes: u64 = 0;
    for chunk in chunks {
        let Chunk {
            block,
            start,
            size_bytes,
            hash: _,
        } = *chunk;
        let is_inside = objects
            .get(&block.object)
            .is_some_and(|object_bytes| block.end() <= *object_bytes);
        let is_stored = match block.codec {
            Codec::Raw => true,
            // A block is never empty, and stores refuse empty ranges.
            Codec::Lz4 => (1..block.size_bytes).contains(&block.stored_bytes),
        };
        let is_in_block = u64::from(start) + u64::from(size_bytes) <= block.size_bytes.into();
        let is_size_valid = size_bytes > 0 && block.size_bytes <= MAX_CHUNK_BYTES;
        if !(is_inside && is_stored && is_in_block && is_size_valid) {
            return Err(Error::corrupt("the commit has an invalid chunk"));
        }
        block_bytes += u64::from(block.size_bytes);
    }
    match block_bytes > MAX_BLOCK_RATIO * size_of(chunks) + u64::from(MAX_CHUNK_BYTES) {
        true => Err(Error::corrupt(
            "the chunks of the commit are much smaller than their blocks",
        )),
        false => Ok(()),
    }
}

/// Checks that the data objects which a commit lists are those that its chunks lie in.
pub(super) fn check_used<'a>(
    objects: &Objects,
    chunks: impl Iterator<Item = &'a Chunk>,
) -> Result<()> {
    let used: BTreeSet<_> = chunks.map(|chunk| chunk.block.object).collect();
    match used.len() == objects.len() {
        true => Ok(()),
        false => Err(Error::corrupt(
            "the commit lists a data object that no chunk is in",
        )),
    }
}

/// Returns the distinct blocks of chunks, in the order in which they lie in the objects. Together they are no longer
/// than the objects, however often the contents repeat them.
///
/// # Errors
/// `Corrupt` if blocks overlap. No writer makes such blocks, and reading each would take any number of times as long
/// as reading the objects.
pub(crate) fn blocks<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = chunks.into_iter().map(|chunk| chunk.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let overlap = |pair: &[Block]| match pair {
        [a, b] => a.object == b.object && a.end() > b.offset.into(),
        _ => false,
    };
    match blocks.windows(2).any(overlap) {
        true => Err(Error::corrupt("the commit has blocks that overlap")),
        false => Ok(blocks),
    }
}
