//! The allocator of the program. The tests build the program with the same.

/// glibc's allocator keeps freed memory per thread, which doubles the memory of a save: its pieces are allocated on one
/// thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of mimalloc's option `purge_delay`, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Returns freed memory to the system at once. By default mimalloc does so after a second, which nearly doubles the
/// memory of a large save: what it has just freed waits, while it takes as much again. `MIMALLOC_PURGE_DELAY` takes
/// precedence.
pub(crate) fn return_freed_memory_at_once() {
    // SAFETY: the call sets a number, and may be made at any time. An unknown option is ignored.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) }
}
