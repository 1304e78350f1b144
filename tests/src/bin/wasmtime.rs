//! `wasmtime run` of the stock command line. Its program does no more either.

use clap::Parser;
use wasmtime_cli::commands::RunCommand;

/// `wasmtime`
#[derive(Parser)]
enum Wasmtime {
    /// Runs a WebAssembly module
    Run(Box<RunCommand>),
}

fn main() -> wasmtime::Result<()> {
    let Wasmtime::Run(run) = Wasmtime::parse();
    run.execute()
}
