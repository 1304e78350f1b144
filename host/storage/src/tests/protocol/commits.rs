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
    attempt.settle().await;
    store.recover();
    attempt.write(vec![7; 1024].into()).await.unwrap();
    assert_eq!(store.operations(), 1);
}

/// S3 answers 409 while another request to the same key is in flight.
#[tokio::test(start_paused = true)]
async fn a_commit_is_put_again_if_the_storage_reports_a_conflict_for_an_empty_slot() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    let mut conflicts = 3;
    store.plan(move |op| {
        let conflict = op.verb == "put" && conflicts > 0;
        conflicts -= i32::from(conflict);
        conflict.then_some(Fault::Conflict)
    });
    let saved = attempt.write("saved".into()).await.unwrap();
    assert_eq!(saved.sequence, 2, "the slot stays the same");
    assert_eq!(
        text(&begin(&location).await).await.as_deref(),
        Some("saved")
    );
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_always_reports_a_conflict_is_unavailable_in_the_end() {
    let (store, location) = faulty();
    let attempt = begin(&location).await;
    store.fail_puts("log", Fault::Conflict);
    let refused = attempt.write("refused".into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    store.recover();
    assert_eq!(attempt.write("saved".into()).await.unwrap().sequence, 2);
}
