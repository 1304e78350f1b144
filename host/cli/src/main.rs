//! The command line of wasm-checkpoint.

use std::process::ExitCode;

/// glibc's allocator keeps freed memory per thread, which doubles the memory of a save: its pieces are allocated on one
/// thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wasm_checkpoint::main()
}
