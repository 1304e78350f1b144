//! Checkpoints of a task in object storage.
//!
//! A [`Location`] holds the checkpoints of one task: a log of numbered records, and data objects. An
//! [`Attempt`] is one run of the task; beginning one claims the location, which fences every earlier
//! attempt, and from then on it saves and restores. `FORMAT.md` beside this crate specifies every byte.
//!
//! This crate knows `object_store`. It knows nothing of wasmtime, WIT or the command line.
//!
//! ```
//! use checkpoint_storage::{Attempt, AttemptSettings, Location};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), checkpoint_storage::Error> {
//! let location = Location::parse("memory:///training")?;
//!
//! let first = Attempt::begin(location.clone(), AttemptSettings::default()).await?;
//! assert!(!first.prev_exists().await?);
//! first.write("epoch 1".into()).await?;
//!
//! // The first attempt dies here, or is still running: the second one does not care.
//! let second = Attempt::begin(location, AttemptSettings::default().number(1)).await?;
//! assert_eq!(second.read().await?.as_deref(), Some(&b"epoch 1"[..]));
//! assert!(first.write("epoch 2".into()).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `aws`, `gcp`, `azure` | yes | `s3://`, `gs://` and `az://` locations |
//! | `dir` | yes | [`BeneathDir`]: files and directories of this machine |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod advice;
mod attempt;
mod background;
mod blocking;
mod checkpoint;
mod chunk;
mod claim;
mod cut;
mod dedup;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
mod dir;
mod doctor;
mod error;
mod format;
mod history;
mod labels;
mod limits;
mod location;
mod log;
mod objects;
mod packer;
mod paths;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
mod plain;
mod restore;
mod save;
mod simulated;
mod source;
#[cfg(not(target_family = "wasm"))]
mod spool;
mod stream;
pub mod target;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod writer;

pub use advice::{Advice, Advisor, SaveAdvice, StopHandle};
pub use attempt::{Attempt, AttemptSettings, ResumePoint, Save, Saved, SchemaChange, Totals};
pub use background::BackgroundSaves;
pub use checkpoint::{Checkpoint, CheckpointInfo};
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
pub use dir::BeneathDir;
pub use doctor::Probe;
pub use error::{Error, ErrorKind, Result};
pub use labels::Labels;
pub use limits::Limits;
pub use location::Location;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
pub use plain::PlainObjects;
pub use stream::{ReadStream, SaveStream};
pub use target::{Existing, TargetState};
pub use tree::{Entry, FileTree, Node, Tree, TreeReader, TreeWriter};
pub use verify::{Finding, Verification};
