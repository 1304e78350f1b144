//! The errors that a guest sees and those that the host records.

use checkpoint_storage::ErrorKind;

use super::{Place, text};
use crate::{GuestError, Misuse};

#[tokio::test]
async fn fenced_is_never_forgotten() {
    let place = Place::new();
    let older = place.begin().await;
    older.write("kept".into(), vec![]).await.unwrap();
    let _newer = place.begin().await;
    let fenced = older.write("late".into(), vec![]).await;
    assert_eq!(fenced, Err(GuestError::Fenced));
    // It can still read its own save, and its calls can fail for other reasons.
    assert_eq!(text(&older).await.as_deref(), Some("kept"));
    older.misuse(Misuse::OutputTaken);
    let kind = older.last_failure().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Fenced));
}

#[tokio::test]
async fn a_fenced_attempt_begins_no_stream() {
    let place = Place::new();
    let older = place.begin().await;
    let open = older.begin_stream(vec![]).await.unwrap();
    let _newer = place.begin().await;
    assert_eq!(open.commit(0).await, Err(GuestError::Fenced));
    let begun = older.begin_stream(vec![]).await;
    assert_eq!(begun.err(), Some(GuestError::Fenced));
}

#[tokio::test]
async fn one_stream_is_written_at_a_time() {
    let session = Place::new().begin().await;
    let mut stream = session.begin_stream(vec![]).await.unwrap();
    let second = session.begin_stream(vec![]).await.err();
    assert!(matches!(second, Some(GuestError::QuotaExceeded(_))));
    stream.write("contents".into()).await;
    stream.commit(8).await.unwrap();
    session.begin_stream(vec![]).await.unwrap();
}

#[tokio::test]
async fn one_stream_is_read_at_a_time() {
    let session = Place::new().begin().await;
    assert!(session.read_stream().await.unwrap().is_none());
    session.write("contents".into(), vec![]).await.unwrap();
    let mut stream = session.read_stream().await.unwrap().unwrap();
    assert_eq!(
        stream.next().await.unwrap().as_deref(),
        Some(&b"contents"[..])
    );
    assert_eq!(stream.next().await.unwrap(), None);
    let second = session.read_stream().await.err();
    assert!(matches!(second, Some(GuestError::QuotaExceeded(_))));
    drop(stream);
    session.read_stream().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_lost_bytes_is_not_committed() {
    let session = Place::new().begin().await;
    let mut stream = session.begin_stream(vec![]).await.unwrap();
    stream.write("12345".into()).await;
    let refused = stream.commit(6).await.unwrap_err();
    let expected = "6 bytes were written, but 5 arrived; flush the stream before dropping it";
    assert_eq!(refused, GuestError::Other(expected.into()));
    assert!(!session.prev_exists().await.unwrap());
}

#[tokio::test]
async fn the_host_sees_each_error_in_full() {
    let session = Place::new().begin().await;
    let error = checkpoint_storage::Error::new(ErrorKind::Unavailable, "s3://bucket is down");
    let told = session.tell(error);
    assert!(!told.to_string().contains("bucket"));
    let seen = session.last_failure().unwrap();
    assert_eq!(seen.to_string(), "s3://bucket is down");
}
