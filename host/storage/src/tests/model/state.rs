//! The states of the model: the storage, the requests in flight, the attempts and a reader.

use std::collections::BTreeSet;

use super::protocol::Page;

/// A slot of the log, counted from 1.
pub(super) type Slot = u8;
/// A set of data objects, or of slots.
pub(super) type Set = u64;

pub(super) fn bit(number: u8) -> Set {
    1 << number
}

pub(super) fn members(set: Set) -> impl Iterator<Item = u8> {
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
    pub(super) epoch: Slot,
    /// Identifies the save, as a write-id does.
    pub(super) save: u8,
    pub(super) retains: Set,
    pub(super) data: Set,
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
pub(super) enum Phase {
    Unborn,
    /// It has listed the log. The slot is that of the last record.
    Listed(Slot),
    Claimed(Slot),
    /// No record lies above its claim. It knows the newest commit, and has yet to read what else the location holds.
    Confirmed,
    /// No record lies above its claim. It has yet to sweep what older attempts left.
    Sweeping,
    Owner,
    /// Its data is durable. It has yet to put its commit.
    Staged(Commit),
    /// It has learned that it is fenced, or has failed to begin.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) phase: Phase,
    pub(super) epoch: Slot,
    pub(super) last: Slot,
    /// Newest first.
    pub(super) retained: Vec<(Slot, Set)>,
    pub(super) dead: Vec<(Slot, Set)>,
    pub(super) protected: Set,
    pub(super) undecided: Set,
    pub(super) saves: u8,
    pub(super) claims: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    Idle,
    /// The slots that it has listed, and the newest commit that was acknowledged when it began.
    Listed(Set, Slot),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) log: Vec<Option<Record>>,
    pub(super) data: Set,
    pub(super) requests: BTreeSet<Request>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) reader: Reader,
    pub(super) lost: u8,
    /// The slot and the save of the newest acknowledged commit.
    pub(super) acknowledged: (Slot, u8),
    /// The violation that happened, if any.
    pub(super) wrong: Option<&'static str>,
}

impl State {
    pub(super) fn at(&self, slot: Slot) -> Option<Record> {
        self.log.get(slot as usize).copied().flatten()
    }

    pub(super) fn put(&mut self, slot: Slot, record: Record) {
        let index = slot as usize;
        if self.log.len() <= index {
            self.log.resize(index + 1, None);
        }
        self.log[index] = Some(record);
    }

    pub(super) fn delete(&mut self, slot: Slot) {
        if let Some(record) = self.log.get_mut(slot as usize) {
            *record = None;
        }
        // Equal states must compare equal.
        while self.log.last() == Some(&None) {
            self.log.pop();
        }
    }

    pub(super) fn slots(&self) -> Set {
        let filled = (0..self.log.len()).filter(|slot| self.log[*slot].is_some());
        filled.fold(0, |set, slot| set | bit(slot as u8))
    }

    pub(super) fn last(&self) -> Slot {
        self.log.len().saturating_sub(1) as Slot
    }

    /// The last slot on a page of a list.
    pub(super) fn last_on(&self, page: Page) -> Slot {
        match page {
            Page::HasNewest => self.last(),
            Page::MissesNewest => {
                let others = (0..self.last()).rev();
                let mut filled = others.filter(|slot| self.at(*slot).is_some());
                filled.next().unwrap_or(0)
            }
        }
    }

    pub(super) fn commit_at(&self, slot: Slot) -> Option<Commit> {
        match self.at(slot) {
            Some(Record::Commit(commit)) => Some(commit),
            _ => None,
        }
    }

    pub(super) fn newest_commit(&self) -> Option<(Slot, Commit)> {
        let mut slots = (0..self.log.len() as Slot).rev();
        slots.find_map(|slot| Some((slot, self.commit_at(slot)?)))
    }

    /// Models `History::load`: the newest commit and the commits that it names.
    pub(super) fn history(&self) -> Vec<(Slot, Set)> {
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

    /// Whether the newest commit and all commits that it names can be restored.
    pub(super) fn is_restorable(&self) -> bool {
        let Some((_, newest)) = self.newest_commit() else {
            return true;
        };
        self.is_whole(newest)
    }

    /// Whether the commits that it names and all their data exist.
    pub(super) fn is_whole(&self, commit: Commit) -> bool {
        members(commit.retains).all(|slot| {
            let named = self.commit_at(slot);
            named.is_some_and(|named| named.data & !self.data == 0)
        })
    }

    /// Whether a restore gives the commit that was acknowledged last, or a newer one.
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

    pub(super) fn epoch_of_object(&self, object: u8, saves: u8) -> Slot {
        self.attempts[(object / saves) as usize].epoch
    }
}
