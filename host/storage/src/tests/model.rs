//! Every interleaving of the protocol, up to a bound, by a model checker.
//!
//! `cargo test --lib model -- --nocapture` prints the number of states, and the
//! counterexample to each line of the protocol that is left out.

mod protocol;

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

/// Three attempts of which each may be stalled at any point, and a newer one take over.
const ATTEMPTS: Bounds = Bounds {
    attempts: 3,
    saves: 1,
    claims: 2,
    lost: 2,
    keep: 1,
    reader: false,
};

/// Saves enough that what the first ones left is pruned, and used again.
const SAVES: Bounds = Bounds {
    attempts: 2,
    saves: 3,
    claims: 2,
    lost: 2,
    keep: 2,
    reader: false,
};

/// Somebody reads beside them.
const READER: Bounds = Bounds {
    attempts: 2,
    saves: 2,
    claims: 2,
    lost: 1,
    keep: 1,
    reader: true,
};

/// And beside three of them.
const READER_OF_THREE: Bounds = Bounds {
    attempts: 3,
    saves: 1,
    ..READER
};

#[test]
fn nothing_is_lost_by_attempts_that_take_over() {
    explore(ATTEMPTS);
}

#[test]
fn nothing_is_lost_by_pruning() {
    explore(SAVES);
}

#[test]
fn a_reader_finds_what_was_acknowledged() {
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
fn nothing_is_lost_by_three_attempts_with_two_saves_each() {
    explore(THREE);
}

/// The counterexample that is found when this line is left out.
fn counterexample(line: Weakening, bounds: Bounds) {
    let protocol = Protocol {
        bounds,
        without: Some(line),
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
            "{line:?} breaks nothing in {} states",
            checker.unique_state_count()
        );
    };
    println!("{line:?}: not \"{property}\": {:?}", path.into_actions());
}

macro_rules! each_line_is_needed {
    ($($name:ident: $line:ident within $bounds:expr,)*) => {$(
        #[test]
        fn $name() {
            counterexample(Weakening::$line, $bounds);
        }
    )*};
}

each_line_is_needed! {
    a_claim_needs_a_second_list: NoSecondList within THREE,
    a_commit_needs_its_write_id: NoWriteId within SAVES,
    claims_must_stay: ClaimsDeleted within THREE,
    the_last_record_before_a_claim_must_stay: LastRecordDeleted within THREE,
    data_must_be_durable_before_its_commit: CommitBeforeData within ATTEMPTS,
    undecided_data_must_stay: UndecidedDeleted within ATTEMPTS,
    only_what_is_retained_can_be_used_again: ReuseOfListed within SAVES,
    nothing_is_deleted_before_the_commit: DeletedBeforeCommit within SAVES,
    a_sweep_must_spare_newer_epochs: SweepOfAllEpochs within ATTEMPTS,
    names_must_not_be_used_again: NamesReused within ATTEMPTS,
    a_reader_must_list_again: ClaimsWereClaims within READER,
}
