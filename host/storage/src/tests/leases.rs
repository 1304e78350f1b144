//! A checkpoint that was found is leased before a save can delete it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::faulty_store::{Fault, FaultyStore};
use super::noise::noise;
use super::{at, keep, memory};
use crate::Attempt;
use crate::environment::Environment;
use crate::metadata::Metadata;

/// Long enough for a call to reach the point where it waits for another one: time is paused, so it passes
/// only when nothing else can happen.
const UNTIL_IT_WAITS: Duration = Duration::from_millis(1);

/// A read finds a checkpoint while a save already waits for the attempt, and that save retires what the read
/// found. Were the lease taken under a second lock, the save would come between the two.
#[tokio::test(start_paused = true)]
async fn a_waiting_save_does_not_delete_what_a_read_has_found() {
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone()).with_environment(Environment::simulated());
    let attempt = Arc::new(Attempt::begin(location, keep(1)).await.unwrap());
    let [first, second, third] = [1, 2, 3].map(|seed| noise(seed, 100_000));
    attempt.write(first.into()).await.unwrap();
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    stream.write(third.into()).await.unwrap();

    // The next record holds the attempt for a second. Reads are slow, so that a deletion overtakes them.
    let mut records = 0;
    store.plan(move |operation| match operation.verb {
        "put" if operation.path.contains("/log/") => {
            records += 1;
            (records == 1).then_some(Fault::Slow)
        }
        "get" => Some(Fault::Slow),
        _ => None,
    });
    let (writer, contents) = (attempt.clone(), second.clone());
    let saving = tokio::spawn(async move { writer.write(contents.into()).await });
    sleep(UNTIL_IT_WAITS).await;
    let reader = attempt.clone();
    let reading = tokio::spawn(async move { reader.read().await });
    sleep(UNTIL_IT_WAITS).await;
    let committing = tokio::spawn(stream.commit());
    saving.await.unwrap().unwrap();
    committing.await.unwrap().unwrap();
    let read = reading.await.unwrap().unwrap();
    assert!(read.as_deref() == Some(&second[..]));
}
