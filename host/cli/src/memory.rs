//! Limits the memory of a guest.

use wasmtime::ResourceLimiter;

/// How much memory wasmtime uses for an element of a table.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts all memories and tables of a store together. A component can have any number of them, so a limit on each
/// would not limit the total.
#[derive(Debug)]
pub(crate) struct Memory {
    limit_bytes: usize,
    used_bytes: usize,
    /// The size of the last growth, to subtract it again if the growth fails.
    last_bytes: usize,
}

impl Memory {
    /// Without a limit, the guest may use all memory of the machine.
    pub(crate) fn new(limit_bytes: Option<usize>) -> Self {
        Self {
            limit_bytes: limit_bytes.unwrap_or(usize::MAX),
            used_bytes: 0,
            last_bytes: 0,
        }
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let used = self.used_bytes.checked_add(bytes);
        let Some(used) = used.filter(|used| *used <= self.limit_bytes) else {
            self.last_bytes = 0;
            return false;
        };
        self.used_bytes = used;
        self.last_bytes = bytes;
        true
    }

    fn give_back(&mut self) {
        self.used_bytes -= std::mem::take(&mut self.last_bytes);
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_share_one_limit() {
        let mut memory = Memory::new(Some(100));
        assert!(memory.memory_growing(0, 60, None).unwrap());
        assert!(!memory.memory_growing(0, 60, None).unwrap());
        assert!(memory.memory_growing(60, 100, None).unwrap());
        assert!(!memory.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn a_growth_that_fails_or_is_refused_does_not_count() {
        let mut memory = Memory::new(Some(100));
        assert!(memory.memory_growing(0, 100, None).unwrap());
        memory
            .memory_grow_failed(wasmtime::Error::msg("none left"))
            .unwrap();
        assert!(memory.memory_growing(0, 100, None).unwrap());
        assert!(!memory.memory_growing(0, 1, None).unwrap());
        memory
            .memory_grow_failed(wasmtime::Error::msg("refused"))
            .unwrap();
        assert!(!memory.memory_growing(0, 1, None).unwrap());
    }

    #[test]
    fn any_size_fits_without_a_limit() {
        let mut memory = Memory::new(None);
        assert!(memory.memory_growing(0, usize::MAX, None).unwrap());
    }
}
