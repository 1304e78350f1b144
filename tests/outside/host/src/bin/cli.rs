//! The command line, from its package.

fn main() -> std::process::ExitCode {
    wasm_checkpoint::main()
}
