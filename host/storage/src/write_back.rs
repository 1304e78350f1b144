//! Lets the disk write a part of a file while the rest is being written, so that the sync at the end waits for less.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::{Advice, fadvise};

/// Begins to write what the system keeps of this part of a file, without waiting until it is written.
///
/// On Linux this is what the advice that a part is not needed does. It also drops from memory what is on the disk already.
/// That is little of a part that was written just now: reading the file again takes as long as without the advice.
/// PostgreSQL begins to write its files in the same way where it has no `sync_file_range`, which would drop nothing, but
/// needs unsafe code here. Wasmtime passes on the advice of a component.
pub(crate) fn start(file: impl AsFd, part: Range<u64>) {
    let size_bytes = NonZeroU64::new(part.end.saturating_sub(part.start));
    if size_bytes.is_some() {
        // It is only advice: a sync reports what matters.
        let _ = fadvise(file, part.start, size_bytes, Advice::DontNeed);
    }
}
