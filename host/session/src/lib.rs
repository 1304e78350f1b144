//! What a guest's session of `task:checkpoint` is: the same in every host, in terms of neither wasmtime
//! nor WIT.
//!
//! A host begins an [`Attempt`](storage::Attempt) for each run of its guest, and opens a [`Session`] on
//! it. Each call of the import is a method of the session. What remains for the host is to convert types
//! (see [`wit_conversions!`]) and to open the directories that the guest names.
//!
//! - **Order.** A read waits for the saves in the background, so that a guest reads its own saves. A save
//!   in the foreground replaces one that still waits in the background.
//! - **Saves in the background** belong to the attempt. One is being made and one waits; a newer one
//!   replaces that. The next call reports a failure, once.
//! - **Caps.** A guest writes one stream at a time and reads one. What it may store, the attempt's
//!   [`Limits`](storage::Limits) say.
//! - **Errors.** A guest learns a [`GuestError`], which does not name its location. The host learns the
//!   [last failure](Session::last_failure) with all causes.
//! - **Advice.** [`SaveAdvice`] says when the guest should save, a [`StopHandle`] asks it to stop.
//! - **The end.** [`Session::finish`] commits what is staged, and returns the [`Outcome`].
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
//! // The calls that a guest makes.
//! assert!(!session.prev_exists().await?);
//! session.write_in_background("epoch 1".into(), vec![]).await?;
//! assert_eq!(session.read().await?.as_deref(), Some(&b"epoch 1"[..]));
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
mod clock;
mod conversions;
mod error;
mod failures;
mod outcome;
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
#[doc(hidden)]
pub use conversions::milliseconds;
pub use error::{GuestError, Misuse};
pub use outcome::Outcome;
pub use session::{Allowance, Annotations, Answer, Resume, Session};
pub use settings::SessionSettings;
pub use streams::{ReadStream, SaveStream};
