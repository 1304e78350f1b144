//! A pool of buffers.

use std::sync::Arc;

use bytes::Bytes;

/// The buffers of one save. A buffer is reused once nobody holds any part of what it contained: the system zeroes fresh
/// memory, which takes longer than filling it.
///
/// The pool holds at most as many buffers as were ever in use at once.
#[derive(Debug, Default)]
pub(super) struct BufferPool(Vec<Arc<Vec<u8>>>);

impl BufferPool {
    /// Returns a buffer of this size. Its contents are arbitrary.
    pub(super) fn take(&mut self, size_bytes: usize) -> Vec<u8> {
        let is_free = |buffer: &Arc<Vec<u8>>| Arc::strong_count(buffer) == 1;
        let free = self.0.iter().position(is_free);
        let free = free.and_then(|index| Arc::into_inner(self.0.swap_remove(index)));
        match free {
            Some(buffer) if buffer.len() == size_bytes => buffer,
            // The allocator usually gets zeroed memory from the system, so this writes nothing.
            _ => vec![0; size_bytes],
        }
    }

    /// Converts a buffer to shared bytes. It returns to the pool when all of them are dropped.
    pub(super) fn share(&mut self, buffer: Vec<u8>) -> Bytes {
        let buffer = Arc::new(buffer);
        self.0.push(buffer.clone());
        Bytes::from_owner(Shared(buffer))
    }
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reused_once_nobody_holds_a_part_of_it() {
        let mut pool = BufferPool::default();
        let whole = pool.share(vec![1; 8]);
        let part = whole.slice(2..4);
        drop(whole);
        let other = pool.take(8);
        assert_eq!((&other[..], &part[..]), (&[0; 8][..], &[1; 2][..]));
        drop(part);
        assert_eq!(pool.take(8), [1; 8]);
        assert!(pool.0.is_empty());
    }
}
