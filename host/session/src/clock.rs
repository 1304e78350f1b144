//! The time of a session: that of its location's environment.

use std::time::{Duration, Instant, SystemTime};

use checkpoint_storage::Clock;

use crate::session::Session;

impl Session {
    fn clock(&self) -> &dyn Clock {
        &**self.attempt().location().environment().clock()
    }

    /// The time by which waits and advice are measured.
    pub(crate) fn now(&self) -> Instant {
        self.clock().instant()
    }

    /// The time since `then` by the calendar; zero if the clock was set back.
    pub(crate) fn age(&self, then: SystemTime) -> Duration {
        let now = self.clock().now();
        now.duration_since(then).unwrap_or_default()
    }
}
