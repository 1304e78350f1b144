//! How many requests follow one another until a task has what it resumes from. A store that takes a second for each
//! request measures it, in simulated time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tokio::time::Instant;

use super::noise::noise;
use super::{at, begin, begin_keeping};
use crate::environment::Environment;
use crate::location::OpenLocation;
use crate::{Attempt, AttemptSettings, Lookahead};

const SECOND: Duration = Duration::from_secs(1);

/// The same location, in a store that takes a second for each request, and a millisecond for each name in a list. A page
/// of a list has three.
fn slow(store: &Arc<InMemory>) -> OpenLocation {
    let config = ThrottleConfig {
        wait_put_per_call: SECOND,
        wait_get_per_call: SECOND,
        wait_list_per_call: SECOND,
        wait_list_per_entry: SECOND / 1000,
        wait_delete_per_call: SECOND,
        ..ThrottleConfig::default()
    };
    let location = at(Arc::new(ThrottledStore::new(store.clone(), config)));
    location.with_environment(Environment::simulated())
}

/// Begins an attempt and reads. Returns how many requests followed one another, with what was read.
async fn requests_until_read(store: &Arc<InMemory>) -> (u64, Option<Vec<u8>>) {
    let began = Instant::now();
    let settings = AttemptSettings::default();
    let attempt = Attempt::begin(slow(store), settings).await.unwrap();
    let contents = attempt.read().await.unwrap();
    let took = began.elapsed();
    (took.as_secs(), contents.map(|bytes| bytes.to_vec()))
}

#[tokio::test(start_paused = true)]
async fn at_most_four_requests_follow_one_another_until_a_small_checkpoint_is_read() {
    for (kept, claims) in [(1, 1), (100, 1), (3, 300)] {
        let store = Arc::new(InMemory::new());
        let location = at(store.clone());
        let attempt = begin_keeping(&location, kept).await;
        for save in 0..kept {
            attempt.write(save.to_string().into()).await.unwrap();
        }
        attempt.settle().await;
        // Attempts that die before they save, as in a crash loop.
        for _ in 1..claims {
            begin(&location).await;
        }
        let newest = (kept - 1).to_string().into_bytes();
        let read = requests_until_read(&store).await;
        assert_eq!(read, (4, Some(newest)), "{kept} kept, {claims} claims");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_looked_ahead_waits_for_two_requests_less() {
    let store = Arc::new(InMemory::new());
    begin(&at(store.clone()))
        .await
        .write("one".into())
        .await
        .unwrap();
    let ahead = Lookahead::read(slow(&store)).await.unwrap();
    let began = Instant::now();
    let attempt = Attempt::begin_after(ahead, AttemptSettings::default()).await;
    assert_eq!(attempt.unwrap().read().await.unwrap().unwrap(), "one");
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_saved_nothing_learns_so_after_at_most_four_requests() {
    for claims in [0, 1, 300] {
        let store = Arc::new(InMemory::new());
        for _ in 0..claims {
            begin(&at(store.clone())).await;
        }
        // An empty log has no record to read.
        let most = 4 - u64::from(claims == 0);
        assert_eq!(requests_until_read(&store).await, (most, None));
    }
}

#[tokio::test(start_paused = true)]
async fn large_contents_take_one_request_more() {
    let store = Arc::new(InMemory::new());
    let contents = noise(1, 100 << 10);
    let attempt = begin(&at(store.clone())).await;
    attempt.write(contents.clone().into()).await.unwrap();
    let (requests, read) = requests_until_read(&store).await;
    assert_eq!(requests, 5);
    assert!(read == Some(contents));
}

#[tokio::test(start_paused = true)]
async fn what_is_retained_is_read_side_by_side_beside_the_task() {
    let store = Arc::new(InMemory::new());
    let attempt = begin_keeping(&at(store.clone()), 30).await;
    for _ in 0..30 {
        attempt.write("one".into()).await.unwrap();
    }
    attempt.settle().await;
    let settings = AttemptSettings::default().keep(NonZeroUsize::new(30).unwrap());
    let attempt = Attempt::begin(slow(&store), settings).await.unwrap();
    let began = Instant::now();
    attempt.write("two".into()).await.unwrap();
    // The list of the log, its claim, the newest commit, those that it retains, the list of the data; then the put.
    assert!(began.elapsed() < 7 * SECOND, "{:?}", began.elapsed());
}
