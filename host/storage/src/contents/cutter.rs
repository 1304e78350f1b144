//! Content-defined chunking: FastCDC (Xia et al., 2020). An insertion moves the cuts along with the
//! contents, so the chunks after it are found again.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use fastcdc::v2020;

use super::sizes::{CutSizes, Sizes};
use crate::error::Result;

/// Cuts the next piece from bytes in memory, without a copy.
pub(crate) fn next_piece(rest: &mut Bytes, sizes: CutSizes) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(length(rest, sizes)))
}

/// The most buffers that are kept. Fewer are in use at once, unless something holds a piece for long.
const MAX_BUFFERS: usize = 128;

/// Cuts borrowed bytes, and copies the pieces.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    /// What held copies, the oldest first. Most of it is free again after a few objects. Fresh memory would take longer
    /// than copying, because the system clears it.
    buffers: VecDeque<BytesMut>,
    /// The size of each.
    buffer_bytes: usize,
}

impl Copier {
    /// Returns the next pieces, as many as a thread takes at a time. The bytes begin at `position` of the contents.
    pub(crate) fn next_batch(
        &mut self,
        rest: &mut &[u8],
        position: u64,
        sizes: &Sizes,
    ) -> VecDeque<Bytes> {
        let (mut lengths, mut taken) = (Vec::new(), 0);
        while let Some(next) = rest.get(taken..).filter(|next| !next.is_empty())
            && taken < sizes.batch
        {
            let length = length(next, sizes.chunks_at(position + taken as u64));
            lengths.push(length);
            taken += length;
        }
        let longest = sizes.batch + sizes.chunks_at(position + sizes.batch as u64).max;
        let mut copy = self.buffer(longest, rest.len());
        let (batch, after) = rest.split_at(taken.min(rest.len()));
        *rest = after;
        copy.extend_from_slice(batch);
        let pieces = lengths.into_iter();
        let pieces = pieces.map(|length| copy.split_to(length).freeze());
        let pieces = pieces.collect();
        self.buffers.push_back(copy);
        pieces
    }

    /// Returns an empty buffer for a batch of what is left, which has at most `longest` bytes.
    fn buffer(&mut self, longest: usize, left: usize) -> BytesMut {
        if self.buffer_bytes != longest {
            self.buffers.clear();
            self.buffer_bytes = longest;
        }
        let bytes = longest.min(left);
        let free = |oldest: &mut BytesMut| oldest.try_reclaim(bytes);
        if let Some(free) = self.buffers.pop_front_if(free) {
            return free;
        }
        if self.buffers.len() >= MAX_BUFFERS {
            self.buffers.pop_front();
        }
        BytesMut::with_capacity(bytes)
    }
}

/// Cuts contents that arrive in parts. The boundaries of the parts do not affect the cuts.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    sizes: Sizes,
    /// The first `filled` bytes hold contents; the rest is zero.
    segment: BytesMut,
    filled: usize,
    /// The size of the contents before the segment.
    position: u64,
}

impl Cutter {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            segment: BytesMut::new(),
            filled: 0,
            position: 0,
        }
    }

    /// Returns whether it must be [`cut`](Self::cut) before it takes more.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.sizes.segment
    }

    /// Lets `read` fill part of the segment, and returns the result of `read`. The cutter must not
    /// be full.
    pub(crate) fn read(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        if self.filled == self.segment.len() {
            self.grow();
        }
        let room = self.segment.get_mut(self.filled..).unwrap_or_default();
        let taken = read(room)?.min(room.len());
        self.filled += taken;
        Ok(taken)
    }

    /// Takes as much of `bytes` as fits.
    pub(crate) fn take(&mut self, bytes: &mut Bytes) {
        while !self.is_full() && !bytes.is_empty() {
            if self.filled == self.segment.len() {
                self.grow();
            }
            let room = self.segment.get_mut(self.filled..).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            bytes.copy_to_slice(&mut room[..taken]);
            self.filled += taken;
        }
    }

    /// Returns the chunks that more bytes would not change.
    pub(crate) fn cut(&mut self) -> VecDeque<Bytes> {
        self.cut_while(|length, rest, sizes| length < rest || length >= sizes.max)
    }

    /// Returns all chunks that are left, because the contents have ended.
    pub(crate) fn finish(&mut self) -> VecDeque<Bytes> {
        self.cut_while(|_, _, _| true)
    }

    /// Cuts chunks for as long as a chunk of this length, of so many bytes that are left, is final.
    fn cut_while(&mut self, is_final: impl Fn(usize, usize, CutSizes) -> bool) -> VecDeque<Bytes> {
        let mut rest = std::mem::take(&mut self.segment);
        rest.truncate(self.filled);
        let mut chunks = VecDeque::new();
        while !rest.is_empty() {
            let sizes = self.sizes.chunks_at(self.position);
            let length = length(&rest, sizes);
            if !is_final(length, rest.len(), sizes) {
                break;
            }
            self.position += length as u64;
            chunks.push_back(rest.split_to(length).freeze());
        }
        self.filled = rest.len();
        if !rest.is_empty() {
            // The chunks keep their memory alive, so move the rest out of it.
            self.segment = BytesMut::zeroed(self.sizes.segment);
            self.segment[..rest.len()].copy_from_slice(&rest);
        }
        chunks
    }

    /// Doubles the memory until it is a whole segment. Memory that the system provides zeroed need
    /// not be written.
    fn grow(&mut self) {
        let size = (2 * self.segment.len()).clamp(self.sizes.first_segment, self.sizes.segment);
        let mut segment = BytesMut::zeroed(size);
        segment[..self.filled].copy_from_slice(&self.segment[..self.filled]);
        self.segment = segment;
    }
}

/// Returns the length of the first chunk; 0 only if `rest` is empty.
fn length(rest: &[u8], sizes: CutSizes) -> usize {
    let cutter = v2020::FastCDC::new(rest, sizes.min, sizes.average, sizes.max);
    let (_, end) = cutter.cut(0, rest.len());
    end.max(1).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise::noise;

    #[test]
    fn chunk_boundaries_do_not_depend_on_read_sizes() {
        let sizes = Sizes {
            coarser_after: 5 << 20,
            ..Sizes::default()
        };
        let contents = Bytes::from(noise(1, 40 << 20));
        let mut rest = contents.clone();
        let mut position = 0;
        let whole: Vec<_> = std::iter::from_fn(|| {
            let chunk = next_piece(&mut rest, sizes.chunks_at(position))?;
            position += chunk.len() as u64;
            Some(chunk)
        })
        .collect();
        assert!(whole.iter().any(|chunk| chunk.len() > sizes.chunks.max));

        let mut cutter = Cutter::new(sizes);
        let mut parts = Vec::new();
        for part in contents.chunks(77_777) {
            let mut part = Bytes::copy_from_slice(part);
            while !part.is_empty() {
                cutter.take(&mut part);
                if cutter.is_full() {
                    parts.extend(cutter.cut());
                }
            }
        }
        parts.extend(cutter.finish());
        assert!(parts == whole);

        let (mut rest, mut copied) = (&contents[..], Vec::new());
        let mut copier = Copier::default();
        while !rest.is_empty() {
            let position = contents.len() - rest.len();
            copied.extend(copier.next_batch(&mut rest, position as u64, &sizes));
        }
        assert!(copied == whole);
    }

    #[test]
    fn the_memory_of_a_copy_is_used_again_once_nobody_needs_the_copy() {
        let sizes = Sizes::small();
        let contents = noise(2, 256 << 10);
        let (mut rest, mut copier) = (&contents[..], Copier::default());
        while !rest.is_empty() {
            let position = contents.len() - rest.len();
            let pieces = copier.next_batch(&mut rest, position as u64, &sizes);
            let copied = Vec::from(pieces).concat();
            assert!(contents[position..].starts_with(&copied));
        }
        assert_eq!(copier.buffers.len(), 1);
    }
}
