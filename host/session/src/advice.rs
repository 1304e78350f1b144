//! When a guest should save, and whether it is to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

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
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<Mutex<Option<Stop>>>);

#[derive(Clone, Copy, Debug)]
struct Stop {
    asked: Instant,
    deadline: Instant,
    /// Whether the guest has heard of it.
    told: bool,
}

impl StopHandle {
    /// Asks the guest, at its next `should-save`, to save and return within this time. Ending it after
    /// that is up to the host. A later call does not extend the time.
    pub fn stop(&self, grace: Duration) {
        let asked = clock::now();
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// For a guest that begins `now`.
    pub(crate) fn new(advice: SaveAdvice, now: Instant) -> Self {
        Self {
            advice,
            stop: StopHandle::default(),
            began: now,
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
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn saves_are_advised_as_often_as_the_overhead_permits() {
        let start = Instant::now();
        let mut advisor = Advisor::new(SaveAdvice::default(), start);
        assert!(!advisor.advise(start).now);
        assert!(advisor.advise(start + SECOND).now);
        // It takes a second, and 19 others are to pass for each that is waited.
        advisor.note_save(start + SECOND, start + 2 * SECOND);
        assert!(!advisor.advise(start + 20 * SECOND).now);
        assert!(advisor.advise(start + 21 * SECOND).now);
    }

    #[test]
    fn saves_are_advised_whenever_the_time_has_passed() {
        let start = Instant::now();
        let mut advisor = Advisor::new(SaveAdvice::Every(10 * SECOND), start);
        assert!(!advisor.advise(start + 9 * SECOND).now);
        assert!(advisor.advise(start + 10 * SECOND).now);
        advisor.note_save(start + 10 * SECOND, start + 12 * SECOND);
        assert!(!advisor.advise(start + 21 * SECOND).now);
    }

    #[test]
    fn a_guest_that_is_to_stop_saves_once_more() {
        let mut advisor = Advisor::new(SaveAdvice::default(), Instant::now());
        advisor.stop.stop(30 * SECOND);
        advisor.stop.stop(90 * SECOND);
        let now = Instant::now();
        let answer = advisor.advise(now);
        assert!(answer.now);
        assert!(answer.stopping.is_some_and(|left| left <= 30 * SECOND));
        advisor.note_save(now, Instant::now());
        assert!(!advisor.advise(Instant::now()).now);
        let late = advisor.advise(now + 60 * SECOND);
        assert_eq!(late.stopping, Some(Duration::ZERO));
    }
}
