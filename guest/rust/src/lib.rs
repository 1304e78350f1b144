//! Saves the progress of a WebAssembly task, so that its next attempt resumes from there.
//!
//! A *task* is a program that the host runs until it is done. When it dies, the host runs it again in
//! another *attempt*, which reads the *checkpoint* that the previous one saved.
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
//! | | bytes | a file or directory | a stream | any serde type |
//! |---|---|---|---|---|
//! | save | [`write()`] | [`save`] | [`save_reader`], [`SaveStream`] | `store` |
//! | save while computing | [`write_in_background`] | [`save_in_background`] | | `store_in_background` |
//! | resume | [`read`], [`read_contents`] | [`restore`], [`restore_replacing`] | [`read_stream`] | `load` |
//!
//! [`SaveOptions`] add annotations to a checkpoint, such as its step. [`advice`] returns whether this is a
//! good time to save, and whether the task should stop.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `p3` | no | [`p3`]: the same as `async` functions, for WASI 0.3 |
//! | `serde` | no | `store`, `store_in_background` and `load` for any serde type, as CBOR |
//!
//! A save atomically replaces the whole checkpoint. When it returns `Ok` the new checkpoint is durable; a
//! task that dies before that finds the new checkpoint or the old one. A task reads its own saves. Once a
//! newer attempt has begun, saves of this attempt fail with [`Error::Fenced`].
//!
//! Build for `wasm32-wasip2`, and run with `wasm-checkpoint run` or in any host that provides the import
//! `task:checkpoint`. The crate also compiles for other targets, so that the tests of a task compile
//! there; its functions panic there.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod advice;
#[expect(missing_docs, reason = "wit-bindgen documents only what wit/ does")]
pub mod bindings;
mod checkpoint;
mod conversions;
mod error;
mod files;
mod options;
#[cfg(feature = "p3")]
pub mod p3;
mod stream;
#[cfg(feature = "serde")]
mod typed;

use bindings::task::checkpoint::checkpointer;

pub use advice::{Advice, advice, limits, save_due, stopping};
pub use bindings::task::checkpoint::checkpointer::{Limits, SchemaChange};
pub use bindings::task::checkpoint::types::Saved;
pub use checkpoint::{Checkpoint, Contents, FallBack, ResumePoint};
pub use error::Error;
pub use files::{restore, restore_replacing, save, save_in_background};
pub use options::SaveOptions;
pub use stream::{ReadStream, SaveStream, read_stream, save_reader};
#[cfg(feature = "serde")]
pub use typed::{load, store, store_in_background};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns whether there is a checkpoint that [`read`] or [`restore`] would return.
///
/// # Errors
///
/// [`Error::Corrupt`] if there are checkpoints but all of them are damaged, [`Error::Unavailable`] if the
/// storage cannot be reached. Neither means that there is no checkpoint.
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

/// Returns what this attempt resumes from. Its own saves do not change the result; damage that is found
/// later does.
///
/// # Errors
///
/// Those of [`prev_exists`].
///
/// ```no_run
/// use task_checkpoint::ResumePoint;
///
/// match task_checkpoint::resume_point()? {
///     ResumePoint::Fresh => println!("nothing to resume"),
///     ResumePoint::Resumed(from) => println!("saved {:?} ago", from.age),
///     ResumePoint::FellBack(past) => println!("fell back to an older checkpoint: {}", past.reason),
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn resume_point() -> Result<ResumePoint> {
    Ok(checkpointer::get_resume_point()?.into())
}

/// Returns the contents of this attempt's newest save, or, if it has not saved yet, of the newest checkpoint
/// of the earlier attempts. Returns `None` if there is no checkpoint; a checkpoint with empty contents is
/// not `None`.
///
/// # Errors
///
/// [`Error::NotSingle`] if the checkpoint is a directory that holds no file or more than one. Otherwise as
/// [`prev_exists`].
///
/// ```no_run
/// let state = task_checkpoint::read()?.unwrap_or_default();
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn read() -> Result<Option<Vec<u8>>> {
    Ok(read_contents()?.map(|contents| contents.bytes))
}

/// Like [`read`], and says which checkpoint the contents are: its position, age, annotations and schema.
///
/// # Errors
///
/// Those of [`read`].
///
/// ```no_run
/// if let Some(contents) = task_checkpoint::read_contents()? {
///     let notes = &contents.checkpoint.annotations;
///     println!("{} bytes, saved with {notes:?}", contents.bytes.len());
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn read_contents() -> Result<Option<Contents>> {
    Ok(checkpointer::read()?.map(Contents::from))
}

/// Replaces the checkpoint with these contents. The checkpoint is durable when this returns `Ok`.
///
/// # Errors
///
/// [`Error::Fenced`] once a newer attempt has begun. After [`Error::Unavailable`] the save may still
/// take effect later, as a whole, but never overwrites a later save. [`Error::QuotaExceeded`] if it
/// exceeds the [`limits`].
///
/// ```no_run
/// let saved = task_checkpoint::write(b"step 7")?;
/// assert_eq!(saved.logical_bytes, 6);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn write(contents: impl AsRef<[u8]>) -> Result<Saved> {
    SaveOptions::new().write(contents)
}

/// Like [`write()`], but in the background. Returns once the host has its own copy. At most one background
/// save is in flight and at most one is queued; a newer save replaces the queued one. When the task
/// ends, for whatever reason, the host commits the copy that it still holds.
///
/// # Errors
///
/// The error of an earlier background save, which is returned once; this save is not made then.
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

/// Waits until no background save is in flight or queued. Returns the result of the newest one completed
/// since the last call, or `None` if there was none.
///
/// # Errors
///
/// The error of a background save, which is returned once.
///
/// ```no_run
/// task_checkpoint::write_in_background("the end")?;
/// let saved = task_checkpoint::flush()?.expect("one background save was made");
/// println!("checkpoint {} is durable", saved.sequence);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn flush() -> Result<Option<Saved>> {
    Ok(checkpointer::flush()?)
}

/// Declares the schema of what this task saves, and what to do with a checkpoint of another schema. Call it
/// before reading anything. Later saves of this attempt carry the schema.
///
/// # Errors
///
/// [`Error::QuotaExceeded`] if the name exceeds the limit for annotations.
///
/// ```no_run
/// use task_checkpoint::SchemaChange;
///
/// // Start fresh rather than misread what an older version of this task saved.
/// task_checkpoint::declare_schema("weights/2", SchemaChange::StartFresh)?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn declare_schema(name: &str, change: SchemaChange) -> Result<()> {
    Ok(checkpointer::declare_schema(name, change)?)
}
