//! The same for tasks of WASI 0.3: calls are `async`, and a task computes while its saves are under way.
//!
//! ```no_run
//! use task_checkpoint::p3;
//!
//! async fn run() -> task_checkpoint::Result<()> {
//!     let mut state = p3::read().await?.unwrap_or(vec![0; 1 << 20]);
//!     let mut saving = p3::start_write(state.clone());
//!     for step in 0..1_000 {
//!         state[step] += 1; // a piece of work
//!         p3::yield_now().await;
//!         if saving.is_done() {
//!             saving.await?;
//!             saving = p3::start_write(state.clone());
//!         }
//!     }
//!     saving.await?;
//!     p3::write(state).await?;
//!     Ok(())
//! }
//!
//! p3::main!(run);
//! # fn main() {}
//! ```
//!
//! Build the task as a library with `crate-type = ["cdylib"]` for `wasm32-wasip2`, and run it with
//! `wasm-checkpoint run -S p3`, or compose it and run it with `wasmtime run -S p3`. WASI 0.3 is experimental: hosts need
//! not offer it by default. A composed task shares its thread with the host: its saves are made while it awaits
//! something.
//!
//! The functions do what those of the same names in this crate do, with the same errors. Besides, a call fails
//! with [`Error::QuotaExceeded`](crate::Error::QuotaExceeded) if the host permits no more calls in flight. The
//! calls of a task take effect one at a time, in their order. A task that returns cancels its calls in flight, so
//! it should await its saves.

#[expect(missing_docs, reason = "wit-bindgen documents only what wit/ does")]
pub mod bindings;
mod saving;
mod stopping;
mod stream;

use std::fmt::Debug;
use std::path::Path;

use bindings::task::checkpoint::types::Existing;
use bindings::task::checkpoint::{checkpointer, paths, types};

pub use saving::Saving;
pub use stopping::stopping;
pub use stream::{ReadStream, SaveStream, read_stream};

use crate::files::text;
use crate::{
    Advice, Checkpoint, Contents, Limits, Result, ResumePoint, SaveOptions, Saved, SchemaChange,
};

/// Makes an `async` function the task's `main`. The function takes nothing and returns a `Result<(), E>`, whose
/// error is printed.
#[doc(inline)]
pub use crate::__task_checkpoint_main as main;

#[doc(hidden)]
#[macro_export]
macro_rules! __task_checkpoint_main {
    ($run:path) => {
        const _: () = {
            struct Task;

            impl $crate::p3::bindings::exports::wasi::cli::run::Guest for Task {
                async fn run() -> ::std::result::Result<(), ()> {
                    $crate::p3::exit($run().await)
                }
            }

    $crate::p3::bindings::export!(Task with_types_in $crate::p3::bindings);
        };
    };
}

/// Prints the error of a task.
#[doc(hidden)]
#[expect(clippy::result_unit_err, reason = "the type of wasi:cli/run")]
pub fn exit<E: Debug>(result: std::result::Result<(), E>) -> std::result::Result<(), ()> {
    result.map_err(|error| eprintln!("Error: {error:?}"))
}

/// Returns control to the host for a moment. A task that computes calls it now and then, to find out which of its
/// calls have returned.
pub async fn yield_now() {
    wit_bindgen::yield_async().await;
}

/// Runs a future beside the caller, at its `await`s.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(future);
}

/// See [`prev_exists`](crate::prev_exists).
///
/// # Errors
///
/// Those of [`prev_exists`](crate::prev_exists).
pub async fn prev_exists() -> Result<bool> {
    Ok(checkpointer::prev_exists().await?)
}

/// See [`resume_point`](crate::resume_point).
///
/// # Errors
///
/// Those of [`prev_exists`](crate::prev_exists).
pub async fn resume_point() -> Result<ResumePoint> {
    Ok(checkpointer::get_resume_point().await?.into())
}

/// See [`read`](crate::read).
///
/// # Errors
///
/// Those of [`read`](crate::read).
pub async fn read() -> Result<Option<Vec<u8>>> {
    Ok(read_contents().await?.map(|contents| contents.bytes))
}

/// See [`read_contents`](crate::read_contents).
///
/// # Errors
///
/// Those of [`read`](crate::read).
pub async fn read_contents() -> Result<Option<Contents>> {
    Ok(checkpointer::read().await?.map(Contents::from))
}

/// See [`write()`](crate::write()).
///
/// # Errors
///
/// Those of [`write()`](crate::write()).
pub async fn write(contents: impl Into<Vec<u8>>) -> Result<Saved> {
    write_with(SaveOptions::new(), contents).await
}

/// Like [`write()`], with annotations.
///
/// # Errors
///
/// Those of [`write()`](crate::write()).
pub async fn write_with(options: SaveOptions, contents: impl Into<Vec<u8>>) -> Result<Saved> {
    let saved = checkpointer::write(contents.into(), options.annotations).await?;
    Ok(saved.into())
}

/// Begins a [`write()`] now, and returns the save under way.
pub fn start_write(contents: impl Into<Vec<u8>>) -> Saving {
    start_write_with(SaveOptions::new(), contents)
}

/// Like [`start_write`], with annotations.
pub fn start_write_with(options: SaveOptions, contents: impl Into<Vec<u8>>) -> Saving {
    Saving::start(write_with(options, contents.into()))
}

/// See [`save`](crate::save). Do not change the files before it returns.
///
/// # Errors
///
/// Those of [`save`](crate::save).
pub async fn save(path: impl AsRef<Path>) -> Result<Saved> {
    save_with(SaveOptions::new(), path).await
}

/// Like [`save`], with annotations.
///
/// # Errors
///
/// Those of [`save`](crate::save).
pub async fn save_with(options: SaveOptions, path: impl AsRef<Path>) -> Result<Saved> {
    let path = text(path.as_ref())?.to_owned();
    let saved = paths::save(path, options.annotations).await?;
    Ok(saved.into())
}

/// Begins a [`save`] now, and returns the save under way.
pub fn start_save(path: impl AsRef<Path>) -> Saving {
    start_save_with(SaveOptions::new(), path)
}

/// Like [`start_save`], with annotations.
pub fn start_save_with(options: SaveOptions, path: impl AsRef<Path>) -> Saving {
    let path = path.as_ref().to_owned();
    Saving::start(save_with(options, path))
}

/// See [`restore`](crate::restore).
///
/// # Errors
///
/// Those of [`restore`](crate::restore).
pub async fn restore(path: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    restore_over(path.as_ref(), Existing::Refuse).await
}

/// See [`restore_replacing`](crate::restore_replacing).
///
/// # Errors
///
/// Those of [`restore_replacing`](crate::restore_replacing).
pub async fn restore_replacing(path: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    restore_over(path.as_ref(), Existing::Replace).await
}

async fn restore_over(path: &Path, existing: Existing) -> Result<Option<Checkpoint>> {
    let restored = paths::restore(text(path)?.to_owned(), existing).await?;
    Ok(restored.map(Checkpoint::from))
}

/// See [`declare_schema`](crate::declare_schema).
///
/// # Errors
///
/// Those of [`declare_schema`](crate::declare_schema).
pub async fn declare_schema(name: &str, change: SchemaChange) -> Result<()> {
    let change = match change {
        SchemaChange::Refuse => checkpointer::SchemaChange::Refuse,
        SchemaChange::StartFresh => checkpointer::SchemaChange::StartFresh,
        SchemaChange::Allow => checkpointer::SchemaChange::Allow,
    };
    Ok(checkpointer::declare_schema(name.to_owned(), change).await?)
}

/// See [`advice`](crate::advice). It is never a good time to save while another call is in flight.
pub fn advice() -> Advice {
    checkpointer::should_save().into()
}

/// See [`save_due`](crate::save_due). It is never a good time to save while another call is in flight.
pub fn save_due() -> bool {
    checkpointer::save_due()
}

/// See [`limits`](crate::limits).
///
/// # Errors
///
/// Any error of the host.
pub async fn limits() -> Result<Limits> {
    let limits = checkpointer::get_limits().await?;
    Ok(Limits {
        checkpoint_bytes: limits.checkpoint_bytes,
        bytes_left: limits.bytes_left,
        entries: limits.entries,
        path_bytes: limits.path_bytes,
        annotation_bytes: limits.annotation_bytes,
        saves_per_minute: limits.saves_per_minute,
    })
}

/// See [`store`](crate::store).
///
/// # Errors
///
/// Those of [`store`](crate::store).
#[cfg(feature = "serde")]
pub async fn store<T: serde::Serialize>(state: &T) -> Result<Saved> {
    write(crate::typed::to_cbor(state)?).await
}

/// See [`load`](crate::load).
///
/// # Errors
///
/// Those of [`load`](crate::load).
#[cfg(feature = "serde")]
pub async fn load<T: serde::de::DeserializeOwned>() -> Result<Option<T>> {
    let bytes = read().await?;
    bytes
        .map(|bytes| crate::typed::from_cbor(&bytes))
        .transpose()
}

impl From<types::Saved> for Saved {
    fn from(saved: types::Saved) -> Self {
        Self {
            sequence: saved.sequence,
            logical_bytes: saved.logical_bytes,
            uploaded_bytes: saved.uploaded_bytes,
        }
    }
}
