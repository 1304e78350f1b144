//! Fails every operation of every kind of save, of every kind of read, and of beginning an attempt, one at
//! a time.

mod reads;
mod saves;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::faulty_store::{Fault, FaultyStore};
use super::{begin, faulty, keep, large};
use crate::Attempt;
use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::location::OpenLocation;

const FAULTS: [Fault; 5] = [
    Fault::Fails,
    Fault::AnswerIsLost,
    Fault::HangsBefore,
    Fault::HangsAfter,
    Fault::Withheld,
];

/// Calls that take longer are dropped, as if the process had died.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a checkpoint. A single unnamed file has the name "".
type Files = BTreeMap<String, Vec<u8>>;

/// The files at a path and below it.
fn files_at(path: &Path) -> Files {
    fn add(path: &Path, name: String, files: &mut Files) {
        if path.is_file() {
            files.insert(name, fs::read(path).unwrap());
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let below = entry.file_name().into_string().unwrap();
            let name = if name.is_empty() {
                below
            } else {
                format!("{name}/{below}")
            };
            add(&entry.path(), name, files);
        }
    }
    let mut files = Files::new();
    add(path, String::new(), &mut files);
    files
}

/// An empty location in a store whose operations can be made to fail, with chunks so small that little data
/// makes many of them.
fn small() -> (Arc<FaultyStore>, OpenLocation) {
    let (store, location) = faulty();
    (store, location.with_environment(Environment::simulated()))
}

/// Runs a test in a time that passes only when nothing else can happen.
fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let test = async { timeout(Duration::from_secs(1 << 30), test()).await };
    let ended = runtime.unwrap().block_on(test);
    ended.expect("the test hangs");
}

#[tokio::test(start_paused = true)]
async fn unreachable_storage_is_an_error_and_not_fresh() {
    for fault in FAULTS {
        let mut number = 0;
        loop {
            let (store, location) = faulty();
            begin(&location).await.write(large(1)).await.unwrap();
            store.plan(move |op| (op.number == number).then_some(fault));
            let begun = timeout(PATIENCE, Attempt::begin(location.clone(), keep(1))).await;
            let done = store.operations() <= number;
            store.recover();
            match begun {
                Ok(Ok(attempt)) => {
                    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
                    attempt.write(large(2)).await.unwrap();
                }
                Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                Err(_) => {}
            }
            store.release().await;
            assert!(begin(&location).await.prev_exists().await.unwrap());
            if done {
                break;
            }
            number += 1;
        }
        assert!(number >= 4, "a claim makes at least four requests");
    }
}
