//! How saves become visible, also when answers are lost or puts arrive late.

use crate::error::ErrorKind;
use crate::tests::faulty_store::Fault;
use crate::tests::{begin, faulty, large, text};

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.fail_puts("", Fault::AnswerIsLost);
    let saved = attempt.write("once".into()).await.unwrap();
    assert_eq!(saved.sequence, 2);
    assert_eq!(text(&attempt).await.as_deref(), Some("once"));
}

#[tokio::test]
async fn a_save_skips_the_slot_of_a_late_commit() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.fail_puts("/log/", Fault::Withheld);
    let error = attempt.write(large(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.recover();
    store.release().await;
    let saved = attempt.write(large(2)).await.unwrap();
    assert_eq!(saved.sequence, 3, "the slot after the late commit");
    assert_eq!(attempt.read().await.unwrap(), Some(large(2)));
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(2)));
}

#[tokio::test]
async fn the_data_of_an_undecided_commit_survives_later_failures() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.fail_puts("/log/", Fault::Withheld);
    attempt.write(large(1)).await.unwrap_err();
    store.fail_puts("/data/", Fault::Fails);
    attempt.write(large(2)).await.unwrap_err();
    // The process dies before the first commit arrives.
    drop(attempt);
    store.recover();
    store.release().await;
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn a_late_commit_never_replaces_a_newer_save() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.fail_puts("/log/", Fault::Withheld);
    attempt.write(large(1)).await.unwrap_err();
    store.recover();
    attempt.write(large(2)).await.unwrap();
    store.release().await;
    assert_eq!(begin(&location).await.read().await.unwrap(), Some(large(2)));
}

#[tokio::test]
async fn a_small_save_takes_one_request() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.recover();
    attempt.write(vec![7; 1024].into()).await.unwrap();
    assert_eq!(store.operations(), 1);
}
