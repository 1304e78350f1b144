//! Saves the progress of a WebAssembly task, so that its next attempt goes on from there.
//!
//! A *task* is a program that the host runs until it is done. When it dies, the host runs it again:
//! another *attempt*. What one attempt has saved, as a *checkpoint*, the next one reads.
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
//! | what | bytes | a file or directory |
//! |---|---|---|
//! | save | [`write()`], [`save_reader`] | [`save`] |
//! | go on | [`read`] | [`restore`], [`restore_replacing`] |
//!
//! A save is atomic and replaces the checkpoint as a whole: when it returns `Ok` the new one is
//! durable, and a task that dies a moment earlier finds the old one. A task reads its own saves. Once a
//! newer attempt has begun, saves of this one fail with [`Error::Fenced`].
//!
//! Build for `wasm32-wasip2`, and run with `wasm-checkpoint run` or in any host that offers the import
//! `task:checkpoint`. The crate also compiles for other targets, so that a task's own tests do; its
//! functions panic there.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

#[expect(missing_docs, reason = "wit-bindgen documents only what wit/ does")]
pub mod bindings;
mod error;
mod files;

use std::io::Read;

use bindings::task::checkpoint::checkpointer;

pub use bindings::task::checkpoint::checkpointer::{Checkpoint, FallBack, ResumePoint};
pub use bindings::task::checkpoint::types::Saved;
pub use error::Error;
pub use files::{restore, restore_replacing, save};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether there is a checkpoint that [`read`] or [`restore`] would give.
///
/// # Errors
///
/// [`Error::Corrupt`] if there are checkpoints but each of them is damaged, [`Error::Unavailable`]
/// if the storage cannot be asked: neither is a "no".
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

/// What this attempt goes on from. Its own saves do not change the answer; damage that is found
/// later does.
///
/// # Errors
///
/// As [`prev_exists`].
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

/// The contents of this attempt's newest save if there is one, else of the newest checkpoint that
/// earlier attempts left; `None` if there is no checkpoint. Empty contents are contents.
///
/// # Errors
///
/// [`Error::NotSingle`] if the checkpoint is a directory with any number of files but one. Otherwise
/// as [`prev_exists`].
///
/// ```no_run
/// let state = task_checkpoint::read()?.unwrap_or_default();
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn read() -> Result<Option<Vec<u8>>> {
    Ok(checkpointer::read()?)
}

/// Replaces the checkpoint by these contents. When it returns `Ok` the checkpoint is durable.
///
/// # Errors
///
/// [`Error::Fenced`] once a newer attempt has begun. After [`Error::Unavailable`] the save may still
/// take effect later, as a whole, but never over a later save.
///
/// ```no_run
/// let saved = task_checkpoint::write(b"step 7")?;
/// assert_eq!(saved.logical_bytes, 6);
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn write(contents: impl AsRef<[u8]>) -> Result<Saved> {
    Ok(checkpointer::write(contents.as_ref())?)
}

/// [`write()`]s what a reader gives, up to its end.
///
/// The contents lie in the task's memory as a whole meanwhile. For what does not fit there, write a
/// file and [`save`] it: the host reads that in pieces.
///
/// # Errors
///
/// [`Error::Other`] if the reader fails; nothing is saved then. Otherwise as [`write()`].
///
/// ```no_run
/// let input = std::fs::File::open("/data/journal")?;
/// task_checkpoint::save_reader(input)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_reader(mut reader: impl Read) -> Result<Saved> {
    let mut contents = Vec::new();
    match reader.read_to_end(&mut contents) {
        Ok(_) => write(contents),
        Err(error) => Err(Error::Other(format!("reading what to save: {error}"))),
    }
}
