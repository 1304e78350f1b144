//! Checks what each record says of the size of the records below it that are never deleted.

use std::collections::{BTreeMap, HashSet};

use crate::error::Error;
use crate::format::{Claim, Commit};

/// The readable records of a log, without their contents.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<u64, Sum>);

#[derive(Debug)]
struct Sum {
    /// The slot of its claim: its own if it is a claim.
    epoch: u64,
    is_claim: bool,
    /// What it says of the records below it.
    below: u64,
    /// What a record says that counts this one as the last of them.
    with_itself: u64,
}

impl Sums {
    pub(super) fn add_claim(&mut self, claim: &Claim, size_bytes: u64) {
        let (epoch, below) = (claim.epoch, claim.permanent_bytes);
        self.add(epoch, (epoch, true), below, size_bytes);
    }

    pub(super) fn add_commit(&mut self, sequence: u64, commit: &Commit, size_bytes: u64) {
        let below = commit.permanent_bytes;
        self.add(sequence, (commit.epoch, false), below, size_bytes);
    }

    fn add(&mut self, sequence: u64, (epoch, is_claim): (u64, bool), below: u64, size_bytes: u64) {
        let sum = Sum {
            epoch,
            is_claim,
            below,
            with_itself: below.saturating_add(size_bytes),
        };
        self.0.insert(sequence, sum);
    }

    /// Returns the records that disagree with the one that they follow. `listed` are the records of the
    /// log, readable or not.
    pub(super) fn disagreements(&self, listed: &[u64]) -> BTreeMap<u64, Error> {
        let invalid = self.invalid_claims(listed);
        let mut found = BTreeMap::new();
        // Records that say something wrong, or agree with one that does.
        let mut wrong = HashSet::new();
        for (&sequence, sum) in &self.0 {
            let followed = match sum.is_claim {
                true if invalid.contains(&sequence) => continue,
                true => sequence.saturating_sub(1),
                false => sum.epoch,
            };
            let expected = match (followed, self.0.get(&followed)) {
                (0, _) => 0,
                (_, Some(below)) if sum.is_claim || below.is_claim => below.with_itself,
                _ => continue,
            };
            match (expected == sum.below, wrong.contains(&followed)) {
                (true, false) => {}
                // The writer of a claim does not believe a wrong record.
                (false, true) if sum.is_claim => {}
                (_, true) => {
                    wrong.insert(sequence);
                }
                (false, false) => {
                    let what = format!(
                        "the record says that {} bytes below it are never deleted, but they are {expected}",
                        sum.below
                    );
                    wrong.insert(sequence);
                    found.insert(sequence, Error::corrupt(what));
                }
            }
        }
        found
    }

    /// Returns the claims that may not be valid. A claim that landed late, in a pruned slot, fences nobody, and does
    /// not follow what lies below it now: an older attempt has committed above it. What lies above it and is damaged
    /// may be such a commit.
    fn invalid_claims(&self, listed: &[u64]) -> HashSet<u64> {
        let mut invalid = HashSet::new();
        let mut oldest_above = u64::MAX;
        let mut is_above_known = true;
        for sequence in listed.iter().rev() {
            let Some(sum) = self.0.get(sequence) else {
                is_above_known = false;
                continue;
            };
            match sum.is_claim {
                true if oldest_above < *sequence || !is_above_known => {
                    invalid.insert(*sequence);
                }
                true => {}
                false => oldest_above = oldest_above.min(sum.epoch),
            }
            is_above_known = true;
        }
        invalid
    }
}
