//! The state of the import in a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use checkpoint_storage::{
    Advisor, Attempt, BackgroundSaves, Error, ErrorKind, SaveAdvice, StopHandle,
};
use wasmtime::component::ResourceTable;

/// The state of the import for one store: the attempt whose checkpoints its guest sees.
#[derive(Debug)]
pub struct CheckpointCtx {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) background: Arc<BackgroundSaves>,
    pub(crate) advisor: Advisor,
    pub(crate) failure: Option<Error>,
    /// Who holds a clone of these writes or reads a stream. Each takes the memory of a whole pipeline, so
    /// there is one of either kind at a time.
    pub(crate) writing: Arc<()>,
    pub(crate) reading: Arc<()>,
}

impl CheckpointCtx {
    /// Gives the guest this attempt. To be made with [`Attempt::begin`] for each run of the task, with
    /// what [`AttemptSettings`](checkpoint_storage::AttemptSettings) say of it, the limits too; keep
    /// a clone to learn what was saved.
    pub fn new(attempt: Arc<Attempt>) -> Self {
        Self {
            attempt,
            background: Arc::default(),
            advisor: Advisor::new(Instant::now()),
            failure: None,
            writing: Arc::default(),
            reading: Arc::default(),
        }
    }

    /// When the guest is told to save. See [`SaveAdvice`] for the default.
    pub fn save_advice(mut self, advice: SaveAdvice) -> Self {
        self.advisor.set_advice(advice);
        self
    }

    /// The attempt that the guest sees.
    pub fn attempt(&self) -> &Arc<Attempt> {
        &self.attempt
    }

    /// By which the guest is asked to stop.
    pub fn stop_handle(&self) -> StopHandle {
        self.advisor.stop_handle()
    }

    /// The time that the guest has waited for its saves.
    pub fn waited(&self) -> Duration {
        self.advisor.waited()
    }

    /// What the guest saves in the background. To be [flushed](BackgroundSaves::flush) when it has
    /// ended, however it did: a trap, a timeout.
    pub fn background(&self) -> &Arc<BackgroundSaves> {
        &self.background
    }

    /// What went wrong in the guest's last call, with all its causes; `None` if that call succeeded.
    /// The guest is told less: it must not learn where its checkpoints lie. That the attempt is fenced
    /// is never forgotten, whatever succeeds later.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    pub(crate) fn note_success(&mut self) {
        if !self.is_fenced() {
            self.failure = None;
        }
    }

    pub(crate) fn note_failure(&mut self, error: Error) {
        if !self.is_fenced() {
            self.failure = Some(error);
        }
    }

    fn is_fenced(&self) -> bool {
        let kind = self.failure.as_ref().map(Error::kind);
        kind == Some(ErrorKind::Fenced)
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
