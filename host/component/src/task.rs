//! The session of the task that this component is plugged into.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use checkpoint_session::{Answer, GuestError, Session, SessionSettings};
use checkpoint_storage::{Attempt, Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};
use tracing::error;

use crate::log;
use crate::settings::Settings;

/// The session of the task, and what runs its calls.
pub(crate) struct Task {
    runtime: Runtime,
    pub(crate) session: Session,
}

/// Initialized by the first call, because a component gets no notice of its start.
static TASK: OnceLock<Task> = OnceLock::new();

/// When the last begin failed, and why.
static FAILED: Mutex<Option<(Instant, GuestError)>> = Mutex::new(None);

/// The pause before retrying a failed begin, because each try may leave a claim behind.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a call of the task. Claims the location first if this is the first call.
pub(crate) fn call<T: Into<U>, U, E: From<GuestError>>(
    call: impl AsyncFnOnce(&Session) -> Answer<T>,
) -> std::result::Result<U, E> {
    let task = task()?;
    Ok(task.run(call(&task.session))?.into())
}

/// Returns the session, if a call has begun it.
pub(crate) fn begun() -> Option<&'static Session> {
    TASK.get().map(|task| &task.session)
}

/// Returns the task, claiming its location first if necessary. Retries a failed claim only if the storage was
/// unavailable; other errors are permanent.
pub(crate) fn task() -> Answer<&'static Task> {
    if let Some(task) = TASK.get() {
        return Ok(task);
    }
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, error)) = &*failed
        && (!matches!(error, GuestError::Unavailable(_)) || when.elapsed() < PAUSE)
    {
        return Err(error.clone());
    }
    log::start();
    match Task::begin() {
        Ok(task) => Ok(TASK.get_or_init(|| task)),
        Err(error) => {
            error!("the attempt cannot begin: {}", error.with_causes());
            let error = GuestError::from(&error);
            *failed = Some((Instant::now(), error.clone()));
            Err(error)
        }
    }
}

impl Task {
    fn begin() -> Result<Self> {
        let settings = Settings::read()?;
        let runtime = runtime()?;
        let attempt = Attempt::begin(settings.location, settings.attempt);
        let attempt = Arc::new(runtime.block_on(attempt)?);
        // The streams of a task of WASI 0.3 can be dropped outside of `run`, and what they hold may need the runtime.
        #[cfg(feature = "p3")]
        std::mem::forget(runtime.enter());
        let session = SessionSettings::default().save_advice(settings.advice);
        Ok(Self {
            runtime,
            session: Session::new(attempt, session),
        })
    }

    /// Runs a future to its end. Until then nothing else in this component or in the task runs.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Starts a runtime on this thread, the only one that a component has.
pub(crate) fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| {
        Error::new(ErrorKind::Other, "cannot start the tokio runtime").with_source(error)
    })
}
