//! The command line as the tests start it.

fn main() -> std::process::ExitCode {
    wasm_checkpoint::main()
}
