//! The course of a request: when it takes effect, and what its sender learns.

use std::time::Duration;

use super::dice::Dice;

/// How unreliable the storage and the network are for a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Requests that fail, per thousand.
    fail: u64,
    /// Puts of records that fail, per thousand. Faults matter most for these.
    fail_records: u64,
    /// Puts of records that the storage refuses as conflicts although their slot may be empty, per thousand. S3
    /// does so while another request to the same key is in flight.
    conflict: u64,
    /// Requests that are delivered again later, per thousand.
    repeat: u64,
    /// Requests that are slow but do not fail, per thousand.
    slow: u64,
    /// Answers whose body breaks off, per thousand.
    cut: u64,
    /// Whether some failures are reported as "permission denied".
    refuses: bool,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// When it takes effect, if ever.
    pub(super) arrives: Option<Duration>,
    /// How much later it takes effect again.
    pub(super) repeats: Option<Duration>,
    /// How long after the effect the answer arrives, unless the request `fails`.
    pub(super) answers: Duration,
    /// When the sender learns of the failure. The request may still take effect later.
    pub(super) fails: Option<(Duration, Failure)>,
    /// Whether the request is lost if its sender dies before it takes effect.
    pub(super) dies: bool,
    /// Whether the body of the answer breaks off.
    pub(super) cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Failed,
    Denied,
    /// The storage reports that the object exists.
    Conflict,
}

impl Weather {
    pub(super) const FAIR: Self = Self {
        fail: 0,
        fail_records: 0,
        conflict: 0,
        repeat: 0,
        slow: 0,
        cut: 0,
        refuses: false,
    };

    pub(super) fn draw(dice: &mut Dice) -> Self {
        let fail = dice.pick(&[0, 0, 20, 60, 150, 300]);
        Self {
            fail,
            fail_records: fail.max(dice.pick(&[0, 50, 200, 400])),
            conflict: dice.pick(&[0, 0, 50, 300]),
            repeat: dice.pick(&[0, 30, 200]),
            slow: 0,
            cut: dice.pick(&[0, 20, 100]),
            refuses: dice.chance(300),
        }
    }

    /// The same storage as another process sees it. It may be slow for that process, which then acts on stale
    /// answers.
    pub(super) fn elsewhere(self, dice: &mut Dice) -> Self {
        let slow = dice.pick(&[0, 0, 50, 300, 600]);
        Self { slow, ..self }
    }

    pub(super) fn course(&self, is_record: bool, dice: &mut Dice) -> Course {
        let slow = dice.chance(self.slow);
        let arrives = dice.millis(if slow { 20..1500 } else { 1..15 });
        let answers = dice.millis(if slow { 1..500 } else { 1..15 });
        let mut course = Course {
            arrives: Some(arrives),
            repeats: dice.chance(self.repeat).then(|| dice.millis(1..4000)),
            answers,
            fails: None,
            dies: dice.chance(500),
            cut: dice.chance(self.cut),
        };
        if dice.chance(if is_record {
            self.fail_records
        } else {
            self.fail
        }) {
            let (arrives, fails) = match dice.below(3) {
                // The request is lost.
                0 => (None, arrives),
                // The answer is lost.
                1 => (Some(arrives), arrives + answers),
                // It arrives after its sender has given up.
                _ => (Some(arrives + dice.millis(1..6000)), arrives),
            };
            course.arrives = arrives;
            let denied = self.refuses && dice.chance(200);
            let failure = if denied {
                Failure::Denied
            } else {
                Failure::Failed
            };
            course.fails = Some((fails, failure));
        }
        if is_record && dice.chance(self.conflict) {
            course.arrives = None;
            course.fails = Some((arrives, Failure::Conflict));
        }
        course
    }
}
