//! The command line of wasm-checkpoint.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::return_freed_memory_soon();
    wasm_checkpoint::main()
}
