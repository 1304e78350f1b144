//! What the host advises and permits.

use std::time::Duration;

use crate::Result;
use crate::bindings::task::checkpoint::checkpointer::{self, Limits};

/// Returns whether this is a good time to save, based on the host's save interval or on the cost of saving so
/// far. Returns true once more when the host asks the task to stop. Cheap enough to call at every step.
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

/// Returns the time until the host ends the task, if the host has asked it to stop. Save, and return.
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

/// Returns the limits of the host. A call that exceeds one fails with [`Error::QuotaExceeded`](crate::Error).
///
/// # Errors
///
/// Those of the host.
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
