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
    /// The smallest chunk: half the average. The cutter skips this much of each chunk, which makes
    /// it nearly twice as fast.
    pub(crate) min_chunk: usize,
    /// The average chunk: large enough that a request, a hash and an index entry are cheap by
    /// comparison; small enough that changing one byte is cheap.
    pub(crate) average_chunk: usize,
    /// The largest chunk, where the contents suggest no cut. Several chunks are in memory at a
    /// time.
    pub(crate) max_chunk: usize,
    /// The memory to fill before cutting. What is left after the cuts is copied to the next
    /// segment, so it is several times `max_chunk`.
    pub(crate) segment: usize,
    /// The first size of a segment, which doubles until it is whole, so that a small tree takes
    /// little memory.
    pub(crate) first_segment: usize,
    /// A full data object: large enough that the latency of a request is negligible, small enough
    /// that several in flight take little memory.
    pub(crate) object: usize,
    /// The most that one read fetches, before and after decompression. It is half a data object, so
    /// that a restore takes no more memory than a save.
    pub(crate) read: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            inline: 64 << 10,
            min_chunk: 512 << 10,
            average_chunk: 1 << 20,
            max_chunk: 4 << 20,
            segment: 16 << 20,
            first_segment: 256 << 10,
            object: 16 << 20,
            read: 8 << 20,
        }
    }
}

#[cfg(test)]
impl Sizes {
    /// Returns all sizes divided by 256; the cutter permits no smaller chunks.
    pub(crate) fn small() -> Self {
        const SCALE: usize = 256;
        let Self {
            inline,
            min_chunk,
            average_chunk,
            max_chunk,
            segment,
            first_segment,
            object,
            read,
        } = Self::default();
        Self {
            inline: inline / SCALE,
            min_chunk: min_chunk / SCALE,
            average_chunk: average_chunk / SCALE,
            max_chunk: max_chunk / SCALE,
            segment: segment / SCALE,
            first_segment: first_segment / SCALE,
            object: object / SCALE,
            read: read / SCALE,
        }
    }
}
