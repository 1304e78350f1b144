//! Every operation of a save and of a beginning fails, or is the last of its process, in turn.

use std::time::Duration;

use super::faulty_store::{Fault, FaultyStore};
use super::{at, begin, keep, large, memory};
use crate::{Attempt, ErrorKind};

const FAULTS: [Fault; 4] = [
    Fault::Fails,
    Fault::AnswerIsLost,
    Fault::HangsBefore,
    Fault::HangsAfter,
];

#[tokio::test(start_paused = true)]
async fn whatever_operation_of_a_save_goes_wrong_the_checkpoint_is_the_old_or_the_new() {
    for fault in FAULTS {
        let mut number = 0;
        loop {
            let (inner, _) = memory();
            let store = FaultyStore::new(inner);
            let location = at(store.clone());
            let attempt = Attempt::begin(location.clone(), keep(1)).await.unwrap();
            attempt.write(large(1)).await.unwrap();
            store.plan(move |op| (op.number == number).then_some(fault));
            // What hangs is dropped, as the death of the process would do.
            let save = attempt.write(large(2));
            let saved = tokio::time::timeout(Duration::from_secs(60), save).await;
            let done = store.operations() <= number;
            store.plan(|_| None);
            let next = begin(&location).await;
            let found = next.read().await.unwrap().unwrap();
            match saved {
                Ok(Ok(_)) => assert_eq!(found, large(2), "{fault:?} at {number}"),
                Ok(Err(error)) => {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::Unavailable,
                        "{fault:?} at {number}"
                    );
                    assert!(found == large(1) || found == large(2));
                }
                Err(_) => assert!(found == large(1) || found == large(2)),
            }
            // And an attempt that lived on saves again.
            drop(next);
            if done {
                break;
            }
            number += 1;
        }
        assert!(
            number >= 2,
            "a save of this size is data, record and deletion"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_goes_on_after_a_save_that_failed_or_was_dropped() {
    for fault in FAULTS {
        for number in 0..3 {
            let (inner, _) = memory();
            let store = FaultyStore::new(inner);
            let location = at(store.clone());
            let attempt = begin(&location).await;
            attempt.write(large(1)).await.unwrap();
            store.plan(move |op| (op.number == number).then_some(fault));
            let save = attempt.write(large(2));
            let _ = tokio::time::timeout(Duration::from_secs(60), save).await;
            store.plan(|_| None);
            attempt.write(large(3)).await.unwrap();
            assert_eq!(attempt.read().await.unwrap(), Some(large(3)));
            assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(3)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn storage_that_cannot_be_reached_is_an_error_and_never_fresh() {
    for fault in FAULTS {
        let mut number = 0;
        loop {
            let (inner, _) = memory();
            let store = FaultyStore::new(inner);
            let location = at(store.clone());
            begin(&location).await.write(large(1)).await.unwrap();
            store.plan(move |op| (op.number == number).then_some(fault));
            let begun = Attempt::begin(location.clone(), keep(1));
            let begun = tokio::time::timeout(Duration::from_secs(60), begun).await;
            let done = store.operations() <= number;
            store.plan(|_| None);
            match begun {
                Ok(Ok(attempt)) => {
                    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
                    attempt.write(large(2)).await.unwrap();
                }
                Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                Err(_) => {}
            }
            assert!(begin(&location).await.prev_exists().await.unwrap());
            if done {
                break;
            }
            number += 1;
        }
        assert!(number >= 4, "a claim lists, puts, lists and reads");
    }
}
