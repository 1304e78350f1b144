//! The clock of a session: the only place that asks for the time.

use std::time::{Duration, Instant, SystemTime};

/// The time by which waits and advice are measured.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time since `then` by the calendar; zero if the clock was set back.
pub(crate) fn age(then: SystemTime) -> Duration {
    SystemTime::now().duration_since(then).unwrap_or_default()
}
