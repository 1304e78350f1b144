//! The stock `wasmtime run`, built for the tests. The real program also just calls this library.

#[path = "../memory_cap.rs"]
mod memory_cap;

use clap::Parser;
use wasmtime_cli::commands::RunCommand;

/// `wasmtime`
#[derive(Parser)]
enum Wasmtime {
    /// Runs a WebAssembly module
    Run(Box<RunCommand>),
}

fn main() -> wasmtime::Result<()> {
    let _cap = memory_cap::MemoryCap::start();
    let Wasmtime::Run(run) = Wasmtime::parse();
    run.execute()
}
