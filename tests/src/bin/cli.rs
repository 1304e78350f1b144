//! The program `wasm-checkpoint`, built for the tests.

/// The allocator of the real program, so that memory measurements apply to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    wasm_checkpoint::main()
}
