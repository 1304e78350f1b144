//! When a guest should save, and whether it is to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use checkpoint_storage::Clock;

/// The share of its time that a guest waits for saves, if it follows the advice: 5 %. A task that loses
/// its progress loses more.
const DEFAULT_OVERHEAD: f64 = 0.05;

/// How long a guest computes before it is first told to save, while it is not known what that costs.
const FIRST: Duration = Duration::from_secs(1);

/// When to save.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SaveAdvice {
    /// Whenever this much time has passed since the last save.
    Every(Duration),
    /// As often as keeps the waiting for saves under this share of the run time, from 0 to 1, by what
    /// saves have cost so far. The default, with 0.05.
    Overhead(f64),
}

impl Default for SaveAdvice {
    fn default() -> Self {
        Self::Overhead(DEFAULT_OVERHEAD)
    }
}

/// Asks a guest to stop. Clones ask the same guest.
#[derive(Clone, Debug)]
pub struct StopHandle {
    stop: Arc<Mutex<Option<Stop>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    asked: Instant,
    deadline: Instant,
    /// Whether the guest has heard of it.
    told: bool,
}

impl StopHandle {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            stop: Arc::default(),
            clock,
        }
    }

    /// Asks the guest, at its next `should-save`, to save and return within this time. Ending it after
    /// that is up to the host. A later call does not extend the time.
    pub fn stop(&self, grace: Duration) {
        let asked = self.clock.instant();
        let deadline = asked.checked_add(grace).unwrap_or(asked);
        self.lock().get_or_insert(Stop {
            asked,
            deadline,
            told: false,
        });
    }

    /// Whether the guest has learned that it is to stop. If so, it may have returned before its work was
    /// done, whatever it returned.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.lock().is_some_and(|stop| stop.told)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stop>> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a guest's saves have cost, and the advice that follows.
#[derive(Debug)]
pub(crate) struct Advisor {
    advice: SaveAdvice,
    stop: StopHandle,
    began: Instant,
    last_save: Option<Instant>,
    /// What the last save cost the guest.
    cost: Duration,
    waited: Duration,
}

/// What a guest is told when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// Whether this is a good time to save.
    pub now: bool,
    /// Set once the guest is to stop: the time until it is ended.
    pub stopping: Option<Duration>,
}

impl Advisor {
    /// For a guest that begins now.
    pub(crate) fn new(advice: SaveAdvice, clock: Arc<dyn Clock>) -> Self {
        Self {
            advice,
            began: clock.instant(),
            stop: StopHandle::new(clock),
            last_save: None,
            cost: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }

    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The time that the guest has waited for its saves.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Notes a save that the guest has waited for from `began` to `now`.
    pub(crate) fn note_save(&mut self, began: Instant, now: Instant) {
        self.cost = now.saturating_duration_since(began);
        self.note_wait(began, now);
        self.last_save = Some(now);
    }

    /// Notes that the guest has waited, and nothing was saved.
    pub(crate) fn note_wait(&mut self, began: Instant, now: Instant) {
        self.waited += now.saturating_duration_since(began);
    }

    /// The advice at the time `now`. Marks a request to stop as heard.
    pub(crate) fn advise(&self, now: Instant) -> Advice {
        if let Some(stop) = &mut *self.stop.lock() {
            stop.told = true;
            return Advice {
                now: self.last_save.is_none_or(|saved| saved < stop.asked),
                stopping: Some(stop.deadline.saturating_duration_since(now)),
            };
        }
        let since = now.saturating_duration_since(self.last_save.unwrap_or(self.began));
        let pause = match (self.advice, self.last_save) {
            (SaveAdvice::Every(every), _) => every,
            (SaveAdvice::Overhead(_), None) => FIRST,
            (SaveAdvice::Overhead(share), Some(_)) => {
                let share = share.clamp(f64::MIN_POSITIVE, 1.0);
                let pause = self.cost.as_secs_f64() * (1.0 - share) / share;
                Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX)
            }
        };
        Advice {
            now: since >= pause,
            stopping: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A clock that stands still until a test moves it.
    #[derive(Clone, Debug)]
    struct TestClock(Arc<Mutex<Instant>>);

    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made otherwise"
    )]
    impl TestClock {
        fn new() -> Self {
            Self(Arc::new(Mutex::new(Instant::now())))
        }

        fn advance(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn instant(&self) -> Instant {
            *self.0.lock().unwrap()
        }
    }

    /// An advisor, and the clock by which its guest begins.
    fn advisor(advice: SaveAdvice) -> (Advisor, TestClock) {
        let clock = TestClock::new();
        (Advisor::new(advice, Arc::new(clock.clone())), clock)
    }

    #[test]
    fn saves_are_advised_as_often_as_the_overhead_permits() {
        let (mut advisor, clock) = advisor(SaveAdvice::default());
        let start = clock.instant();
        assert!(!advisor.advise(start).now);
        assert!(advisor.advise(start + SECOND).now);
        // The save takes one second, so 19 others must pass before the next.
        advisor.note_save(start + SECOND, start + 2 * SECOND);
        assert!(!advisor.advise(start + 20 * SECOND).now);
        assert!(advisor.advise(start + 21 * SECOND).now);
    }

    #[test]
    fn saves_are_advised_whenever_the_time_has_passed() {
        let (mut advisor, clock) = advisor(SaveAdvice::Every(10 * SECOND));
        let start = clock.instant();
        assert!(!advisor.advise(start + 9 * SECOND).now);
        assert!(advisor.advise(start + 10 * SECOND).now);
        advisor.note_save(start + 10 * SECOND, start + 12 * SECOND);
        assert!(!advisor.advise(start + 21 * SECOND).now);
    }

    #[test]
    fn a_guest_that_is_asked_to_stop_is_advised_to_save_once_more() {
        let (mut advisor, clock) = advisor(SaveAdvice::default());
        let stop = advisor.stop_handle();
        stop.stop(30 * SECOND);
        // A later call does not extend the time.
        stop.stop(90 * SECOND);
        assert!(!stop.was_told());
        let answer = advisor.advise(clock.instant());
        assert!(answer.now && stop.was_told());
        assert_eq!(answer.stopping, Some(30 * SECOND));
        let began = clock.instant();
        clock.advance(SECOND);
        advisor.note_save(began, clock.instant());
        assert!(!advisor.advise(clock.instant()).now);
        clock.advance(60 * SECOND);
        let late = advisor.advise(clock.instant());
        assert_eq!(late.stopping, Some(Duration::ZERO));
    }
}
