//! What each step changes: those of an attempt, of the network and of a reader.

use super::protocol::{Answer, Page, Protocol, Weakening};
use super::state::{
    Attempt, Commit, Phase, Reader, Record, Request, Set, Slot, State, bit, members,
};

impl Protocol {
    fn without(&self, line: Weakening) -> bool {
        self.without == Some(line)
    }

    pub(super) fn claim(&self, state: &mut State, i: u8, answer: Answer) {
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

    /// Models the second list, after which the attempt gives its task the newest checkpoint.
    pub(super) fn confirm(&self, state: &mut State, i: u8, page: Page) {
        let Phase::Claimed(slot) = state.attempts[i as usize].phase else {
            return;
        };
        let last = state.last_on(page);
        if last != slot && !self.without(Weakening::NoSecondList) {
            state.attempts[i as usize].phase = Phase::Listed(last);
            return;
        }
        let mut listed = (0..=last).rev();
        let newest = listed.find(|slot| state.commit_at(*slot).is_some());
        if newest.unwrap_or(0) < state.acknowledged.0 {
            state.wrong = Some("an attempt resumes from less than what is acknowledged");
        }
        let attempt = &mut state.attempts[i as usize];
        attempt.phase = Phase::Confirmed;
        attempt.epoch = slot;
    }

    /// Models `Holdings`: what the location holds is read beside the task, before anything is saved or deleted.
    pub(super) fn load(&self, state: &mut State, i: u8) {
        let (slot, last) = (state.attempts[i as usize].epoch, state.last());
        if last != slot && !self.without(Weakening::NoSecondList) {
            state.attempts[i as usize].phase = Phase::Over;
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
        attempt.last = slot;
        attempt.protected = protected;
        attempt.retained = history;
    }

    pub(super) fn sweep(&self, state: &mut State, i: u8) {
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

    pub(super) fn stage(&self, state: &mut State, i: u8, reuse: bool) {
        let attempt = &state.attempts[i as usize];
        let save = i * self.bounds.saves + attempt.saves;
        let object = match self.without(Weakening::NamesReused) {
            true => attempt.saves,
            false => save,
        };
        let mut data = bit(object);
        if reuse && self.without(Weakening::ReuseOfListed) {
            let listed = (0..=state.last()).filter_map(|slot| state.commit_at(slot));
            // The oldest listed commit whose data is complete.
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

    pub(super) fn commit(&self, state: &mut State, i: u8, answer: Answer) {
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
            // Reading the slot back finds it empty, or filled by another attempt.
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
            state.wrong = Some("the commit of a fenced attempt is acknowledged");
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

    /// Begins to delete all but the newest commits.
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

pub(super) fn take_effect(state: &mut State, request: Request) {
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

/// Models `History::load` after its list. It starts again if it doubts what it read and the log has changed.
pub(super) fn read(state: &mut State, without: Option<Weakening>) {
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
    // A claim may have replaced a commit since the log was listed.
    let doubtful = missing || (claims && without != Some(Weakening::ClaimsWereClaims));
    if doubtful && state.slots() != listed {
        state.reader = Reader::Listed(state.slots(), acknowledged);
        return;
    }
    if missing {
        state.wrong = Some("a reader reports a pruned commit as damaged");
    } else if newest.map_or(0, |(slot, _)| slot) < acknowledged {
        state.wrong = Some("a reader misses a commit that was acknowledged before it began");
    }
    state.reader = Reader::Over;
}
