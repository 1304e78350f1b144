//! The end of an attempt.

use std::time::Duration;

use checkpoint_storage::{Error, Totals};

use crate::session::Session;

/// The longest that [`Session::finish`] waits for deletions. The next attempt sweeps what is left.
const DELETIONS: Duration = Duration::from_secs(5);

/// The longest that [`Session::finish`] waits for the last steps of cancelled calls, beyond its timeout. A
/// step writes at most 1 MiB or one file.
const LAST_STEP: Duration = Duration::from_secs(1);

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
    /// Cancels the calls that are still running. Waits until the background saves are committed, then
    /// waits, within the same timeout, until the checkpoints that they replaced are deleted. Aborts a save
    /// that is not committed within `timeout` and reports it as lost, although a request that the storage
    /// has already received may still take effect. Nothing is written to the guest's directories once
    /// this returns, unless a single step takes longer than a second.
    ///
    /// Later calls return the same outcome immediately. Saves and restores after this fail.
    pub async fn finish(&self, timeout: Duration) -> Outcome {
        let outcome = self.shared.outcome.get_or_init(|| self.end(timeout));
        outcome.await.clone()
    }

    async fn end(&self, timeout: Duration) -> Outcome {
        let began = self.now();
        self.shared.is_finished.send_replace(true);
        let lost = self.shared.background.end(timeout).await;
        // Best effort: a step ends when the system lets it.
        let _ = tokio::time::timeout(LAST_STEP, self.attempt().quiesce()).await;
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
