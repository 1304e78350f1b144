//! Content-defined cutting: FastCDC (Xia et al., 2020), so that an insertion moves the cuts with the
//! contents and what follows is found again.

use bytes::{Bytes, BytesMut};
use fastcdc::v2020;

/// Half the average: cutting skips this much of each chunk, which makes it nearly twice as fast.
const MIN_BYTES: usize = 512 << 10;

/// Large enough that a request, a hash and an index entry do not count; small enough that a change of
/// one byte costs little.
const AVERAGE_BYTES: usize = 1 << 20;

/// Where nothing in the contents asks for a cut. Several chunks are in memory at a time.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The memory that is filled before cutting. What is left after the cuts is copied to the next one,
/// so it is several times [`MAX_BYTES`].
const SEGMENT_BYTES: usize = 16 << 20;

/// Cuts contents that are in memory already, without a copy.
pub(crate) fn next_chunk(rest: &mut Bytes) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(length(rest)))
}

/// Cuts contents that arrive in parts.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    segment: BytesMut,
}

impl Cutter {
    /// Takes some of `bytes`, at least one.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        if self.segment.capacity() - self.segment.len() == 0 {
            let mut next = BytesMut::with_capacity(SEGMENT_BYTES);
            next.extend_from_slice(&self.segment);
            self.segment = next;
        }
        let room = self.segment.capacity() - self.segment.len();
        let taken = bytes.len().min(room);
        self.segment.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next chunk that more bytes would not change, once the memory is full.
    pub(crate) fn full_chunk(&mut self) -> Option<Bytes> {
        let full = self.segment.capacity() == self.segment.len();
        (full && self.segment.len() >= MAX_BYTES).then(|| self.cut())
    }

    /// The next chunk when there are no more bytes.
    pub(crate) fn last_chunk(&mut self) -> Option<Bytes> {
        (!self.segment.is_empty()).then(|| self.cut())
    }

    fn cut(&mut self) -> Bytes {
        let length = length(&self.segment);
        self.segment.split_to(length).freeze()
    }
}

fn length(rest: &[u8]) -> usize {
    let cutter = v2020::FastCDC::new(rest, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES);
    // The answer is a position, and 0 only for nothing.
    let (_, end) = cutter.cut(0, rest.len());
    end.clamp(1, rest.len())
}
