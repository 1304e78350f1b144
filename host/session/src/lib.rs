//! A guest's session of `task:checkpoint`. All hosts share it; it does not depend on wasmtime or WIT.
//!
//! A host begins an [`Attempt`](storage::Attempt) for each run of its guest, and opens a [`Session`] on
//! it. Each call of the import is a method of the session. The host itself only converts types (see
//! [`wit_conversions!`]) and opens the directories that the guest names; [`locate`] finds the one that contains a path.
//!
//! - **Order.** A read waits for background saves, so that a guest reads its own saves. A foreground save
//!   replaces a queued background save.
//! - **Calls in flight.** A guest of WASI 0.3 can make calls without waiting for others. The host asks for the
//!   [turn](Session::turn) of each, which limits how many there are and keeps them in order.
//! - **Background saves** belong to the attempt. At most one is in flight and one is queued; a newer one
//!   replaces the queued one. The next call reports a failure, once.
//! - **Copies.** A background save of a directory copies it to an unnamed temporary file first, in the
//!   directory that the environment variable `TMPDIR` names, or else in `/tmp`; holes are not copied. The
//!   copies of an attempt together take at most [`Limits::spool_bytes`](storage::Limits::spool_bytes)
//!   there. The contents of background writes take at most
//!   [`Limits::background_bytes`](storage::Limits::background_bytes) of memory. A call that needs more waits
//!   for the save in flight.
//! - **Cancellation.** Dropping the future of a call stops what the call began, within a step of at most
//!   1 MiB or one file. So does the end of the attempt.
//! - **Limits.** A guest has at most one stream open for writing and one for reading. The attempt's
//!   [`Limits`](storage::Limits) bound what it may store.
//! - **Errors.** A guest sees a [`GuestError`], which does not name its location. The host sees the
//!   [last failure](Session::last_failure) with all causes, and each failure as a `tracing` event. The first 50
//!   of an attempt are warnings, and further ones are of level debug: a guest can make calls that fail in a loop.
//!   A host that prints events can format them with [`event_line`].
//! - **Advice.** [`SaveAdvice`] says when the guest should save. A [`StopHandle`] asks it to stop.
//! - **The end.** [`Session::finish`] commits the pending background saves, and returns the [`Outcome`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use checkpoint_session::storage::{Attempt, AttemptSettings, Location};
//! use checkpoint_session::{Session, SessionSettings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let location = "memory:///session-example".parse::<Location>()?.open()?;
//! let attempt = Attempt::begin(location, AttemptSettings::default()).await?;
//! let session = Session::new(Arc::new(attempt), SessionSettings::default());
//!
//! // Calls made by the guest.
//! assert!(!session.prev_exists().await?);
//! session.write_in_background("epoch 1".into(), vec![]).await?;
//! assert_eq!(session.read().await?.unwrap().bytes, "epoch 1");
//! session.write_in_background("epoch 2".into(), vec![]).await?;
//!
//! // The guest has ended.
//! let outcome = session.finish(Duration::from_secs(10)).await;
//! assert!(outcome.lost.is_none() && outcome.failure.is_none());
//! assert_eq!(outcome.totals.saves, 2);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod advice;
mod background;
mod calls;
mod clock;
mod conversions;
mod error;
mod events;
mod failures;
mod outcome;
mod paths;
mod reports;
#[cfg(not(target_family = "wasm"))]
mod room;
mod session;
mod settings;
mod slot;
#[cfg(not(target_family = "wasm"))]
mod spool;
mod streams;
#[cfg(test)]
mod tests;

pub use checkpoint_storage as storage;

pub use advice::{Advice, SaveAdvice, StopHandle};
pub use calls::{Call, Turn, held_bytes};
#[doc(hidden)]
pub use conversions::milliseconds;
pub use error::{GuestError, Misuse};
pub use events::event_line;
pub use outcome::Outcome;
pub use paths::locate;
pub use session::{Allowance, Annotations, Answer, Contents, Given, Resume, Session};
pub use settings::SessionSettings;
pub use streams::{ReadStream, SaveStream};
