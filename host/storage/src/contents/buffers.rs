//! Memory that is used again.

use std::sync::Arc;

use bytes::Bytes;

/// The buffers of one save. Each is used again once nobody holds a part of what was in it: fresh memory would take longer
/// than filling it, because the system clears it.
///
/// There are as many as were in use at once.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Arc<Vec<u8>>>);

impl Buffers {
    /// Returns a buffer of this size, which contains anything.
    pub(super) fn take(&mut self, size_bytes: usize) -> Vec<u8> {
        let free = self.0.iter().position(|lent| Arc::strong_count(lent) == 1);
        let free = free.and_then(|index| Arc::into_inner(self.0.swap_remove(index)));
        match free {
            Some(buffer) if buffer.len() == size_bytes => buffer,
            // Memory that the system has cleared already is not written.
            _ => vec![0; size_bytes],
        }
    }

    /// Returns what a buffer contains.
    pub(super) fn lend(&mut self, buffer: Vec<u8>) -> Bytes {
        let buffer = Arc::new(buffer);
        self.0.push(buffer.clone());
        Bytes::from_owner(Lent(buffer))
    }
}

struct Lent(Arc<Vec<u8>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_holds_a_part_of_it() {
        let mut buffers = Buffers::default();
        let lent = buffers.lend(vec![1; 8]);
        let part = lent.slice(2..4);
        drop(lent);
        let other = buffers.take(8);
        assert_eq!((&other[..], &part[..]), (&[0; 8][..], &[1; 2][..]));
        drop(part);
        assert_eq!(buffers.take(8), [1; 8]);
        assert!(buffers.0.is_empty());
    }
}
