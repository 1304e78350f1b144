//! Checkpoints of a task in object storage.
//!
//! A [`Location`] names where the checkpoints of one task are stored: a log of numbered records, and data objects.
//! An [`Attempt`] is one run of the task; beginning one claims the location, which fences every earlier
//! attempt, and from then on it saves and restores. `FORMAT.md` beside this crate specifies every byte.
//!
//! This crate uses `object_store`. It does not depend on wasmtime, WIT or the command line.
//!
//! ```
//! use checkpoint_storage::{Attempt, AttemptSettings, Location};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), checkpoint_storage::Error> {
//! let location = "memory:///training".parse::<Location>()?.open()?;
//!
//! let first = Attempt::begin(location.clone(), AttemptSettings::default()).await?;
//! assert!(!first.prev_exists().await?);
//! first.write("epoch 1".into()).await?;
//!
//! // The first attempt dies here, or is still running: the second one is safe either way.
//! let second = Attempt::begin(location, AttemptSettings::default().number(1)).await?;
//! assert_eq!(second.read().await?.as_deref(), Some(&b"epoch 1"[..]));
//! assert!(first.write("epoch 2".into()).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! This crate reports what it does as [`tracing`](https://docs.rs/tracing) events: fallbacks and fences as warnings;
//! claims, conflicts, lost answers, predecessors and sweeps as information; commits and deletions for debugging. They name
//! the location, but never contain a credential or the id of a location.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `aws`, `gcp`, `azure` | yes | `s3://`, `gs://` and `az://` locations |
//! | `dir` | yes | saving and restoring local files and directories: [`DirTree`] of a `cap_std::fs::Dir` |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod attempt;
mod blocking;
mod cancel;
mod checkpoint;
mod contents;
mod environment;
mod error;
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
mod flytekit;
mod format;
mod inspect;
mod limits;
mod location;
mod log;
mod metadata;
mod paths;
mod restore;
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests measure and wait in real time"
)]
mod tests;
mod tree;
#[cfg(any(all(feature = "dir", target_os = "linux"), target_family = "wasm"))]
mod write_back;

pub use attempt::Attempt;
pub use attempt::lookahead::Lookahead;
pub use attempt::resume::{ResumePoint, SchemaChange};
pub use attempt::save::{Admission, Save};
pub use attempt::saved::{Saved, Totals};
pub use attempt::settings::AttemptSettings;
pub use attempt::stream::{ReadStream, SaveStream};
pub use cancel::{Cancel, CancelOnDrop};
pub use checkpoint::{Checkpoint, CheckpointInfo};
pub use environment::{Clock, Environment, Randomness};
pub use error::{Error, ErrorKind, Result, causes};
#[cfg(all(feature = "dir", not(target_family = "wasm")))]
pub use flytekit::FlytekitObjects;
pub use inspect::doctor::Probe;
pub use inspect::prune::{Examine, OnDamage, PrunePlan};
pub use inspect::verify::{Finding, Verification};
pub use limits::Limits;
pub use location::{Location, OpenLocation};
pub use log::history::Damage;
pub use log::predecessors::Resumable;
pub use metadata::Metadata;
pub use tree::dir::{DirTree, means_a_directory};
pub use tree::target::{Existing, TargetState};
pub use tree::walk::{TreeReader, TreeSource, TreeTarget, TreeWriter};
pub use tree::{Entries, Entry, Node, Tree, handle};
