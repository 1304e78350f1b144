//! The attempt of the task that this component is plugged into.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use checkpoint_storage::{
    Advisor, Attempt, BackgroundSaves, Error, ErrorKind, Metadata, Result, Saved,
};
use tokio::runtime::{Builder, Runtime};

use crate::bindings::exports::task::checkpoint::types;
use crate::errors::told;
use crate::settings::Settings;

/// The attempt, and what its host keeps for it.
pub(crate) struct Task {
    runtime: Runtime,
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) background: BackgroundSaves,
    advisor: Mutex<Advisor>,
    /// Whoever holds a clone of it writes a stream; there is one at a time. How many are read cannot be
    /// told: they are the host's.
    pub(crate) writing: Arc<()>,
}

/// Begins with the first call, because a component is not told when it starts.
static TASK: OnceLock<Task> = OnceLock::new();

/// When it could not begin, and why.
static FAILED: Mutex<Option<(Instant, types::Error)>> = Mutex::new(None);

/// How long the task is told the same before it is tried to begin again: each time may leave a claim.
const PAUSE: Duration = Duration::from_secs(1);

/// The task, whose location is claimed now if it has not been. What failed because the storage did is tried
/// again; nothing else would fare better.
pub(crate) fn task() -> Result<&'static Task, types::Error> {
    if let Some(task) = begun() {
        return Ok(task);
    }
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, error)) = &*failed
        && (!matches!(error, types::Error::Unavailable(_)) || when.elapsed() < PAUSE)
    {
        return Err(error.clone());
    }
    match Task::begin() {
        Ok(task) => Ok(TASK.get_or_init(|| task)),
        Err(error) => {
            let error = told(error);
            *failed = Some((Instant::now(), error.clone()));
            Err(error)
        }
    }
}

/// The task, if it has begun.
pub(crate) fn begun() -> Option<&'static Task> {
    TASK.get()
}

impl Task {
    fn begin() -> Result<Self> {
        let began = Instant::now();
        let settings = Settings::read()?;
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Other, "there is no runtime").with_source(error)
        })?;
        let attempt = Attempt::begin(settings.location, settings.attempt);
        let attempt = runtime.block_on(attempt)?;
        let mut advisor = Advisor::new(began);
        advisor.set_advice(settings.advice);
        Ok(Self {
            runtime,
            attempt: Arc::new(attempt),
            background: BackgroundSaves::default(),
            advisor: Mutex::new(advisor),
            writing: Arc::default(),
        })
    }

    pub(crate) fn advisor(&self) -> MutexGuard<'_, Advisor> {
        self.advisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is to be done, and tells the task of an error.
    pub(crate) fn answer<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, types::Error> {
        self.runtime.block_on(work).map_err(told)
    }

    /// The same for a save, of which the advice takes note.
    pub(crate) fn save<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T, types::Error> {
        let began = Instant::now();
        let answer = self.answer(work);
        let now = Instant::now();
        match answer {
            Ok(_) => self.advisor().note_save(began, now),
            Err(_) => self.advisor().note_wait(began, now),
        }
        answer
    }
}

/// Of a key that is given twice, the last value counts.
pub(crate) fn metadata(annotations: types::Annotations) -> Metadata {
    Metadata::annotated(annotations)
}

pub(crate) fn saved(saved: Saved) -> types::Saved {
    types::Saved {
        sequence: saved.sequence,
        logical_bytes: saved.logical_bytes,
        uploaded_bytes: saved.uploaded_bytes,
    }
}
