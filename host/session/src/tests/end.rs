//! The end of an attempt.

use std::time::Duration;

use checkpoint_storage::ErrorKind;

use super::{Place, text};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_end_commits_what_is_staged() {
    let place = Place::new();
    let session = place.begin().await;
    session
        .write_in_background("staged".into(), vec![])
        .await
        .unwrap();
    let outcome = session.finish(MINUTE).await;
    assert!(outcome.lost.is_none() && outcome.failure.is_none());
    assert_eq!(outcome.totals.saves, 1);
    assert_eq!(place.found().await.as_deref(), Some("staged"));
}

#[tokio::test]
async fn the_end_reports_a_lost_save_however_often_it_is_asked() {
    let place = Place::new();
    let session = place.begin().await;
    let _newer = place.begin().await;
    session
        .write_in_background("lost".into(), vec![])
        .await
        .unwrap();
    for _ in 0..2 {
        let outcome = session.finish(MINUTE).await;
        let lost = outcome.lost.map(|error| error.kind());
        assert_eq!(lost, Some(ErrorKind::Fenced));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_no_longer_than_its_timeout() {
    let place = Place::new();
    let session = place.begin().await;
    place.slow_puts(60 * MINUTE);
    session
        .write_in_background("slow".into(), vec![])
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let outcome = session.finish(MINUTE).await;
    assert!(began.elapsed() <= 2 * MINUTE, "{:?}", began.elapsed());
    let lost = outcome.lost.map(|error| error.kind());
    assert_eq!(lost, Some(ErrorKind::Unavailable));
    // The outcome does not change when the save ends later.
    tokio::time::sleep(120 * MINUTE).await;
    assert!(session.finish(MINUTE).await.lost.is_some());
}

#[tokio::test]
async fn nothing_is_saved_after_the_end() {
    let place = Place::new();
    let session = place.begin().await;
    session.write("kept".into(), vec![]).await.unwrap();
    let stream = session.begin_stream(vec![]).await.unwrap();
    let _ = session.finish(MINUTE).await;
    session.write("late".into(), vec![]).await.unwrap_err();
    session
        .write_in_background("late".into(), vec![])
        .await
        .unwrap_err();
    stream.commit(0).await.unwrap_err();
    assert_eq!(text(&session).await.as_deref(), Some("kept"));
}
