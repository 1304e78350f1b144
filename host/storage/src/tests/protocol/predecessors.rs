//! Attempts whose locations differ: a new one looks through those before it.

use object_store::ObjectStoreExt;

use crate::error::ErrorKind;
use crate::location::{Location, OpenLocation};
use crate::paths;
use crate::tests::forge::{Cbor, claim_with};
use crate::tests::{begin, text};
use crate::{Attempt, AttemptSettings};

fn opened(url: &str) -> OpenLocation {
    url.parse::<Location>().unwrap().open().unwrap()
}

#[tokio::test]
async fn predecessors_without_checkpoints_are_skipped() {
    let [a, b, c] =
        ["a", "b", "c"].map(|name| opened(&format!("memory:///protocol/predecessors/{name}")));
    begin(&a).await.write("from a".into()).await.unwrap();
    let after = |previous: &OpenLocation| AttemptSettings::default().previous(previous.clone());
    // The attempt at b dies before its first save. The attempt at c knows only of b.
    Attempt::begin(b.clone(), after(&a)).await.unwrap();
    let third = Attempt::begin(c.clone(), after(&b)).await.unwrap();
    assert_eq!(text(&third).await.as_deref(), Some("from a"));
    // A later attempt without the setting finds it in the claim.
    let again = begin(&c).await;
    assert_eq!(text(&again).await.as_deref(), Some("from a"));
    again.write("from c".into()).await.unwrap();
    let own = Attempt::begin(c, after(&a)).await.unwrap();
    assert_eq!(text(&own).await.as_deref(), Some("from c"));
}

#[tokio::test]
async fn a_record_cannot_name_a_predecessor_in_another_storage() {
    let location = opened("memory:///forged-predecessor");
    let elsewhere = Cbor::Text("s3://somebody-elses/secrets".to_owned());
    let claim = claim_with(1, [(4, elsewhere)]);
    let path = paths::record(location.prefix(), 1);
    location.store().put(&path, claim.into()).await.unwrap();
    let refused = Attempt::begin(location, AttemptSettings::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidLocation);
}

#[tokio::test]
async fn following_a_cycle_of_predecessors_ends() {
    let [a, b] = ["a", "b"].map(|name| opened(&format!("memory:///protocol/circle/{name}")));
    let after = |previous: &OpenLocation| AttemptSettings::default().previous(previous.clone());
    Attempt::begin(a.clone(), after(&b)).await.unwrap();
    let attempt = Attempt::begin(b, after(&a)).await.unwrap();
    assert!(!attempt.prev_exists().await.unwrap());
}
