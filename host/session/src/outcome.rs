//! The end of an attempt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use checkpoint_storage::{Error, ErrorKind, Totals};

use crate::session::Session;

/// The longest that [`Session::finish`] waits for deletions. What is left, the next attempt sweeps.
const DELETIONS: Duration = Duration::from_secs(5);

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

impl Session {
    /// Ends the session when its guest has ended, however it did: by returning, a trap or a timeout.
    ///
    /// Waits until the saves in the background are committed, and for the deletion of what they replaced
    /// as far as the time permits. A save that is not committed within `timeout` is reported as lost,
    /// although one that is being made may still take effect.
    ///
    /// Later calls return the same outcome at once. Saves after this fail.
    pub async fn finish(&self, timeout: Duration) -> Outcome {
        let outcome = self.shared.outcome.get_or_init(|| self.end(timeout));
        outcome.await.clone()
    }

    async fn end(&self, timeout: Duration) -> Outcome {
        let began = self.now();
        self.shared.is_finished.store(true, Ordering::Release);
        let background = &self.shared.background;
        let lost = match tokio::time::timeout(timeout, background.end()).await {
            Ok(lost) => lost,
            Err(_) => {
                background.drop_waiting().await;
                let what = "what the task saved last in the background is not committed: the storage took too long";
                Some(Error::new(ErrorKind::Unavailable, what))
            }
        };
        let left = timeout.saturating_sub(self.now().saturating_duration_since(began));
        let settling = self.attempt().settle();
        // Not needed for anything to be durable.
        let _ = tokio::time::timeout(left.min(DELETIONS), settling).await;
        Outcome {
            lost,
            failure: self.last_failure(),
            waited: self.waited(),
            totals: self.attempt().totals(),
        }
    }
}
