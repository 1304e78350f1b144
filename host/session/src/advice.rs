//! Advice to a guest: when to save, and when to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use checkpoint_storage::Clock;
use tokio::sync::watch;

/// The share of run time that a guest spends waiting for saves if it follows the advice: 5 %. Losing
/// progress costs a task more.
const DEFAULT_OVERHEAD: f64 = 0.05;

/// How long a guest computes before the first advice to save, when the cost of a save is still unknown.
const FIRST: Duration = Duration::from_secs(1);

/// When the guest should save.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SaveAdvice {
    /// Whenever this much time has passed since the last save.
    Every(Duration),
    /// As often as possible while waiting for saves takes less than this share of the run time, from
    /// 0 to 1. Estimated from the cost of the last save. The default, with 0.05.
    Overhead(f64),
}

impl Default for SaveAdvice {
    fn default() -> Self {
        Self::Overhead(DEFAULT_OVERHEAD)
    }
}

/// Asks a guest to stop. All clones refer to the same guest.
#[derive(Clone, Debug)]
pub struct StopHandle {
    stop: Arc<watch::Sender<Option<Stop>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    asked: Instant,
    deadline: Instant,
    /// Whether the guest has seen the request.
    told: bool,
}

impl StopHandle {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            stop: Arc::default(),
            clock,
        }
    }

    /// Asks the guest to save and return within `grace`. The guest sees the request at its next
    /// `should-save`. The host decides whether to terminate the guest after `grace`. A later call does
    /// not extend the time.
    pub fn stop(&self, grace: Duration) {
        let asked = self.clock.instant();
        let deadline = asked.checked_add(grace).unwrap_or(asked);
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(Stop {
                asked,
                deadline,
                told: false,
            });
            is_first
        });
    }

    /// Returns whether the guest has seen the request to stop. If so, it may have returned before
    /// finishing its work, even if it returned success.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.get().is_some_and(|stop| stop.told)
    }

    /// Waits until the guest is asked to stop. Returns the time that is left, and marks the request as seen.
    pub(crate) async fn stopping(self) -> Duration {
        let mut asked = self.stop.subscribe();
        // It cannot fail: `self` holds the sender.
        let _ = asked.wait_for(Option::is_some).await;
        self.mark_told();
        let deadline = self.get().map(|stop| stop.deadline);
        deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(self.clock.instant())
        })
    }

    fn mark_told(&self) {
        self.stop.send_if_modified(|stop| {
            if let Some(stop) = stop {
                stop.told = true;
            }
            // Nobody waits for this.
            false
        });
    }

    fn get(&self) -> Option<Stop> {
        *self.stop.borrow()
    }
}

/// Measures the cost of a guest's saves, and derives the advice from it.
#[derive(Debug)]
pub(crate) struct Advisor {
    advice: SaveAdvice,
    stop: StopHandle,
    began: Instant,
    /// When the last save began and ended.
    last_save: Option<(Instant, Instant)>,
    /// How long the guest waited for its last save.
    cost: Duration,
    waited: Duration,
}

/// The answer to a guest's `should-save`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// Whether this is a good time to save.
    pub now: bool,
    /// The time left before the host ends the guest, if the host has asked it to stop.
    pub stopping: Option<Duration>,
}

impl Advisor {
    /// Creates an advisor for a guest that starts now.
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

    /// Returns the total time that the guest has waited for its saves.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Records a save that the guest waited for from `began` to `now`.
    pub(crate) fn note_save(&mut self, began: Instant, now: Instant) {
        self.cost = now.saturating_duration_since(began);
        self.note_wait(began, now);
        self.last_save = Some((began, now));
    }

    /// Records that the guest waited from `began` to `now` without saving anything.
    pub(crate) fn note_wait(&mut self, began: Instant, now: Instant) {
        self.waited += now.saturating_duration_since(began);
    }

    /// Returns the advice at time `now`, and marks a request to stop as seen.
    pub(crate) fn advise(&self, now: Instant) -> Advice {
        self.stop.mark_told();
        self.peek(now)
    }

    /// Returns the advice at time `now` without marking a request to stop as seen.
    pub(crate) fn peek(&self, now: Instant) -> Advice {
        if let Some(stop) = self.stop.get() {
            return Advice {
                // A save that began before lacks what the guest has done since.
                now: self.last_save.is_none_or(|(began, _)| began < stop.asked),
                stopping: Some(stop.deadline.saturating_duration_since(now)),
            };
        }
        let since =
            now.saturating_duration_since(self.last_save.map_or(self.began, |(_, ended)| ended));
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
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A clock that advances only when a test moves it.
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

    /// Creates an advisor and the clock that it uses.
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
    fn a_save_that_began_before_the_request_to_stop_is_not_the_last() {
        let (mut advisor, clock) = advisor(SaveAdvice::default());
        let began = clock.instant();
        clock.advance(SECOND);
        advisor.stop_handle().stop(30 * SECOND);
        clock.advance(SECOND);
        advisor.note_save(began, clock.instant());
        assert!(advisor.advise(clock.instant()).now);
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
