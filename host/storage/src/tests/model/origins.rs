//! Recorded predecessors: the place that a record names is moved, emptied, used by another task or continued, at any
//! time. The model calls the code's own check.

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::format::{Found, LocationId, Predecessor};
use crate::log::history::{Damage, History};
use crate::log::predecessors::check;

/// What is stored under the predecessor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    task: u8,
    /// Its newest checkpoint; 0 if it has none.
    newest: u8,
    /// The number of its records.
    records: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Resumed {
    Fresh,
    From { task: u8, checkpoint: u8 },
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    stored: Option<Stored>,
    tasks: u8,
    /// What was stored when the claim that names the predecessor was made.
    recorded: Option<Option<Stored>>,
    /// Whether anything but the recorded task's own progress happened since.
    disturbed: bool,
    resumed: Option<Resumed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Save,
    /// It is moved away or deleted.
    Remove,
    /// A rule of the storage deletes its checkpoints.
    Lose,
    Record,
    Resume,
}

/// A part of the check to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakening {
    NoId,
    NoNewest,
    /// A predecessor that held nothing is not checked.
    EmptyUnchecked,
}

struct Origins {
    without: Option<Weakening>,
}

/// The most tasks, and the most records of each.
const MOST_TASKS: u8 = 2;
const MOST_RECORDS: u8 = 4;

fn id(task: u8) -> LocationId {
    LocationId([task; 16])
}

fn history(stored: Option<Stored>) -> History {
    let Some(stored) = stored else {
        return History::default();
    };
    // Whether the newest checkpoint is damaged makes no difference to the check.
    let newest = (stored.newest > 0).then(|| Damage {
        location: String::new(),
        sequence: stored.newest.into(),
        reason: String::new(),
    });
    let mut history = History::default();
    history.id = Some(id(stored.task));
    history.sequences = (1..=stored.records.into()).collect();
    history.damaged.extend(newest);
    history
}

impl Origins {
    fn resume(&self, recorded: Option<Stored>, stored: Option<Stored>) -> Resumed {
        let mut predecessor = Predecessor {
            url: String::new(),
            found: recorded.map(|found| Found {
                id: id(found.task),
                newest: (found.newest > 0).then_some(found.newest.into()),
            }),
        };
        match (self.without, &mut predecessor.found) {
            (Some(Weakening::NoId), Some(found)) => {
                found.id = stored.map_or(found.id, |stored| id(stored.task));
            }
            (Some(Weakening::NoNewest), Some(found)) => found.newest = None,
            (Some(Weakening::EmptyUnchecked), found @ None) => {
                *found = stored.map(|stored| Found {
                    id: id(stored.task),
                    newest: None,
                });
            }
            _ => {}
        }
        match (check(&predecessor, &history(stored)), stored) {
            (Some(_), _) => Resumed::Refused,
            (None, Some(stored)) if stored.newest > 0 => Resumed::From {
                task: stored.task,
                checkpoint: stored.newest,
            },
            (None, _) => Resumed::Fresh,
        }
    }
}

impl Model for Origins {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            stored: None,
            tasks: 0,
            recorded: None,
            disturbed: false,
            resumed: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.resumed.is_some() {
            return;
        }
        match state.stored {
            None if state.tasks < MOST_TASKS => steps.push(Step::Begin),
            None => {}
            Some(stored) => {
                steps.extend([Step::Remove, Step::Lose]);
                if stored.records < MOST_RECORDS {
                    steps.push(Step::Save);
                }
            }
        }
        match state.recorded {
            None => steps.push(Step::Record),
            Some(_) => steps.push(Step::Resume),
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut state = state.clone();
        match (step, state.stored) {
            (Step::Begin, _) => {
                state.tasks += 1;
                state.stored = Some(Stored {
                    task: state.tasks,
                    newest: 0,
                    records: 1,
                });
                state.disturbed = true;
            }
            (Step::Save, Some(stored)) => {
                state.stored = Some(Stored {
                    newest: stored.records + 1,
                    records: stored.records + 1,
                    ..stored
                });
            }
            (Step::Lose, Some(stored)) => {
                state.disturbed |= stored.newest > 0;
                state.stored = Some(Stored {
                    newest: 0,
                    ..stored
                });
            }
            (Step::Remove, _) => {
                state.stored = None;
                state.disturbed = true;
            }
            (Step::Record, stored) => {
                state.recorded = Some(stored);
                state.disturbed = false;
            }
            (Step::Resume, stored) => {
                state.resumed = Some(self.resume(state.recorded?, stored));
            }
            (Step::Save | Step::Lose, None) => return None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no task gets another task's checkpoint",
                |_, s: &State| match (s.resumed, s.recorded.flatten()) {
                    (Some(Resumed::From { task, .. }), found) => {
                        found.is_some_and(|found| found.task == task)
                    }
                    _ => true,
                },
            ),
            Property::always("no progress is lost without a word", |_, s: &State| {
                let before = s.recorded.flatten().map_or(0, |found| found.newest);
                match s.resumed {
                    Some(Resumed::Fresh) => before == 0,
                    Some(Resumed::From { checkpoint, .. }) => checkpoint >= before,
                    _ => true,
                }
            }),
            Property::always("an undisturbed predecessor is believed", |_, s: &State| {
                s.disturbed || s.resumed != Some(Resumed::Refused)
            }),
        ]
    }
}

#[test]
fn a_recorded_predecessor_is_believed_only_if_it_is_what_it_was() {
    let checker = Origins { without: None }.checker().spawn_bfs().join();
    println!("predecessors: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn every_part_of_the_check_is_needed() {
    for without in [
        Weakening::NoId,
        Weakening::NoNewest,
        Weakening::EmptyUnchecked,
    ] {
        let model = Origins {
            without: Some(without),
        };
        let checker = model
            .checker()
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found = checker.discoveries().into_iter().next();
        let (property, path) = found.unwrap_or_else(|| panic!("{without:?}: nothing breaks"));
        println!("{without:?}: not \"{property}\": {:?}", path.into_actions());
    }
}
