//! The end of an attempt.

use std::time::Duration;

use checkpoint_storage::{Error, Totals};

/// How a session ended: what [`Session::finish`](crate::Session::finish) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "saves in the background may be lost, which only this says"]
pub struct Outcome {
    /// Why a save in the background, which the guest counts on, is not committed. `None` if all are.
    pub lost: Option<Error>,
    /// Why the guest's last call failed, with all causes; `None` if it succeeded. Once the attempt is
    /// fenced this stays [`Fenced`](checkpoint_storage::ErrorKind::Fenced), whatever succeeds later.
    pub failure: Option<Error>,
    /// The time that the guest has waited for its saves.
    pub waited: Duration,
    /// What the attempt has committed.
    pub totals: Totals,
}
