//! The protocol as a state machine: what each step of an attempt, of a reader and of the network does.
//!
//! It follows the code: `log::claim`, `log::history`, `log::slot`, `attempt::log_writer` and
//! `contents::objects`. It leaves out what does not affect ownership: contents, damage, predecessors.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use super::state::{Attempt, Phase, Reader, Request, State};
use super::steps::{read, take_effect};

/// The bounds of the exploration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) attempts: u8,
    /// The number of saves that an attempt may begin.
    pub(super) saves: u8,
    /// How often an attempt may put a claim. Without a bound, two attempts could take turns for ever.
    pub(super) claims: u8,
    /// The total number of requests that take effect late, or whose answer is lost.
    pub(super) lost: u8,
    /// The number of checkpoints to keep.
    pub(super) keep: usize,
    /// Whether there is a concurrent reader.
    pub(super) reader: bool,
}

/// A rule of the protocol to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakening {
    /// A claim counts even if a record lies above it.
    NoSecondList,
    /// A commit that finds any record of its own attempt in its slot counts as successful.
    NoWriteId,
    /// A claim is deleted once a newer one follows.
    ClaimsDeleted,
    /// The last record before a claim is deleted if it is not retained.
    LastRecordDeleted,
    /// A commit is put before its data is durable.
    CommitBeforeData,
    /// The data of a save is deleted if its commit was not acknowledged.
    UndecidedDeleted,
    /// A save may reuse the data of any listed commit, even if that is not retained.
    ReuseOfListed,
    /// A commit deletes the data that it replaces before it is acknowledged.
    DeletedBeforeCommit,
    /// A sweep deletes the data of newer epochs too.
    SweepOfAllEpochs,
    /// The names of data objects do not contain the epoch.
    NamesReused,
    /// A reader that finds a claim where there may have been a commit does not list again.
    ClaimsWereClaims,
    /// Lists are not in the order of names, so the first page may miss the newest record.
    UnorderedLists,
}

/// The first page of a list, which is all that a claim reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    HasNewest,
    MissesNewest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Given,
    /// The request takes effect, but its answer is lost.
    Lost,
    /// The request takes effect later or never. Its answer is lost.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    List(u8, Page),
    Claim(u8, Answer),
    Confirm(u8, Page),
    Load(u8),
    Sweep(u8),
    /// Stores a new data object. If true, the save also reuses those of the newest retained commit.
    Stage(u8, bool),
    Commit(u8, Answer),
    TakeEffect(Request),
    ReaderLists,
    ReaderReads,
}

pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    pub(super) without: Option<Weakening>,
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let attempt = Attempt {
            phase: Phase::Unborn,
            epoch: 0,
            last: 0,
            retained: Vec::new(),
            dead: Vec::new(),
            protected: 0,
            undecided: 0,
            saves: 0,
            claims: 0,
        };
        vec![State {
            log: Vec::new(),
            data: 0,
            requests: BTreeSet::new(),
            attempts: vec![attempt; self.bounds.attempts.into()],
            reader: if self.bounds.reader {
                Reader::Idle
            } else {
                Reader::Over
            },
            lost: 0,
            acknowledged: (0, 0),
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let mut answers = vec![Answer::Given];
        if state.lost < self.bounds.lost {
            answers.extend([Answer::Lost, Answer::Late]);
        }
        let mut pages = vec![Page::HasNewest];
        if self.without == Some(Weakening::UnorderedLists) {
            pages.push(Page::MissesNewest);
        }
        for (number, attempt) in state.attempts.iter().enumerate() {
            let i = number as u8;
            match attempt.phase {
                Phase::Unborn => {
                    // Attempts are interchangeable, so a single order of beginning is enough.
                    let first = number == 0 || state.attempts[number - 1].phase != Phase::Unborn;
                    if first {
                        steps.extend(pages.iter().map(|page| Step::List(i, *page)));
                    }
                }
                Phase::Listed(_) if attempt.claims == self.bounds.claims => {}
                Phase::Listed(_) => steps.extend(answers.iter().map(|a| Step::Claim(i, *a))),
                Phase::Claimed(_) => {
                    steps.extend(pages.iter().map(|page| Step::Confirm(i, *page)));
                }
                Phase::Confirmed => steps.push(Step::Load(i)),
                Phase::Sweeping => steps.push(Step::Sweep(i)),
                Phase::Owner if attempt.saves < self.bounds.saves => {
                    steps.push(Step::Stage(i, false));
                    if !attempt.retained.is_empty()
                        || self.without == Some(Weakening::ReuseOfListed)
                    {
                        steps.push(Step::Stage(i, true));
                    }
                }
                Phase::Staged(_) => steps.extend(answers.iter().map(|a| Step::Commit(i, *a))),
                Phase::Owner | Phase::Over => {}
            }
        }
        steps.extend(
            state
                .requests
                .iter()
                .map(|request| Step::TakeEffect(*request)),
        );
        match state.reader {
            Reader::Idle => steps.push(Step::ReaderLists),
            Reader::Listed(..) => steps.push(Step::ReaderReads),
            Reader::Over => {}
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::List(i, page) => {
                state.attempts[i as usize].phase = Phase::Listed(state.last_on(page));
            }
            Step::Claim(i, answer) => self.claim(&mut state, i, answer),
            Step::Confirm(i, page) => self.confirm(&mut state, i, page),
            Step::Load(i) => self.load(&mut state, i),
            Step::Sweep(i) => self.sweep(&mut state, i),
            Step::Stage(i, reuse) => self.stage(&mut state, i, reuse),
            Step::Commit(i, answer) => self.commit(&mut state, i, answer),
            Step::TakeEffect(request) => take_effect(&mut state, request),
            Step::ReaderLists => {
                state.reader = Reader::Listed(state.slots(), state.acknowledged.0);
            }
            Step::ReaderReads => read(&mut state, self.without),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is retained can be restored", |_, state: &State| {
                state.is_restorable()
            }),
            Property::always("what was acknowledged is not lost", |_, state: &State| {
                state.is_durable()
            }),
            Property::always("no answer is wrong", |_, state: &State| state.is_right()),
            // Otherwise a model in which nothing happens would pass.
            Property::sometimes("the last attempt commits", |model: &Self, state: &State| {
                let last = model.bounds.attempts - 1;
                state.acknowledged.1 / model.bounds.saves == last && state.acknowledged.0 > 0
            }),
        ]
    }
}
