//! Content-defined cutting: FastCDC (Xia et al., 2020), so that an insertion moves the cuts with the
//! contents and what follows is found again.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use fastcdc::v2020;

use crate::error::Result;
use crate::simulated::scaled;

/// Half the average: cutting skips this much of each chunk, which makes it nearly twice as fast.
const MIN_BYTES: usize = 512 << 10;

/// Large enough that a request, a hash and an index entry do not count; small enough that a change of
/// one byte costs little.
const AVERAGE_BYTES: usize = 1 << 20;

/// Where nothing in the contents asks for a cut. Several chunks are in memory at a time.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The memory that is filled before it is cut. What is left after the cuts is copied to the next one,
/// so it is several times [`MAX_BYTES`].
const SEGMENT_BYTES: usize = 16 << 20;

/// By how much the memory grows, so that a small tree takes little of it.
const STEP_BYTES: usize = 256 << 10;

/// Cuts contents that are in memory already, without a copy.
pub(crate) fn next_chunk(rest: &mut Bytes) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(length(rest)))
}

/// Cuts contents that are lent, with a copy of each chunk.
pub(crate) fn copy_next_chunk(rest: &mut &[u8]) -> Option<Bytes> {
    let (chunk, after) = rest.split_at_checked(length(rest))?;
    *rest = after;
    (!chunk.is_empty()).then(|| Bytes::copy_from_slice(chunk))
}

/// Cuts contents that arrive in parts. Where they arrive makes no difference to the cuts.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// The first `filled` bytes hold contents, the rest is zero.
    segment: BytesMut,
    filled: usize,
}

impl Cutter {
    /// Whether it must be [`cut`](Self::cut) before it takes more.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == scaled(SEGMENT_BYTES)
    }

    /// Lets `read` fill some memory, and returns what it returned. For a cutter that is not full.
    pub(crate) fn read(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        if self.filled == self.segment.len() {
            self.grow();
        }
        let room = self.segment.get_mut(self.filled..).unwrap_or_default();
        let taken = read(room)?.min(room.len());
        self.filled += taken;
        Ok(taken)
    }

    /// Takes as much of `bytes` as there is room for.
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

    /// The chunks that more bytes would not change; if there are no more, all.
    pub(crate) fn cut(&mut self, ended: bool) -> VecDeque<Bytes> {
        let mut rest = std::mem::take(&mut self.segment);
        rest.truncate(self.filled);
        let mut chunks = VecDeque::new();
        while !rest.is_empty() {
            let length = length(&rest);
            if !ended && length == rest.len() && length < scaled(MAX_BYTES) {
                break;
            }
            chunks.push_back(rest.split_to(length).freeze());
        }
        self.filled = rest.len();
        if !rest.is_empty() {
            // The chunks keep their memory alive, so what is left moves out of it.
            self.segment = BytesMut::zeroed(scaled(SEGMENT_BYTES));
            self.segment[..rest.len()].copy_from_slice(&rest);
        }
        chunks
    }

    /// The memory doubles until it is a segment. What the system gives zeroed need not be written.
    fn grow(&mut self) {
        let size = (2 * self.segment.len()).clamp(scaled(STEP_BYTES), scaled(SEGMENT_BYTES));
        let mut segment = BytesMut::zeroed(size);
        segment[..self.filled].copy_from_slice(&self.segment[..self.filled]);
        self.segment = segment;
    }
}

/// Of the first chunk; 0 only for nothing.
fn length(rest: &[u8]) -> usize {
    let [min, average, max] = [MIN_BYTES, AVERAGE_BYTES, MAX_BYTES].map(scaled);
    let cutter = v2020::FastCDC::new(rest, min, average, max);
    let (_, end) = cutter.cut(0, rest.len());
    end.max(1).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise::noise;

    #[test]
    fn chunk_boundaries_do_not_depend_on_read_sizes() {
        let contents = Bytes::from(noise(1, 40 << 20));
        let mut rest = contents.clone();
        let whole: Vec<_> = std::iter::from_fn(|| next_chunk(&mut rest)).collect();

        let mut cutter = Cutter::default();
        let mut parts = Vec::new();
        for part in contents.chunks(77_777) {
            let mut part = Bytes::copy_from_slice(part);
            while !part.is_empty() {
                cutter.take(&mut part);
                if cutter.is_full() {
                    parts.extend(cutter.cut(false));
                }
            }
        }
        parts.extend(cutter.cut(true));
        assert!(parts == whole);

        let mut rest = &contents[..];
        let copied: Vec<_> = std::iter::from_fn(|| copy_next_chunk(&mut rest)).collect();
        assert!(copied == whole);
    }
}
