//! The host's advice and limits.

use std::time::Duration;

use crate::Result;
use crate::bindings::task::checkpoint::checkpointer::{self, Limits};

/// The host's advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// Whether this is a good time to save. Also true once more when the task should stop.
    pub now: bool,
    /// If the host has asked the task to stop: the time until the host ends it. Save, then return.
    pub stopping: Option<Duration>,
}

/// Returns the host's advice: whether this is a good time to save, and whether the task should stop. The host
/// decides by the save interval that it was given, or by what saving has cost so far. This call is cheap: a
/// task may make it at every step.
///
/// ```no_run
/// for step in 0..1_000_u32 {
///     // a piece of work
///     let advice = task_checkpoint::advice();
///     if advice.now {
///         task_checkpoint::write(step.to_le_bytes())?;
///     }
///     if advice.stopping.is_some() {
///         std::process::exit(75); // the work is not done; the next attempt resumes it
///     }
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn advice() -> Advice {
    checkpointer::should_save().into()
}

/// Returns whether this is a good time to save. It is for a task that always runs to its end: unlike
/// [`advice`], it does not make the host assume that the task stops early when it should.
///
/// ```no_run
/// for step in 0..1_000_u32 {
///     // a piece of work
///     if task_checkpoint::save_due() {
///         task_checkpoint::write(step.to_le_bytes())?;
///     }
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn save_due() -> bool {
    checkpointer::save_due()
}

/// Returns the time until the host ends the task, if it has asked the task to stop. Save, then return.
///
/// ```no_run
/// # let state = [0];
/// if let Some(left) = task_checkpoint::stopping() {
///     eprintln!("stopping; {left:?} left");
///     task_checkpoint::write(state)?;
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn stopping() -> Option<Duration> {
    advice().stopping
}

/// Returns the host's limits. A call that would exceed one fails with
/// [`Error::QuotaExceeded`](crate::Error).
///
/// # Errors
///
/// Any error of the host.
///
/// ```no_run
/// let state = vec![0; 1 << 20];
/// if state.len() as u64 > task_checkpoint::limits()?.bytes_left {
///     eprintln!("this would not fit");
/// }
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn limits() -> Result<Limits> {
    Ok(checkpointer::get_limits()?)
}
