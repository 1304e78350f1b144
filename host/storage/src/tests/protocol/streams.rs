//! Streams that are dropped, fail or are not polled.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::error::ErrorKind;
use crate::log::slot;
use crate::metadata::Metadata;
use crate::tests::faulty_store::Fault;
use crate::tests::noise::noise;
use crate::tests::{begin, begin_keeping, faulty, large, memory, text};

#[tokio::test]
async fn a_dropped_stream_saves_nothing() {
    let (_, location) = memory();
    let attempt = Arc::new(begin(&location).await);
    attempt.write("kept".into()).await.unwrap();
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    for seed in 0..20 {
        stream.write(large(seed)).await.unwrap();
    }
    drop(stream);
    assert_eq!(text(&attempt).await.as_deref(), Some("kept"));
    assert_eq!(slot::list(&location).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_failed_stream_keeps_failing_and_does_not_hang() {
    let (store, location) = faulty();
    let attempt = Arc::new(begin(&location).await);
    store.plan(|op| op.path.contains("/data/").then_some(Fault::Fails));
    let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
    // The failure shows some pieces later, when a data object is full.
    let mut seed = 0;
    while stream.write(noise(seed, 8 << 20).into()).await.is_ok() {
        seed += 1;
        assert!(seed < 50, "the stream never fails");
    }
    stream.write(large(1)).await.unwrap_err();
    stream.commit().await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_is_not_polled_does_not_block_other_calls() {
    let (_, location) = memory();
    let first = Arc::new(begin(&location).await);
    first.write(large(1)).await.unwrap();
    let mut stream = first.read_stream().await.unwrap().unwrap();
    // A newer attempt sweeps the data that is being read. The read checks for that at its end.
    let second = begin_keeping(&location, 1).await;
    second.write("instead".into()).await.unwrap();
    second.settle().await;
    let mut reading = Box::pin(async {
        while stream.next().await?.is_some() {}
        Ok::<_, crate::error::Error>(())
    });
    let failed = loop {
        if let Some(read) = reading.as_mut().now_or_never() {
            break read.unwrap_err();
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), first.prev_exists());
        answer.await.expect("the call is not blocked").unwrap();
        tokio::task::yield_now().await;
    };
    assert_eq!(failed.kind(), ErrorKind::Fenced);
}
