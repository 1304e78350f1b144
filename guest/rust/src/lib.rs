//! Saves the progress of a WebAssembly task, so that its next attempt resumes from there.
//!
//! A *task* is a program that the host runs until it is done. When it dies, the host runs it again:
//! another *attempt*. The next attempt reads what the previous one saved as a *checkpoint*.
//!
//! ```no_run
//! fn main() -> task_checkpoint::Result<()> {
//!     let mut done: u64 = match task_checkpoint::read()? {
//!         Some(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(0),
//!         None => 0,
//!     };
//!     while done < 1_000 {
//!         done += 1; // a piece of work
//!         task_checkpoint::write(done.to_string())?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! | what | bytes | a file or directory | a stream | any serde type |
//! |---|---|---|---|---|
//! | save | [`write()`] | [`save`] | [`save_reader`], [`SaveStream`] | `store` |
//! | save while computing | [`write_in_background`] | [`save_in_background`] | | |
//! | resume | [`read`] | [`restore`], [`restore_replacing`] | [`read_stream`] | `load` |
//!
//! [`SaveOptions`] annotate a checkpoint, for example with its step. [`save_due`] asks the host whether this
//! is a good time to save, and [`stopping`] whether the task should stop.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `serde` | no | `store` and `load` of any type that serde knows, as CBOR |
//!
//! A save is atomic and replaces the checkpoint as a whole: when it returns `Ok` the new one is
//! durable, and a task that dies a moment earlier finds the old one. A task reads its own saves. Once a
//! newer attempt has begun, saves of this one fail with [`Error::Fenced`].
//!
//! Build for `wasm32-wasip2`, and run with `wasm-checkpoint run` or in any host that offers the import
//! `task:checkpoint`. The crate also compiles for other targets, so that a task's own tests do; its
//! functions panic there.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod advice;
#[expect(missing_docs, reason = "wit-bindgen documents only what wit/ does")]
pub mod bindings;
mod error;
mod files;
mod options;
mod stream;
#[cfg(feature = "serde")]
mod typed;

use bindings::task::checkpoint::checkpointer;

pub use advice::{limits, save_due, stopping};
pub use bindings::task::checkpoint::checkpointer::{
    Checkpoint, FallBack, Limits, ResumePoint, SchemaChange,
};
pub use bindings::task::checkpoint::types::Saved;
pub use error::Error;
pub use files::{restore, restore_replacing, save, save_in_background};
pub use options::SaveOptions;
pub use stream::{ReadStream, SaveStream, read_stream, save_reader};
#[cfg(feature = "serde")]
pub use typed::{load, store};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns whether there is a checkpoint for [`read`] or [`restore`].
///
/// # Errors
///
/// [`Error::Corrupt`] if there are checkpoints but all of them are damaged. [`Error::Unavailable`]
/// if the storage is unavailable. Neither means that there is no checkpoint.
///
/// ```no_run
/// if !task_checkpoint::prev_exists()? {
///     println!("this takes about two hours");
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn prev_exists() -> Result<bool> {
    Ok(checkpointer::prev_exists()?)
}

/// Returns the point from which this attempt resumes. Its own saves do not change the answer; damage that is
/// found later does.
///
/// # Errors
///
/// Those of [`prev_exists`].
///
/// ```no_run
/// use task_checkpoint::ResumePoint;
///
/// match task_checkpoint::resume()? {
///     ResumePoint::Fresh => println!("the first attempt that counts"),
///     ResumePoint::Resumed(from) => println!("saved {} ms ago", from.age),
///     ResumePoint::FellBack(past) => println!("an older checkpoint, because {}", past.reason),
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn resume() -> Result<ResumePoint> {
    Ok(checkpointer::resume()?)
}

/// Returns the contents of this attempt's newest save or, if it has not saved, of the newest checkpoint of
/// earlier attempts. `None` if there is no checkpoint; empty contents are `Some`.
///
/// # Errors
///
/// [`Error::NotSingle`] if the checkpoint is a directory that does not contain exactly one file. Otherwise
/// those of [`prev_exists`].
///
/// ```no_run
/// let state = task_checkpoint::read()?.unwrap_or_default();
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn read() -> Result<Option<Vec<u8>>> {
    Ok(checkpointer::read()?)
}

/// Replaces the checkpoint with these contents. When it returns `Ok` the checkpoint is durable.
///
/// # Errors
///
/// [`Error::Fenced`] once a newer attempt has begun. After [`Error::Unavailable`] the save may still
/// take effect later, atomically, but never overwrites a later save. [`Error::QuotaExceeded`] if it exceeds
/// the [`limits`].
///
/// ```no_run
/// let saved = task_checkpoint::write(b"step 7")?;
/// assert_eq!(saved.logical_bytes, 6);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn write(contents: impl AsRef<[u8]>) -> Result<Saved> {
    SaveOptions::new().write(contents)
}

/// Does the same as [`write()`], in the background: returns when the host has a copy. At most one save is in
/// flight and one is queued; a newer save replaces the queued one. When the task ends, even by a crash, the
/// host commits the copies that it has.
///
/// # Errors
///
/// The failure of an earlier background save, reported once, in which case this one is not made.
///
/// ```no_run
/// let mut weights = vec![0; 1 << 20];
/// for step in 0..1_000_u32 {
///     weights[step as usize] = 1; // a piece of work
///     if task_checkpoint::save_due() {
///         task_checkpoint::write_in_background(&weights)?;
///     }
/// }
/// task_checkpoint::flush()?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn write_in_background(contents: impl AsRef<[u8]>) -> Result<()> {
    SaveOptions::new().write_in_background(contents)
}

/// Waits until all background saves have ended, and returns the result of the newest one that completed
/// since the last call, if any.
///
/// # Errors
///
/// The failure of a background save, reported once.
///
/// ```no_run
/// task_checkpoint::write_in_background("the end")?;
/// let saved = task_checkpoint::flush()?.expect("a save was made");
/// println!("checkpoint {} is durable", saved.sequence);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn flush() -> Result<Option<Saved>> {
    Ok(checkpointer::flush()?)
}

/// Declares the schema of this task's saves, and what to do with a checkpoint that has a different one. Call
/// it before reading anything; it applies to all later saves.
///
/// # Errors
///
/// [`Error::QuotaExceeded`] if the name exceeds the limit for annotations.
///
/// ```no_run
/// use task_checkpoint::SchemaChange;
///
/// // After a change of the task, start fresh rather than misread an old checkpoint.
/// task_checkpoint::declare_schema("weights/2", SchemaChange::StartFresh)?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn declare_schema(name: &str, change: SchemaChange) -> Result<()> {
    Ok(checkpointer::declare_schema(name, change)?)
}
