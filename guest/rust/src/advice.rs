//! The host's advice and limits.

use std::time::Duration;

use crate::Result;
use crate::bindings::task::checkpoint::checkpointer::{self, Limits};

/// Returns whether this is a good time to save. The host decides by the save interval that it was given,
/// or by what saving has cost so far. Returns true once more when the task should stop. This call is
/// cheap: a task may make it at every step.
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
    checkpointer::should_save().now
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
    checkpointer::should_save()
        .stopping
        .map(Duration::from_millis)
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
