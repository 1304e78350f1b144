//! Damage and cleaning: records are damaged at any time, an operator gives up damaged slots, and stale attempts still
//! write. Races between claims are left to the protocol's own model.

use stateright::{Checker, HasDiscoveries, Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    /// Deleted.
    Gone,
    Claim,
    Commit {
        by: u8,
        /// The slots given up, as a set of bits.
        given_up: u16,
    },
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    /// The slot of its claim; 0 before it has claimed.
    epoch: usize,
    last: usize,
    fenced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The record in each slot, from slot 1 on.
    log: Vec<Record>,
    attempts: Vec<Attempt>,
    /// The slots in which a claim has ever been.
    epochs: u16,
    damaged: u8,
    cleaned: u8,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim(usize),
    Commit(usize),
    Damage(usize),
    Clean,
}

/// How an operator cleans a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cleaning {
    /// A commit names the damaged slots.
    GivesUp,
    /// The damaged records are deleted.
    Deletes,
}

struct Damaged {
    cleaning: Cleaning,
}

const ATTEMPTS: usize = 2;
const SLOTS: usize = 8;
const DAMAGE: u8 = 2;

fn bit(slot: usize) -> u16 {
    1 << slot
}

impl State {
    fn at(&self, slot: usize) -> Record {
        slot.checked_sub(1)
            .and_then(|index| self.log.get(index))
            .copied()
            .unwrap_or(Record::Gone)
    }

    fn put(&mut self, slot: usize, record: Record) {
        self.log.resize(self.log.len().max(slot), Record::Gone);
        self.log[slot - 1] = record;
    }

    /// The slot of the last record that a list shows.
    fn end(&self) -> usize {
        self.log
            .iter()
            .rposition(|record| *record != Record::Gone)
            .map_or(0, |index| index + 1)
    }

    /// Puts a claim above the last record. Returns its slot.
    fn claim(&mut self) -> usize {
        let slot = self.end() + 1;
        if self.epochs & bit(slot) != 0 {
            self.wrong = Some("an epoch is used twice");
        }
        self.epochs |= bit(slot);
        self.put(slot, Record::Claim);
        slot
    }

    fn commit(&mut self, by: usize) {
        let attempt = self.attempts[by];
        let slot = attempt.last + 1;
        match self.at(slot) {
            Record::Gone => {
                let newer = self.epochs >> (attempt.epoch + 1) != 0;
                if newer {
                    self.wrong = Some("a stale attempt's save was acknowledged");
                }
                let given_up = self.given_up();
                let by = by as u8;
                self.put(slot, Record::Commit { by, given_up });
                self.attempts[by as usize].last = slot;
            }
            Record::Commit { by: other, .. } if other as usize == by => {
                self.attempts[by].last = slot;
            }
            // The save fails, and the next one fails as well.
            Record::Damaged => {}
            Record::Commit { .. } | Record::Claim => self.attempts[by].fenced = true,
        }
    }

    /// What the newest readable commit gives up.
    fn given_up(&self) -> u16 {
        let newest = self.log.iter().rev().find_map(|record| match record {
            Record::Commit { given_up, .. } => Some(*given_up),
            _ => None,
        });
        newest.unwrap_or(0)
    }

    /// The damaged slots that a reader reports.
    fn reported(&self) -> u16 {
        let slots = (1..=self.log.len()).filter(|slot| self.at(*slot) == Record::Damaged);
        slots.map(bit).sum::<u16>() & !self.given_up()
    }

    fn clean(&mut self, how: Cleaning) {
        self.cleaned += 1;
        match how {
            Cleaning::GivesUp => {
                let given_up = self.given_up() | self.reported();
                let claim = self.claim();
                let by = u8::MAX;
                self.put(claim + 1, Record::Commit { by, given_up });
                if self.reported() != 0 {
                    self.wrong = Some("damage that was given up is reported");
                }
            }
            Cleaning::Deletes => {
                for record in &mut self.log {
                    if *record == Record::Damaged {
                        *record = Record::Gone;
                    }
                }
            }
        }
    }
}

impl Model for Damaged {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let attempt = Attempt {
            epoch: 0,
            last: 0,
            fenced: false,
        };
        vec![State {
            log: Vec::new(),
            attempts: vec![attempt; ATTEMPTS],
            epochs: 0,
            damaged: 0,
            cleaned: 0,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.end() + 2 > SLOTS {
            return;
        }
        for (i, attempt) in state.attempts.iter().enumerate() {
            match attempt.epoch {
                0 => steps.push(Step::Claim(i)),
                _ if !attempt.fenced => steps.push(Step::Commit(i)),
                _ => {}
            }
        }
        if state.damaged < DAMAGE {
            let readable =
                |slot: &usize| matches!(state.at(*slot), Record::Claim | Record::Commit { .. });
            steps.extend((1..=state.log.len()).filter(readable).map(Step::Damage));
        }
        if state.cleaned == 0 {
            steps.push(Step::Clean);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut state = state.clone();
        match step {
            Step::Claim(i) => {
                let slot = state.claim();
                state.attempts[i] = Attempt {
                    epoch: slot,
                    last: slot,
                    fenced: false,
                };
            }
            Step::Commit(i) => state.commit(i),
            Step::Damage(slot) => {
                state.damaged += 1;
                state.put(slot, Record::Damaged);
            }
            Step::Clean => state.clean(self.cleaning),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is wrong", |_, state: &State| state.wrong.is_none()),
            Property::sometimes("damage is given up", |_, state: &State| {
                state.given_up() != 0
            }),
        ]
    }
}

#[test]
fn giving_up_damaged_slots_fences_everyone_that_was_fenced() {
    let model = Damaged {
        cleaning: Cleaning::GivesUp,
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("cleaning: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn damaged_records_must_not_be_deleted() {
    let model = Damaged {
        cleaning: Cleaning::Deletes,
    };
    let checker = model
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery("nothing is wrong");
    let path = path.unwrap_or_else(|| panic!("deleting damaged records breaks nothing"));
    let wrong = path.last_state().wrong;
    println!(
        "damaged records deleted: {wrong:?}: {:?}",
        path.into_actions()
    );
}
