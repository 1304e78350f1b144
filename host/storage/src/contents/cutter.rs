//! Content-defined chunking: FastCDC (Xia et al., 2020). An insertion moves the cuts along with the
//! contents, so the chunks after it are found again.

use bytes::{Buf, Bytes};
use fastcdc::v2020;

use super::buffers::BufferPool;
use super::sizes::{CutSizes, Sizes};
use crate::error::Result;

/// Cuts the next piece from bytes in memory, without a copy.
pub(crate) fn next_piece(rest: &mut Bytes, sizes: CutSizes) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(length(rest, sizes)))
}

/// Cuts contents that arrive in parts, and copies them. The boundaries of the parts do not affect the cuts.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    sizes: Sizes,
    /// The size of the first buffer.
    first_bytes: usize,
    /// The first `filled` bytes hold contents.
    buffer: Vec<u8>,
    filled: usize,
    /// The size of the contents before the buffer.
    position: u64,
    pool: BufferPool,
}

impl Cutter {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self::of_size(sizes, sizes.first_buffer)
    }

    /// Creates a cutter of contents of this size.
    pub(crate) fn of_size(sizes: Sizes, size_bytes: usize) -> Self {
        Self {
            sizes,
            first_bytes: size_bytes,
            ..Self::default()
        }
    }

    /// Returns whether it must be [`cut`](Self::cut) before it takes more.
    pub(crate) fn is_full(&self) -> bool {
        self.filled >= self.sizes.batch_at(self.position)
    }

    /// Lets `read` fill part of the buffer, and returns the result of `read`. The cutter must not be full.
    pub(crate) fn read(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let room = self.room();
        let taken = read(room)?.min(room.len());
        self.filled += taken;
        Ok(taken)
    }

    /// Takes as much of `bytes` as fits.
    pub(crate) fn take(&mut self, bytes: &mut impl Buf) {
        while !self.is_full() && bytes.has_remaining() {
            let room = self.room();
            let taken = room.len().min(bytes.remaining());
            bytes.copy_to_slice(&mut room[..taken]);
            self.filled += taken;
        }
    }

    /// Returns the chunks that more bytes would not change. Together they fill a buffer, except for what is copied to the
    /// next.
    pub(crate) fn cut(&mut self) -> Vec<Bytes> {
        self.cut_while(|length, rest, sizes| length < rest || length >= sizes.max)
    }

    /// Returns all chunks that are left, because the contents have ended.
    pub(crate) fn finish(&mut self) -> Vec<Bytes> {
        let chunks = self.cut_while(|_, _, _| true);
        // No buffer is needed any more.
        self.pool = BufferPool::default();
        chunks
    }

    /// Cuts chunks while `is_final(length, rest, sizes)` says that a chunk of `length` bytes, of `rest` bytes that are left,
    /// is final.
    fn cut_while(&mut self, is_final: impl Fn(usize, usize, CutSizes) -> bool) -> Vec<Bytes> {
        if self.filled == 0 {
            return Vec::new();
        }
        let mut rest = self.pool.share(std::mem::take(&mut self.buffer));
        rest.truncate(self.filled);
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let sizes = self.sizes.chunks_at(self.position);
            let length = length(&rest, sizes);
            if !is_final(length, rest.len(), sizes) {
                break;
            }
            self.position += length as u64;
            chunks.push(rest.split_to(length));
        }
        self.filled = rest.len();
        if !rest.is_empty() {
            // The chunks keep their memory alive, so move the rest out of it.
            self.buffer = self.pool.take(self.sizes.batch_at(self.position));
            self.buffer[..rest.len()].copy_from_slice(&rest);
        }
        chunks
    }

    /// Returns the part of the buffer that is not filled. The cutter must not be full.
    fn room(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            self.grow();
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Doubles the buffer, up to the size of a batch.
    fn grow(&mut self) {
        let batch = self.sizes.batch_at(self.position);
        let least = match self.position {
            0 => self.first_bytes.clamp(1, batch),
            _ => batch,
        };
        let mut buffer = self.pool.take((2 * self.filled).clamp(least, batch));
        buffer[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        self.buffer = buffer;
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
    fn a_cutter_of_contents_said_to_be_empty_takes_some() {
        let mut cutter = Cutter::of_size(Sizes::default(), 0);
        let read = cutter.read(|room| {
            room[0] = b'c';
            Ok(1)
        });
        assert_eq!(read.unwrap(), 1);
        assert_eq!(cutter.finish(), ["c"]);
    }

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
        let mut cutter = Cutter::of_size(sizes, contents.len());
        while !rest.is_empty() {
            cutter.take(&mut rest);
            copied.extend(cutter.cut());
        }
        copied.extend(cutter.finish());
        assert!(copied == whole);
    }
}
