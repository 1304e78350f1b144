//! Version 0.3 of the import, for guests of WASI 0.3.
//!
//! The calls are those of version 0.2, made asynchronously: a guest computes while its saves are under way. Both
//! versions are views of one [session](checkpoint_session::Session), so a guest may use either.
//!
//! A guest may have 64 calls in flight. They are made one at a time, in their order, so they hold no more memory than
//! those of a guest that waits for each, besides their arguments; these count with the background saves
//! ([`Limits::background_bytes`](checkpoint_storage::Limits::background_bytes)). A call beyond either limit fails
//! with `quota-exceeded`.
//!
//! `wasmtime_wasi` calls its WASI 0.3 experimental, and gives it no security fixes. Do not add it to the linker for
//! guests that you do not trust.

pub mod bindings;
mod calls;
mod checkpointer;
mod convert;
mod files;
mod paths;
mod reading;
mod streams;

use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;

use crate::HasCheckpoint;
use crate::ctx::CheckpointView;
use crate::paths::{HasPaths, PathsView};

/// Adds all interfaces of `task:checkpoint@0.3.0` to a linker, beside those of 0.2. Afterwards the linker does not
/// allow shadowing. The interface `files` takes
/// descriptors of `wasmtime_wasi`, and `paths` finds paths in its preopened directories, so call
/// [`wasmtime_wasi::p3::add_to_linker`] on the same linker.
///
/// # Errors
/// If the linker already has one of the interfaces.
pub fn add_to_linker<T: CheckpointView + WasiView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    use bindings::task::checkpoint::{files, paths, streams, types};

    types::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    self::checkpointer::add_to_linker(linker)?;
    streams::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    files::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    paths::add_to_linker::<_, HasPaths>(linker, |state| PathsView::new(state))
}
