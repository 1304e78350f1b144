//! The end of an attempt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use checkpoint_storage::{Error, ErrorKind, Totals};

use crate::session::Session;

/// The longest that [`Session::finish`] waits for deletions. The next attempt sweeps what is left.
const DELETIONS: Duration = Duration::from_secs(5);

/// How a session ended: what [`Session::finish`](crate::Session::finish) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "only the outcome says whether background saves were lost"]
pub struct Outcome {
    /// Why an acknowledged background save was not committed. `None` if all were.
    pub lost: Option<Error>,
    /// The error of the guest's last call, with all causes; `None` if it succeeded. Once the attempt is
    /// fenced, this stays [`Fenced`](checkpoint_storage::ErrorKind::Fenced) even if later calls succeed.
    pub failure: Option<Error>,
    /// The total time that the guest waited for its saves.
    pub waited: Duration,
    /// The totals of what the attempt committed.
    pub totals: Totals,
}

impl Session {
    /// Ends the session. Call it when the guest has ended: by returning, by a trap or by a timeout.
    ///
    /// Waits until the background saves are committed, then waits, within the same timeout, until the
    /// checkpoints that they replaced are deleted. Reports a save that is not committed within `timeout`
    /// as lost, although a save in flight may still take effect.
    ///
    /// Later calls return the same outcome immediately. Saves after this fail.
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
                let what = "the last background save was not committed: the storage took too long";
                Some(Error::new(ErrorKind::Unavailable, what))
            }
        };
        let left = timeout.saturating_sub(self.now().saturating_duration_since(began));
        let settling = self.attempt().settle();
        // Best effort: durability does not depend on it.
        let _ = tokio::time::timeout(left.min(DELETIONS), settling).await;
        Outcome {
            lost,
            failure: self.last_failure(),
            waited: self.waited(),
            totals: self.attempt().totals(),
        }
    }
}
