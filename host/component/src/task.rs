//! The session of the task that this component is plugged into.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use checkpoint_session::{Answer, GuestError, Session, SessionSettings};
use checkpoint_storage::{Attempt, Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};

use crate::bindings::exports::task::checkpoint::types;
use crate::settings::Settings;

checkpoint_session::wit_conversions!(files in crate::bindings::exports::task::checkpoint);

struct Task {
    runtime: Runtime,
    session: Session,
}

/// Begins with the first call, because a component is not told when it starts.
static TASK: OnceLock<Task> = OnceLock::new();

/// When it could not begin, and why.
static FAILED: Mutex<Option<(Instant, GuestError)>> = Mutex::new(None);

/// How long a failed begin is not repeated: each time may leave a claim.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a call of the task's. Claims the location first if that has not been done.
pub(crate) fn call<T: Into<U>, U>(
    call: impl AsyncFnOnce(&Session) -> Answer<T>,
) -> Result<U, types::Error> {
    let task = task()?;
    let answer = task.runtime.block_on(call(&task.session));
    Ok(answer?.into())
}

/// The session, if the task has made a call that needs one.
pub(crate) fn begun() -> Option<&'static Session> {
    TASK.get().map(|task| &task.session)
}

/// The task, whose location is claimed now if it has not been. What failed because the storage did is tried
/// again; nothing else would fare better.
fn task() -> Answer<&'static Task> {
    if let Some(task) = TASK.get() {
        return Ok(task);
    }
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, error)) = &*failed
        && (!matches!(error, GuestError::Unavailable(_)) || when.elapsed() < PAUSE)
    {
        return Err(error.clone());
    }
    match Task::begin() {
        Ok(task) => Ok(TASK.get_or_init(|| task)),
        Err(error) => {
            log(&error);
            let error = GuestError::from(&error);
            *failed = Some((Instant::now(), error.clone()));
            Err(error)
        }
    }
}

impl Task {
    fn begin() -> Result<Self> {
        let settings = Settings::read()?;
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Other, "there is no runtime").with_source(error)
        })?;
        let attempt = Attempt::begin(settings.location, settings.attempt);
        let attempt = Arc::new(runtime.block_on(attempt)?);
        let session = SessionSettings::default()
            .save_advice(settings.advice)
            .on_failure(log);
        Ok(Self {
            runtime,
            session: Session::new(attempt, session),
        })
    }
}

/// Writes an error and its causes to stderr, which the task cannot read.
fn log(error: &Error) {
    // `eprintln!` would end the task where nobody reads it.
    let _ = writeln!(std::io::stderr(), "checkpoint: {}", error.with_causes());
}
