//! The sizes by which contents are cut, packed and read.

/// How contents are cut, packed and read. Every size is in bytes.
///
/// This is a value rather than constants, because tests scale all sizes down together: a few KiB
/// then make as many chunks and data objects as a few MiB do in production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Contents up to this size are stored in the commit, so that a small save takes one request.
    /// Larger ones would make the log slow to read.
    pub(crate) inline: usize,
    /// How the contents are cut, as far as they are shorter than `coarser_after`.
    pub(crate) chunks: CutSizes,
    /// From here on, chunks are twice as long; after 32 times as much, eight times, and after 128 times as much, 32
    /// times. The list of the chunks is in memory during a save, so it must not grow in proportion to the contents; and
    /// what a change costs matters most where the contents are small.
    pub(crate) coarser_after: u64,
    /// How many bytes of chunks are compressed together, if that many follow one another. A longer block takes longer to
    /// read for the sake of one chunk; a shorter one compresses worse.
    pub(crate) block: usize,
    /// How many bytes of chunks one thread takes at a time, unless the chunks are too large for that.
    pub(crate) batch: usize,
    /// How descriptions are cut. What changes in a description is a few numbers, so nodes are short.
    pub(crate) nodes: CutSizes,
    /// A description up to this size, or a list of nodes, is part of the commit. Together with the contents that are part
    /// of it, a commit stays small.
    pub(crate) root: usize,
    /// The size of the first buffer for contents of unknown size. It doubles up to the size of a batch, so that a small
    /// tree takes little memory.
    pub(crate) first_buffer: usize,
    /// A full data object: large enough that the latency of a request is negligible, small enough
    /// that several in flight take little memory.
    pub(crate) object: usize,
    /// The most that one request reads, and that the chunks of one window have, unless a single block is larger. With the gaps
    /// between its blocks, a window has up to twice as much. It is half a data object, so that the windows of a restore take
    /// little memory.
    pub(crate) read: usize,
    /// How many records the first page of a list has at the most. S3 and its like return as many names for a request.
    pub(crate) page: usize,
}

/// How bytes are cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutSizes {
    /// The smallest piece: half the average. The cutter skips this much of each piece, which makes
    /// it nearly twice as fast.
    pub(crate) min: usize,
    /// The average piece. A changed byte costs one piece, and each piece costs an entry of about 50 bytes in the list of
    /// pieces.
    pub(crate) average: usize,
    /// The largest piece, where the bytes suggest no cut.
    pub(crate) max: usize,
}

impl CutSizes {
    const fn around(average: usize) -> Self {
        Self {
            min: average / 2,
            average,
            max: 4 * average,
        }
    }

    fn times(self, factor: usize) -> Self {
        Self {
            min: self.min * factor,
            average: self.average * factor,
            max: self.max * factor,
        }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            inline: 64 << 10,
            chunks: CutSizes::around(16 << 10),
            coarser_after: 128 << 20,
            block: 128 << 10,
            batch: 1 << 20,
            nodes: CutSizes::around(2 << 10),
            root: 8 << 10,
            first_buffer: 256 << 10,
            object: 16 << 20,
            read: 8 << 20,
            page: 1000,
        }
    }
}

impl Sizes {
    /// Returns how to cut the contents at this position.
    pub(crate) fn chunks_at(&self, position: u64) -> CutSizes {
        let factor = match position / self.coarser_after {
            0 => 1,
            1..32 => 2,
            32..128 => 8,
            _ => 32,
        };
        self.chunks.times(factor)
    }

    /// Returns how many bytes to cut at once, at this position of the contents. What is left after the cuts is copied to
    /// the next buffer, so it is several times the largest chunk.
    pub(crate) fn batch_at(&self, position: u64) -> usize {
        self.batch.max(4 * self.chunks_at(position).max)
    }
}

#[cfg(test)]
impl Sizes {
    /// Returns sizes by which a few KiB make as many chunks, nodes and data objects as a few MiB do otherwise. The cutter
    /// permits no smaller ones.
    pub(crate) fn small() -> Self {
        Self {
            inline: 256,
            chunks: CutSizes::around(2 << 10),
            coarser_after: 48 << 10,
            block: 8 << 10,
            batch: 8 << 10,
            nodes: CutSizes::around(256),
            root: 256,
            first_buffer: 1 << 10,
            object: 64 << 10,
            read: 32 << 10,
            page: 3,
        }
    }
}
