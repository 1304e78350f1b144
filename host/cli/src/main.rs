//! The command line of wasm-checkpoint.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasm_checkpoint::main()
}
