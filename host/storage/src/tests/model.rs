//! A model checker explores every interleaving of the protocol, up to a bound.
//!
//! [`cleaning`] and [`origins`] are small models of their own: of damage, and of recorded predecessors.
//!
//! `cargo test --lib model -- --nocapture` prints the number of states. For each rule of the protocol, it also
//! prints the counterexample that appears when the rule is left out.

mod cleaning;
mod origins;
mod protocol;
mod state;
mod steps;

use stateright::{Checker, HasDiscoveries, Model};

use protocol::{Bounds, Protocol, Weakening};

fn explore(bounds: Bounds) {
    let protocol = Protocol {
        bounds,
        without: None,
    };
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

/// Three attempts. Each may stall at any point while a newer one takes over.
const ATTEMPTS: Bounds = Bounds {
    attempts: 3,
    saves: 1,
    claims: 2,
    lost: 2,
    keep: 1,
    reader: false,
};

/// Enough saves that the first ones are pruned, and that later ones reuse data.
const SAVES: Bounds = Bounds {
    attempts: 2,
    saves: 3,
    claims: 2,
    lost: 2,
    keep: 2,
    reader: false,
};

/// Two attempts and a concurrent reader.
const READER: Bounds = Bounds {
    attempts: 2,
    saves: 2,
    claims: 2,
    lost: 1,
    keep: 1,
    reader: true,
};

/// Three attempts and a concurrent reader.
const READER_OF_THREE: Bounds = Bounds {
    attempts: 3,
    saves: 1,
    ..READER
};

#[test]
fn takeovers_lose_nothing() {
    explore(ATTEMPTS);
}

#[test]
fn pruning_loses_nothing() {
    explore(SAVES);
}

#[test]
fn a_reader_finds_every_acknowledged_commit() {
    explore(READER);
    explore(READER_OF_THREE);
}

/// Large enough for every counterexample that needs a third attempt.
const THREE: Bounds = Bounds {
    attempts: 3,
    saves: 2,
    claims: 2,
    lost: 1,
    keep: 1,
    reader: false,
};

#[test]
#[ignore = "minutes, and gigabytes of memory"]
fn three_attempts_with_two_saves_each_lose_nothing() {
    explore(THREE);
}

/// Asserts that the model has a counterexample when this rule is left out.
fn counterexample(rule: Weakening, bounds: Bounds) {
    let protocol = Protocol {
        bounds,
        without: Some(rule),
    };
    let checker = protocol.checker().threads(2);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.retain(|(property, _)| *property != "the last attempt commits");
    found.sort_by_key(|(_, path)| path.clone().into_actions().len());
    let Some((property, path)) = found.into_iter().next() else {
        panic!(
            "without the rule, {rule:?}, nothing breaks in {} states",
            checker.unique_state_count()
        );
    };
    println!("{rule:?}: not \"{property}\": {:?}", path.into_actions());
}

macro_rules! each_rule_is_needed {
    ($($name:ident: $rule:ident within $bounds:expr,)*) => {$(
        #[test]
        fn $name() {
            counterexample(Weakening::$rule, $bounds);
        }
    )*};
}

each_rule_is_needed! {
    a_claim_needs_a_second_list: NoSecondList within THREE,
    a_commit_needs_its_write_id: NoWriteId within SAVES,
    claims_must_not_be_deleted: ClaimsDeleted within THREE,
    the_last_record_before_a_claim_must_not_be_deleted: LastRecordDeleted within THREE,
    data_must_be_durable_before_its_commit: CommitBeforeData within ATTEMPTS,
    undecided_data_must_not_be_deleted: UndecidedDeleted within ATTEMPTS,
    only_retained_data_may_be_reused: ReuseOfListed within SAVES,
    nothing_may_be_deleted_before_the_commit: DeletedBeforeCommit within SAVES,
    a_sweep_must_spare_newer_epochs: SweepOfAllEpochs within ATTEMPTS,
    names_must_not_be_reused: NamesReused within ATTEMPTS,
    a_reader_must_list_again: ClaimsWereClaims within READER,
    the_first_page_of_a_list_must_have_the_newest_record: UnorderedLists within SAVES,
}
