//! The program `wasm-checkpoint`, built for the tests.

/// The allocator of the real program, so that memory measurements apply to it.
#[path = "../../../host/cli/src/allocator.rs"]
mod allocator;
#[path = "../memory_cap.rs"]
mod memory_cap;

fn main() -> std::process::ExitCode {
    let _cap = memory_cap::MemoryCap::start();
    allocator::return_freed_memory_soon();
    wasm_checkpoint::main()
}
