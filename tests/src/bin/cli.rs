//! The command line as the tests start it.

/// That of the program, so that its memory can be measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    wasm_checkpoint::main()
}
