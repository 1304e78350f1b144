//! The command line of wasm-checkpoint, as a library, so that other programs can be it.
//!
//! `wasm-checkpoint --help` says what it does. [`main`] is the whole interface.

mod commands;
mod compose;
mod exit;
mod memory;
mod options;
mod output;
mod progress;
mod signals;
mod task;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Run WebAssembly tasks that survive their own death.
#[derive(Debug, Parser)]
#[command(name = "wasm-checkpoint", version, after_help = exit::HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Parses the arguments of this process and does what they say. Returns the code of the `exit` table
/// in `--help`.
pub fn main() -> ExitCode {
    let Args { command } = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error)),
    };
    let code = match runtime.block_on(command.exec()) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    };
    // A guest that is stuck in a host call must not keep the process.
    runtime.shutdown_background();
    code
}
