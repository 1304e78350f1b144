//! The attempt of the task that this component is plugged into.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use checkpoint_storage::{
    Advisor, Attempt, BackgroundSaves, Error, ErrorKind, Labels, Result, Saved,
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

/// The task, whose location is claimed now if it has not been. A claim that failed is tried again.
pub(crate) fn task() -> Result<&'static Task, types::Error> {
    if let Some(task) = TASK.get() {
        return Ok(task);
    }
    let task = Task::begin().map_err(told)?;
    Ok(TASK.get_or_init(|| task))
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
pub(crate) fn labels(annotations: types::Annotations) -> Labels {
    Labels {
        annotations: annotations.into_iter().collect(),
        schema: None,
    }
}

pub(crate) fn saved(saved: Saved) -> types::Saved {
    types::Saved {
        sequence: saved.sequence,
        logical_bytes: saved.logical_bytes,
        uploaded_bytes: saved.uploaded_bytes,
    }
}
