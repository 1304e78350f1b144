//! The allocator of the program. The tests build the program with the same.

/// glibc's allocator keeps freed memory per thread, which doubles the memory of a save: its pieces are allocated on one
/// thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of mimalloc's option `purge_delay`, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long freed memory stays with the program, in milliseconds. By default that is a second, in which a large save
/// takes as much again. Without any delay, memory that is used again costs a page fault each time.
const DELAY: std::ffi::c_long = 10;

/// Returns freed memory to the system soon. `MIMALLOC_PURGE_DELAY` takes precedence.
pub(crate) fn return_freed_memory_soon() {
    // SAFETY: the call sets a number, and no other thread runs yet. An unknown option is ignored.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY) }
}
