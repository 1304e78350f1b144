//! Time in a session, taken from its location's environment.

use std::time::{Duration, Instant, SystemTime};

use checkpoint_storage::Clock;

use crate::session::Session;

impl Session {
    fn clock(&self) -> &dyn Clock {
        &**self.attempt().location().environment().clock()
    }

    /// Returns the monotonic time, for measuring waits and for advice.
    pub(crate) fn now(&self) -> Instant {
        self.clock().instant()
    }

    /// Returns the wall-clock time since `then`; zero if the clock was set back.
    pub(crate) fn age(&self, then: SystemTime) -> Duration {
        let now = self.clock().now();
        now.duration_since(then).unwrap_or_default()
    }
}
