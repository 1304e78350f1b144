//! The program `wasm-checkpoint`, built for the tests.

#[path = "../memory_cap.rs"]
mod memory_cap;

/// The allocator of the real program, so that memory measurements apply to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let _cap = memory_cap::MemoryCap::start();
    wasm_checkpoint::main()
}
