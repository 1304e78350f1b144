//! The state of the import in a store.

use std::sync::Arc;
use std::time::Duration;

use checkpoint_session::{Outcome, Session, SessionSettings};
use checkpoint_storage::Attempt;
use wasmtime::component::ResourceTable;

use crate::limits::{GuestLimits, Meter};

/// The state of the import for one store: the session of its guest, and what the guest holds.
#[derive(Debug)]
pub struct CheckpointCtx {
    pub(crate) session: Session,
    pub(crate) meter: Meter,
}

impl CheckpointCtx {
    /// Opens a session with default settings. Create a new attempt with [`Attempt::begin`] for each run of
    /// the guest; its [`AttemptSettings`](checkpoint_storage::AttemptSettings) contain the guest's limits.
    /// For other settings, such as different save advice, create a [`Session`] and convert it.
    #[must_use]
    pub fn new(attempt: Arc<Attempt>) -> Self {
        Session::new(attempt, SessionSettings::default()).into()
    }

    /// Sets the limits that [`limit_store`](crate::limit_store) applies. Default [`GuestLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: GuestLimits) -> Self {
        self.meter = Meter::new(limits);
        self
    }

    /// Returns whether the guest tried to use more memory than its limit. A guest that cannot allocate usually
    /// traps, without saying why.
    #[must_use]
    pub fn memory_was_refused(&self) -> bool {
        self.meter.was_refused()
    }

    /// Returns the guest's session. A clone may outlive the store. Use it to ask the guest to stop, or to
    /// [finish](Session::finish) an attempt whose store has been dropped.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the attempt. Call it when the guest has ended, even by a trap or timeout. Commits pending
    /// background saves and reports what was lost. See [`Session::finish`].
    pub async fn finish(&self, timeout: Duration) -> Outcome {
        self.session.finish(timeout).await
    }
}

impl From<Session> for CheckpointCtx {
    fn from(session: Session) -> Self {
        Self {
            session,
            meter: Meter::new(GuestLimits::default()),
        }
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

/// Implemented by the state of a store whose guest imports `task:checkpoint`.
pub trait CheckpointView: Send {
    /// Returns the import's part of the state.
    fn checkpoint(&mut self) -> CheckpointCtxView<'_>;
}
