//! The protocol as a state machine: what each step of an attempt, of a reader and of the network does.
//!
//! It is written after the code, not after DESIGN's sentences: `claim`, `history`, `log::put`, `writer`,
//! `objects`. What does not matter for who owns what is left out: contents, damage, predecessors.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// How much is explored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) attempts: u8,
    /// How many saves an attempt begins.
    pub(super) saves: u8,
    /// How often an attempt puts a claim. Without a bound, two could claim in turn for ever.
    pub(super) claims: u8,
    /// How many requests, all together, are answered late or never.
    pub(super) lost: u8,
    /// How many checkpoints are kept.
    pub(super) keep: usize,
    /// Whether somebody reads meanwhile.
    pub(super) reader: bool,
}

/// A line of the protocol that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakening {
    /// A claim counts although something may lie above it.
    NoSecondList,
    /// Any record of its own attempt in the slot of a commit passes for that commit.
    NoWriteId,
    /// A claim that a newer one follows is deleted.
    ClaimsDeleted,
    /// The last record before a claim is deleted when it is not retained.
    LastRecordDeleted,
    /// A commit is put before its data is durable.
    CommitBeforeData,
    /// The data of a save is deleted when its commit was not acknowledged.
    UndecidedDeleted,
    /// Data is used again that a listed commit refers to, be it retained or not.
    ReuseOfListed,
    /// What a commit replaces is deleted before it is acknowledged.
    DeletedBeforeCommit,
    /// A sweep spares no newer epoch.
    SweepOfAllEpochs,
    /// The names of data objects do not hold the epoch.
    NamesReused,
    /// A reader that has found no commit where it found a claim does not list again.
    ClaimsWereClaims,
}

/// A slot of the log, counted from 1.
type Slot = u8;
/// A set of data objects, or of slots.
type Set = u64;

fn bit(number: u8) -> Set {
    1 << number
}

fn members(set: Set) -> impl Iterator<Item = u8> {
    (0..64).filter(move |number| set & bit(*number) != 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Record {
    /// Its epoch is its slot.
    Claim {
        by: u8,
    },
    Commit(Commit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Commit {
    epoch: Slot,
    /// Which save of which attempt: its write-id.
    save: u8,
    retains: Set,
    data: Set,
}

/// A request that may still take effect, at any time or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Request {
    Put(Slot, Record),
    DeleteRecord(Slot),
    DeleteData(u8),
    PutData(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Unborn,
    /// The last record that it has seen, and those that a list has shown then.
    Listed(Slot),
    Claimed(Slot),
    /// Nothing lay above its claim. What older attempts left is still to be swept.
    Sweeping,
    Owner,
    /// Its data is durable, and its commit is to be put.
    Staged(Commit),
    /// It has heard so, or has failed to begin.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    phase: Phase,
    epoch: Slot,
    last: Slot,
    /// Newest first.
    retained: Vec<(Slot, Set)>,
    dead: Vec<(Slot, Set)>,
    protected: Set,
    undecided: Set,
    saves: u8,
    claims: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    /// What the list showed, and the newest acknowledged commit when the reading began.
    Listed(Set, Slot),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    log: Vec<Option<Record>>,
    data: Set,
    requests: BTreeSet<Request>,
    attempts: Vec<Attempt>,
    reader: Reader,
    lost: u8,
    /// The slot and the save of the newest commit that its attempt was told of.
    acknowledged: (Slot, u8),
    /// What must not happen, and did.
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Given,
    /// After the effect.
    Lost,
    /// The effect comes later, if ever; the answer never.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    List(u8),
    Claim(u8, Answer),
    Confirm(u8),
    Sweep(u8),
    /// Stores a new object, and uses those of the newest retained commit again or not.
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

impl State {
    fn at(&self, slot: Slot) -> Option<Record> {
        self.log.get(slot as usize).copied().flatten()
    }

    fn put(&mut self, slot: Slot, record: Record) {
        let index = slot as usize;
        if self.log.len() <= index {
            self.log.resize(index + 1, None);
        }
        self.log[index] = Some(record);
    }

    fn delete(&mut self, slot: Slot) {
        if let Some(record) = self.log.get_mut(slot as usize) {
            *record = None;
        }
        // One state, one value.
        while self.log.last() == Some(&None) {
            self.log.pop();
        }
    }

    fn slots(&self) -> Set {
        let filled = (0..self.log.len()).filter(|slot| self.log[*slot].is_some());
        filled.fold(0, |set, slot| set | bit(slot as u8))
    }

    fn last(&self) -> Slot {
        self.log.len().saturating_sub(1) as Slot
    }

    fn commit_at(&self, slot: Slot) -> Option<Commit> {
        match self.at(slot) {
            Some(Record::Commit(commit)) => Some(commit),
            _ => None,
        }
    }

    fn newest_commit(&self) -> Option<(Slot, Commit)> {
        let mut slots = (0..self.log.len() as Slot).rev();
        slots.find_map(|slot| Some((slot, self.commit_at(slot)?)))
    }

    /// What `History::load` finds: the newest commit, and those that it names.
    fn history(&self) -> Vec<(Slot, Set)> {
        let Some((newest, commit)) = self.newest_commit() else {
            return Vec::new();
        };
        let mut found = vec![(newest, commit.data)];
        let mut named: Vec<_> = members(commit.retains & !bit(newest)).collect();
        named.reverse();
        found.extend(
            named
                .into_iter()
                .filter_map(|slot| Some((slot, self.commit_at(slot)?.data))),
        );
        found
    }

    /// Whether the newest commit, and all that it names, can be restored.
    pub(super) fn is_restorable(&self) -> bool {
        let Some((_, newest)) = self.newest_commit() else {
            return true;
        };
        self.is_whole(newest)
    }

    /// Whether it, and all that it names, are there.
    fn is_whole(&self, commit: Commit) -> bool {
        members(commit.retains).all(|slot| {
            let named = self.commit_at(slot);
            named.is_some_and(|named| named.data & !self.data == 0)
        })
    }

    /// Whether what was acknowledged last, or something newer, is what is restored.
    pub(super) fn is_durable(&self) -> bool {
        let (slot, save) = self.acknowledged;
        match self.newest_commit() {
            None => slot == 0,
            Some((newest, commit)) => newest > slot || (newest == slot && commit.save == save),
        }
    }

    pub(super) fn is_right(&self) -> bool {
        self.wrong.is_none()
    }

    fn epoch_of_object(&self, object: u8, saves: u8) -> Slot {
        self.attempts[(object / saves) as usize].epoch
    }
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
        for (number, attempt) in state.attempts.iter().enumerate() {
            let i = number as u8;
            match attempt.phase {
                Phase::Unborn => {
                    // They are alike, so one order of beginning is as good as any.
                    let first = number == 0 || state.attempts[number - 1].phase != Phase::Unborn;
                    steps.extend(first.then_some(Step::List(i)));
                }
                Phase::Listed(_) if attempt.claims == self.bounds.claims => {}
                Phase::Listed(_) => steps.extend(answers.iter().map(|a| Step::Claim(i, *a))),
                Phase::Claimed(_) => steps.push(Step::Confirm(i)),
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
            Step::List(i) => state.attempts[i as usize].phase = Phase::Listed(state.last()),
            Step::Claim(i, answer) => self.claim(&mut state, i, answer),
            Step::Confirm(i) => self.confirm(&mut state, i),
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
            Property::always("nobody is told what is not so", |_, state: &State| {
                state.is_right()
            }),
            // Or the others would hold of a model in which nothing happens.
            Property::sometimes("the last attempt commits", |model: &Self, state: &State| {
                let last = model.bounds.attempts - 1;
                state.acknowledged.1 / model.bounds.saves == last && state.acknowledged.0 > 0
            }),
        ]
    }
}

impl Protocol {
    fn without(&self, line: Weakening) -> bool {
        self.without == Some(line)
    }

    fn claim(&self, state: &mut State, i: u8, answer: Answer) {
        let attempt = &mut state.attempts[i as usize];
        let Phase::Listed(last) = attempt.phase else {
            return;
        };
        attempt.claims += 1;
        let slot = last + 1;
        let record = Record::Claim { by: i };
        if answer == Answer::Late {
            state.requests.insert(Request::Put(slot, record));
        } else if state.at(slot).is_none() {
            state.put(slot, record);
        } else {
            let last = state.last();
            state.attempts[i as usize].phase = Phase::Listed(last);
            return;
        }
        state.attempts[i as usize].phase = match answer {
            Answer::Given => Phase::Claimed(slot),
            Answer::Lost | Answer::Late => {
                state.lost += 1;
                Phase::Over
            }
        };
    }

    /// `History::load` after the claim.
    fn confirm(&self, state: &mut State, i: u8) {
        let Phase::Claimed(slot) = state.attempts[i as usize].phase else {
            return;
        };
        let last = state.last();
        if last != slot && !self.without(Weakening::NoSecondList) {
            state.attempts[i as usize].phase = Phase::Listed(last);
            return;
        }
        let history = state.history();
        let mut protected = 0;
        for (position, (record, _)) in history.iter().enumerate() {
            let next = (record + 1..=last).find(|slot| state.at(*slot).is_some());
            let epoch = |slot| state.commit_at(slot).map(|commit: Commit| commit.epoch);
            let followed = next.is_some_and(|next| {
                history[..position].iter().any(|(slot, _)| *slot == next)
                    && epoch(next) == epoch(*record)
            });
            if !followed && !self.without(Weakening::LastRecordDeleted) {
                protected |= bit(*record);
            }
        }
        let attempt = &mut state.attempts[i as usize];
        attempt.phase = Phase::Sweeping;
        attempt.epoch = slot;
        attempt.last = slot;
        attempt.protected = protected;
        attempt.retained = history;
    }

    fn sweep(&self, state: &mut State, i: u8) {
        let attempt = &mut state.attempts[i as usize];
        attempt.phase = Phase::Owner;
        let (own, history) = (attempt.epoch, attempt.retained.clone());
        if let Some((newest, _)) = history.first()
            && let Some(epoch) = state.commit_at(*newest).map(|commit| commit.epoch)
        {
            for slot in epoch + 1..*newest {
                let retained = history.iter().any(|(other, _)| *other == slot);
                if state.commit_at(slot).is_some_and(|c| c.epoch == epoch) && !retained {
                    state.requests.insert(Request::DeleteRecord(slot));
                }
            }
        }
        if self.without(Weakening::ClaimsDeleted) {
            for slot in 1..own {
                if let Some(Record::Claim { .. }) = state.at(slot) {
                    state.requests.insert(Request::DeleteRecord(slot));
                }
            }
        }
        let referred = history.iter().fold(0, |set, (_, data)| set | data);
        for object in members(state.data & !referred) {
            let epoch = state.epoch_of_object(object, self.bounds.saves);
            if epoch < own || self.without(Weakening::SweepOfAllEpochs) {
                state.requests.insert(Request::DeleteData(object));
            }
        }
    }

    fn stage(&self, state: &mut State, i: u8, reuse: bool) {
        let attempt = &state.attempts[i as usize];
        let save = i * self.bounds.saves + attempt.saves;
        let object = match self.without(Weakening::NamesReused) {
            true => attempt.saves,
            false => save,
        };
        let mut data = bit(object);
        if reuse && self.without(Weakening::ReuseOfListed) {
            let listed = (0..=state.last()).filter_map(|slot| state.commit_at(slot));
            // The oldest that is listed, and that has all its data.
            let found = listed.map(|c| c.data).find(|set| set & !state.data == 0);
            data |= found.unwrap_or(0);
        } else if reuse {
            data |= attempt.retained.first().map_or(0, |(_, data)| *data);
        }
        let epoch = attempt.epoch;
        match self.without(Weakening::CommitBeforeData) {
            true => {
                state.requests.insert(Request::PutData(object));
            }
            false => state.data |= bit(object),
        }
        let attempt = &mut state.attempts[i as usize];
        attempt.saves += 1;
        attempt.phase = Phase::Staged(Commit {
            epoch,
            save,
            retains: 0,
            data,
        });
    }

    fn commit(&self, state: &mut State, i: u8, answer: Answer) {
        let attempt = &mut state.attempts[i as usize];
        let Phase::Staged(mut commit) = attempt.phase else {
            return;
        };
        let slot = attempt.last + 1;
        let kept = attempt.retained.iter().take(self.bounds.keep - 1);
        commit.retains = kept.fold(bit(slot), |set, (kept, _)| set | bit(*kept));
        let own_object = match self.without(Weakening::NamesReused) {
            true => bit(commit.save % self.bounds.saves),
            false => bit(commit.save),
        };
        if self.without(Weakening::DeletedBeforeCommit) {
            self.retire(state, i, self.bounds.keep - 1);
        }
        if answer == Answer::Late {
            // Whoever reads the slot back finds it empty, or filled by somebody else.
            if state.at(slot).is_none() {
                state.lost += 1;
                state
                    .requests
                    .insert(Request::Put(slot, Record::Commit(commit)));
                self.not_acknowledged(state, i, own_object);
                return;
            }
        } else if state.at(slot).is_none() {
            state.put(slot, Record::Commit(commit));
            if answer == Answer::Lost {
                state.lost += 1;
                self.not_acknowledged(state, i, own_object);
                return;
            }
            self.acknowledged(state, i, slot, commit);
            return;
        }
        match state.at(slot) {
            Some(Record::Commit(late)) if late.epoch == commit.epoch => {
                if self.without(Weakening::NoWriteId) {
                    self.acknowledged(state, i, slot, commit);
                    return;
                }
                let attempt = &mut state.attempts[i as usize];
                attempt.last = slot;
                attempt.dead.push((slot, late.data));
            }
            _ => state.attempts[i as usize].phase = Phase::Over,
        }
    }

    fn not_acknowledged(&self, state: &mut State, i: u8, own_object: Set) {
        let attempt = &mut state.attempts[i as usize];
        attempt.phase = Phase::Owner;
        if !self.without(Weakening::UndecidedDeleted) {
            attempt.undecided |= own_object;
            return;
        }
        for object in members(own_object) {
            state.requests.insert(Request::DeleteData(object));
        }
    }

    fn acknowledged(&self, state: &mut State, i: u8, slot: Slot, commit: Commit) {
        let overtaken = |other: &Attempt| {
            let owns = !matches!(
                other.phase,
                Phase::Unborn | Phase::Listed(_) | Phase::Claimed(_)
            );
            owns && commit.epoch < other.epoch && other.epoch < slot
        };
        if state.attempts.iter().any(overtaken) {
            state.wrong = Some("a fenced attempt is told that its commit stands");
        }
        if slot <= state.acknowledged.0 {
            state.wrong = Some("a commit is acknowledged below another one");
        }
        state.acknowledged = (slot, commit.save);
        let attempt = &mut state.attempts[i as usize];
        attempt.phase = Phase::Owner;
        attempt.last = slot;
        attempt.retained.insert(0, (slot, commit.data));
        self.retire(state, i, self.bounds.keep);
    }

    /// Begins to delete all but the newest.
    fn retire(&self, state: &mut State, i: u8, keep: usize) {
        let attempt = &mut state.attempts[i as usize];
        let keep = keep.min(attempt.retained.len());
        let mut dead = std::mem::take(&mut attempt.dead);
        dead.extend(attempt.retained.drain(keep..));
        let needed = attempt.retained.iter().fold(0, |set, (_, data)| set | data);
        let mut garbage = std::mem::take(&mut attempt.undecided);
        let protected = attempt.protected;
        for (slot, data) in dead {
            garbage |= data;
            if protected & bit(slot) == 0 {
                state.requests.insert(Request::DeleteRecord(slot));
            }
        }
        for object in members(garbage & !needed) {
            state.requests.insert(Request::DeleteData(object));
        }
    }
}

fn take_effect(state: &mut State, request: Request) {
    state.requests.remove(&request);
    match request {
        Request::Put(slot, record) => {
            if state.at(slot).is_none() {
                state.put(slot, record);
            }
        }
        Request::DeleteRecord(slot) => state.delete(slot),
        Request::DeleteData(object) => state.data &= !bit(object),
        Request::PutData(object) => state.data |= bit(object),
    }
}

/// `History::load`, after its list. What may have changed since then makes it begin again, if the log has.
fn read(state: &mut State, without: Option<Weakening>) {
    let Reader::Listed(listed, acknowledged) = state.reader else {
        return;
    };
    let mut newest = None;
    let mut missing = false;
    let mut claims = false;
    for slot in members(listed).collect::<Vec<_>>().into_iter().rev() {
        match state.at(slot) {
            None => missing = true,
            Some(Record::Claim { .. }) => claims = true,
            Some(Record::Commit(commit)) => {
                newest = Some((slot, commit));
                break;
            }
        }
    }
    missing |= newest.is_some_and(|(_, commit)| !state.is_whole(commit));
    // A claim may lie where a commit was when the log was listed.
    let doubtful = missing || (claims && without != Some(Weakening::ClaimsWereClaims));
    if doubtful && state.slots() != listed {
        state.reader = Reader::Listed(state.slots(), acknowledged);
        return;
    }
    if missing {
        state.wrong = Some("a reader takes for damage what was pruned");
    } else if newest.map_or(0, |(slot, _)| slot) < acknowledged {
        state.wrong = Some("a reader finds less than was acknowledged before it began");
    }
    state.reader = Reader::Over;
}
