//! The stock `wasmtime run`, built for the tests. The real program also just calls this library.

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
