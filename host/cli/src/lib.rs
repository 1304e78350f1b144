//! The command line of wasm-checkpoint as a library, so that other programs can act as it.
//!
//! `wasm-checkpoint --help` describes it. [`main`] is the whole interface.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `aws`, `azure`, `gcp` | yes | locations in S3, Azure and Google Cloud Storage |
//! | `compose` | yes | the command `compose` |

mod command;
mod commands;
#[cfg(feature = "compose")]
mod compose;
mod exit;
mod file;
mod imports;
mod log;
mod options;
mod output;
mod places;
mod progress;
mod signals;
mod task;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Run WebAssembly tasks that resume from their last checkpoint
#[derive(Debug, Parser)]
#[command(name = "wasm-checkpoint", version, after_help = exit::HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Parses the arguments of this process and runs the command. Returns one of the exit codes that `--help` lists.
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
    // Do not wait for a guest that is stuck in a host call.
    runtime.shutdown_background();
    code
}
