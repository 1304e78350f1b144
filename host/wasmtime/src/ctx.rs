//! The state of the import in a store.

use std::sync::Arc;
use std::time::Duration;

use checkpoint_session::{Outcome, Session, SessionSettings};
use checkpoint_storage::Attempt;
use wasmtime::component::ResourceTable;

/// The state of the import for one store: the session of its guest.
#[derive(Debug)]
pub struct CheckpointCtx {
    pub(crate) session: Session,
}

impl CheckpointCtx {
    /// Opens a session for the guest's run of this attempt, which [`Attempt::begin`] makes for each run.
    /// Its [`AttemptSettings`](checkpoint_storage::AttemptSettings) hold the guest's limits. A host that
    /// gives advice of its own makes a [`Session`] and converts that.
    #[must_use]
    pub fn new(attempt: Arc<Attempt>) -> Self {
        Session::new(attempt, SessionSettings::default()).into()
    }

    /// The guest's session. A clone outlives the store: with it a host asks the guest to stop, or
    /// [finishes](Session::finish) an attempt whose store is gone.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the attempt when the guest has ended, however it did: commits what is staged, and says what
    /// was lost. See [`Session::finish`].
    pub async fn finish(&self, timeout: Duration) -> Outcome {
        self.session.finish(timeout).await
    }
}

impl From<Session> for CheckpointCtx {
    fn from(session: Session) -> Self {
        Self { session }
    }
}

/// The import's view of a store: its state, and the table of the guest's resources.
#[derive(Debug)]
pub struct CheckpointCtxView<'a> {
    /// The state of the import.
    pub ctx: &'a mut CheckpointCtx,
    /// The table in which `wasmtime_wasi` keeps the descriptors of the guest.
    pub table: &'a mut ResourceTable,
}

/// What the state of a store implements so that its guest can import `task:checkpoint`.
pub trait CheckpointView: Send {
    /// The import's part of the state.
    fn checkpoint(&mut self) -> CheckpointCtxView<'_>;
}
