//! The import `task:checkpoint`, for hosts that embed wasmtime.
pub mod bindings;
mod ctx;
mod error;
mod host;

pub use ctx::{CheckpointCtx, CheckpointCtxView, CheckpointView};

use wasmtime::component::{HasData, Linker};

/// How the import finds its part of a store's state. For calling the generated `add_to_linker`s.
#[derive(Debug)]
pub struct Checkpoint;

impl HasData for Checkpoint {
    type Data<'a> = CheckpointCtxView<'a>;
}

/// Adds all interfaces.
pub fn add_to_linker<T: CheckpointView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use bindings::task::checkpoint::files;

    add_checkpointer_to_linker(linker)?;
    files::add_to_linker::<_, Checkpoint>(linker, T::checkpoint)
}

/// Adds `checkpointer` only.
pub fn add_checkpointer_to_linker<T: CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    use bindings::task::checkpoint::{checkpointer, types};

    types::add_to_linker::<_, Checkpoint>(linker, T::checkpoint)?;
    checkpointer::add_to_linker::<_, Checkpoint>(linker, T::checkpoint)
}
