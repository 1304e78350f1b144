//! Lets the disk write a part of a file while the rest is being written, so that the sync at the end waits for less.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::{Advice, fadvise};

/// Begins to write what the system keeps of this part of a file, without waiting for it.
///
/// On Linux this is what the advice that a part is not needed does with all of it that is not on the disk yet. That stays in
/// memory, where a task finds it. PostgreSQL begins to write its files in the same way, where it has no
/// `sync_file_range`. wasmtime passes on the advice of a component.
pub(crate) fn start(file: impl AsFd, part: Range<u64>) {
    let size_bytes = NonZeroU64::new(part.end.saturating_sub(part.start));
    if size_bytes.is_some() {
        // It is only advice: a sync reports what matters.
        let _ = fadvise(file, part.start, size_bytes, Advice::DontNeed);
    }
}
