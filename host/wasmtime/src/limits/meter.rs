//! Counts what a guest holds.

use wasmtime::ResourceLimiter;

use super::GuestLimits;

/// How much memory wasmtime uses for an element of a table.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// What a guest holds of what its limits cap. Memories and tables count together: a component can have any
/// number of them, so a limit on each would not limit the total.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: GuestLimits,
    used_bytes: usize,
    /// The size of the last growth, to subtract it again if the growth fails.
    last_bytes: usize,
    was_refused: bool,
}

impl Meter {
    pub(crate) fn new(limits: GuestLimits) -> Self {
        Self {
            limits,
            used_bytes: 0,
            last_bytes: 0,
            was_refused: false,
        }
    }

    pub(crate) fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// Returns whether the guest tried to exceed the limit on memory.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let used = self.used_bytes.checked_add(bytes);
        let Some(used) = used.filter(|used| *used <= self.limits.memory_bytes) else {
            self.last_bytes = 0;
            self.was_refused = true;
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

impl ResourceLimiter for Meter {
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

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.instances
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn meter(memory_bytes: usize) -> Meter {
        Meter::new(GuestLimits::default().memory_bytes(memory_bytes))
    }

    #[test]
    fn all_memories_and_tables_share_one_limit() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert!(!meter.table_growing(0, 1, None).unwrap());
        assert!(meter.was_refused());
    }

    #[test]
    fn a_growth_that_fails_or_is_refused_does_not_count() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 100, None).unwrap());
        let failure = wasmtime::Error::msg("none left");
        meter.memory_grow_failed(failure).unwrap();
        assert!(meter.memory_growing(0, 100, None).unwrap());
        assert!(!meter.memory_growing(0, 1, None).unwrap());
        let failure = wasmtime::Error::msg("refused");
        meter.memory_grow_failed(failure).unwrap();
        assert!(!meter.memory_growing(0, 1, None).unwrap());
    }
}
