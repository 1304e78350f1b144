//! A background save that fails at any operation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use checkpoint_storage::{Attempt, AttemptSettings, DirTree, OpenLocation};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::time::timeout;
use wasmtime_checkpoint::session::{Answer, GuestError, Session, SessionSettings};

use super::faulty_store::{Fault, FaultyStore};
use crate::support::noise::noise;

const FAULTS: [Fault; 5] = [
    Fault::Fails,
    Fault::AnswerIsLost,
    Fault::HangsBefore,
    Fault::HangsAfter,
    Fault::Withheld,
];

/// Calls that take longer are dropped, as if the process had died. The clock is the runtime's, which the test pauses.
const PATIENCE: Duration = Duration::from_secs(60);

type Stage = for<'a> fn(&'a Session, &'a std::path::Path) -> BoxFuture<'a, Answer<()>>;

const SAVES: [(&str, Stage); 3] = [
    ("small contents", |session, _| {
        let staged = session.write_in_background(small(), vec![]);
        staged.boxed()
    }),
    ("large contents", |session, _| {
        let staged = session.write_in_background(large(), vec![]);
        staged.boxed()
    }),
    ("a file", |session, temp| {
        let file = temp.join("state");
        std::fs::write(&file, large()).unwrap();
        let staged = session.save_in_background(DirTree::ambient(&file), vec![]);
        staged.boxed()
    }),
];

fn small() -> Bytes {
    "small".into()
}

fn large() -> Bytes {
    noise(2, 300 << 10).into()
}

async fn begin(location: &OpenLocation) -> Session {
    let attempt = Attempt::begin(location.clone(), AttemptSettings::default()).await;
    Session::new(Arc::new(attempt.unwrap()), SessionSettings::default())
}

async fn read(session: &Session) -> Bytes {
    session.read().await.unwrap().expect("a checkpoint").bytes
}

/// Makes a background save whose operation with this number fails. Returns whether the save has that many operations.
async fn save_with((name, stage): (&str, Stage), fault: Fault, number: usize, dies: bool) -> bool {
    let what = format!("{name}: {fault:?} at {number}, dies: {dies}");
    let store = FaultyStore::new(Arc::new(InMemory::new()));
    let location = OpenLocation::new(store.clone(), Path::from("task"), "test:///task");
    let temp = tempfile::tempdir().unwrap();
    let session = begin(&location).await;
    session.write("before".into(), vec![]).await.unwrap();
    session.attempt().settle().await;
    store.plan(move |op| (op.number == number).then_some(fault));
    stage(&session, temp.path()).await.unwrap();
    let flushed = timeout(PATIENCE, session.flush()).await;
    let reached = store.operations() > number;
    store.recover();

    let after = match name {
        "small contents" => small(),
        _ => large(),
    };
    match &flushed {
        Ok(Ok(saved)) => {
            assert!(saved.is_some(), "{what}");
            assert_eq!(read(&session).await, after, "{what}");
        }
        Ok(Err(error)) => {
            assert!(
                matches!(error, GuestError::Unavailable(_)),
                "{what}: {error:?}"
            );
            // The failure is reported once, and the session goes on.
            assert!(!dies || read(&session).await == "before", "{what}");
        }
        Err(_) => {}
    }
    let hangs = flushed.is_err();
    if !dies && !hangs {
        session
            .write_in_background("later".into(), vec![])
            .await
            .unwrap();
        store.release().await;
    }
    let outcome = session.finish(PATIENCE).await;
    assert_eq!(outcome.lost.is_some(), hangs, "{what}: {:?}", outcome.lost);
    drop(session);

    let next = begin(&location).await;
    store.release().await;
    let found = read(&next).await;
    match flushed {
        _ if !dies && !hangs => assert_eq!(found, "later", "{what}"),
        Ok(Ok(_)) => assert_eq!(found, after, "{what}: an acknowledged save is lost"),
        _ => assert!(
            found == "before" || found == after,
            "{what}: neither the old nor the new checkpoint"
        ),
    }
    assert_eq!(location.verify().await.unwrap().findings, [], "{what}");
    reached
}

#[test]
fn a_background_save_that_fails_at_any_operation_leaves_the_old_or_the_new_checkpoint() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        for save in SAVES {
            for fault in FAULTS {
                for dies in [true, false] {
                    let mut number = 0;
                    while save_with(save, fault, number, dies).await {
                        number += 1;
                    }
                    assert!(number > 0, "{}: it made no operation", save.0);
                }
            }
        }
    });
}
