//! The time between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The longest delay: if a failure lasts for minutes, waiting longer does not help.
const LONGEST: Duration = Duration::from_secs(60);

/// The number of possible jitter values.
const STEPS: u32 = 1000;

/// A delay that doubles up to a cap. A random part of its second half is left out, so that attempts that failed
/// together on many machines do not retry together.
#[derive(Debug)]
pub(super) struct Delay {
    next: Duration,
    longest: Duration,
}

impl Delay {
    /// If `first` exceeds the cap, it becomes the cap.
    pub(super) fn new(first: Duration) -> Self {
        Self {
            next: first,
            longest: first.max(LONGEST),
        }
    }

    pub(super) fn take(&mut self) -> Duration {
        // Every `RandomState` has new random keys.
        let random = RandomState::new().hash_one(STEPS);
        self.take_with((random % u64::from(STEPS)) as u32)
    }

    fn take_with(&mut self, step: u32) -> Duration {
        let half = self.next / 2;
        self.next = self.next.saturating_mul(2).min(self.longest);
        half + half / STEPS * step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_up_to_a_cap() {
        let mut delay = Delay::new(secs(2));
        let halves: Vec<_> = std::iter::repeat_with(|| delay.take_with(0).as_secs())
            .take(7)
            .collect();
        assert_eq!(halves, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_stays_within_the_second_half() {
        for _ in 0..100 {
            let taken = Delay::new(secs(2)).take();
            assert!((secs(1)..secs(2)).contains(&taken), "{taken:?}");
        }
    }

    #[test]
    fn a_zero_delay_stays_zero() {
        let mut delay = Delay::new(Duration::ZERO);
        assert_eq!([delay.take(), delay.take()], [Duration::ZERO; 2]);
    }

    #[test]
    fn a_first_delay_may_be_longer_than_the_cap() {
        let mut delay = Delay::new(secs(3600));
        assert_eq!([delay.take_with(0), delay.take_with(0)], [secs(1800); 2]);
        Delay::new(Duration::MAX).take();
    }
}
