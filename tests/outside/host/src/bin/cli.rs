//! The command line, built from its package.

fn main() -> std::process::ExitCode {
    wasm_checkpoint::main()
}
