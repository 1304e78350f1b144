//! Attempts whose locations differ: a new one looks through those before it, and believes a recorded one only if
//! it is what it was.

use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::{Error, ErrorKind};
use crate::location::{Location, OpenLocation};
use crate::paths;
use crate::tests::forge::{Cbor, LOCATION_ID, claim, claim_with};
use crate::tests::{begin, large, text};
use crate::{Attempt, AttemptSettings, ResumePoint};

fn opened(url: &str) -> OpenLocation {
    url.parse::<Location>().unwrap().open().unwrap()
}

/// Locations in the memory of this process, all beneath the name of a test.
fn locations<const N: usize>(test: &str) -> [OpenLocation; N] {
    std::array::from_fn(|n| opened(&format!("memory:///protocol/predecessors/{test}/{n}")))
}

fn after(previous: &OpenLocation) -> AttemptSettings {
    AttemptSettings::default().previous(previous.clone())
}

async fn begin_after(location: &OpenLocation, previous: &OpenLocation) -> Attempt {
    Attempt::begin(location.clone(), after(previous))
        .await
        .unwrap()
}

/// Why an attempt that names no predecessor cannot begin. Nobody is fenced by trying.
async fn refused(location: &OpenLocation) -> Error {
    let before = records(location).await;
    let began = Attempt::begin(location.clone(), AttemptSettings::default()).await;
    let error = began.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLocation, "{error:?}");
    for remedy in ["--prev", "--fresh"] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
    assert_eq!(records(location).await, before, "the location was claimed");
    // A reader finds the same.
    let read = location.checkpoints().await.unwrap_err();
    assert_eq!(read.to_string(), error.to_string());
    error
}

async fn records(location: &OpenLocation) -> Vec<u64> {
    crate::log::slot::list(location).await.unwrap()
}

/// Removes everything that a location holds.
async fn remove(location: &OpenLocation) {
    for path in objects(location).await {
        location.store().delete(&path).await.unwrap();
    }
}

async fn objects(location: &OpenLocation) -> Vec<Path> {
    use futures::TryStreamExt;
    let listed = location.store().list(Some(location.prefix()));
    listed
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .unwrap()
}

/// Moves everything to another location of the same storage.
async fn relocate(from: &OpenLocation, to: &OpenLocation) {
    for path in objects(from).await {
        let bytes = from
            .store()
            .get(&path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let moved = path
            .as_ref()
            .replace(from.prefix().as_ref(), to.prefix().as_ref());
        to.store().put(&moved.into(), bytes.into()).await.unwrap();
        from.store().delete(&path).await.unwrap();
    }
}

#[tokio::test]
async fn predecessors_without_checkpoints_are_skipped() {
    let [a, b, c] = locations("skipped");
    begin(&a).await.write("from a".into()).await.unwrap();
    // The attempt at b dies before its first save. The attempt at c knows only of b.
    begin_after(&b, &a).await;
    let third = begin_after(&c, &b).await;
    assert_eq!(text(&third).await.as_deref(), Some("from a"));
    // A later attempt without the setting finds it in the claim.
    let again = begin(&c).await;
    assert_eq!(text(&again).await.as_deref(), Some("from a"));
    again.write("from c".into()).await.unwrap();
    let own = begin_after(&c, &a).await;
    assert_eq!(text(&own).await.as_deref(), Some("from c"));
}

#[tokio::test]
async fn readers_look_through_predecessors() {
    let [a, b, c] = locations("readers");
    let saved = begin(&a).await.write("from a".into()).await.unwrap();
    begin_after(&b, &a).await;
    begin_after(&c, &b).await;
    let found = c.resumable().await.unwrap();
    let newest = found.checkpoints.first().unwrap().info();
    assert_eq!(
        (newest.sequence, newest.location.as_str()),
        (saved.sequence, a.url())
    );
    let searched: Vec<_> = found.predecessors.iter().map(OpenLocation::url).collect();
    assert_eq!(searched, [b.url(), a.url()]);
}

#[tokio::test]
async fn a_predecessor_that_never_began_is_an_empty_one() {
    let [own, never] = locations("never");
    assert_eq!(text(&begin_after(&own, &never).await).await, None);
    assert_eq!(text(&begin(&own).await).await, None);
}

#[tokio::test]
async fn a_predecessor_that_began_later_is_refused() {
    let [own, later] = locations("later");
    begin_after(&own, &later).await;
    begin(&later)
        .await
        .write("another task's".into())
        .await
        .unwrap();
    assert!(refused(&own).await.to_string().contains("began here later"));
    // Naming it again means that it is the right one.
    let named = begin_after(&own, &later).await;
    assert_eq!(text(&named).await.as_deref(), Some("another task's"));
    assert_eq!(
        text(&begin(&own).await).await.as_deref(),
        Some("another task's")
    );
}

#[tokio::test]
async fn a_predecessor_that_was_moved_away_is_refused() {
    let [own, old, new] = locations("moved");
    begin(&old).await.write("progress".into()).await.unwrap();
    begin_after(&own, &old).await;
    relocate(&old, &new).await;
    let error = refused(&own).await;
    assert!(error.to_string().contains(old.url()), "{error}");
    let named = begin_after(&own, &new).await;
    assert_eq!(text(&named).await.as_deref(), Some("progress"));
}

#[tokio::test]
async fn another_task_in_the_place_of_a_predecessor_is_refused() {
    let [own, old] = locations("replaced");
    begin(&old).await.write("progress".into()).await.unwrap();
    begin_after(&own, &old).await;
    remove(&old).await;
    for _ in 0..3 {
        begin(&old)
            .await
            .write("another task's".into())
            .await
            .unwrap();
    }
    assert!(
        refused(&own)
            .await
            .to_string()
            .contains("another task's location")
    );
}

#[tokio::test]
async fn a_predecessor_that_lost_its_checkpoints_is_refused() {
    let [own, old] = locations("lost");
    let saved = begin(&old).await.write("progress".into()).await.unwrap();
    begin_after(&own, &old).await;
    // A rule of the storage deletes what has not changed for some time, and a new attempt begins.
    begin(&old).await;
    let commit = paths::record(old.prefix(), saved.sequence);
    old.store().delete(&commit).await.unwrap();
    let error = refused(&own).await;
    assert!(
        error.to_string().contains("checkpoint 2 is not stored"),
        "{error}"
    );
}

#[tokio::test]
async fn a_predecessor_may_have_advanced_and_pruned() {
    let [own, old] = locations("advanced");
    let earlier = begin(&old).await;
    earlier.write("progress".into()).await.unwrap();
    begin_after(&own, &old).await;
    for n in 0..10 {
        earlier.write(format!("progress {n}").into()).await.unwrap();
    }
    earlier.settle().await;
    assert_eq!(
        text(&begin(&own).await).await.as_deref(),
        Some("progress 9")
    );
}

#[tokio::test]
async fn a_location_that_is_its_own_predecessor_has_none() {
    let [own] = locations("self");
    begin_after(&own, &own)
        .await
        .write("own".into())
        .await
        .unwrap();
    assert_eq!(
        text(&begin_after(&own, &own).await).await.as_deref(),
        Some("own")
    );
}

/// A copy has the id of the original. Only what the original has saved since makes it a predecessor.
#[tokio::test]
async fn an_unchanged_copy_is_no_predecessor_but_one_that_has_advanced_is() {
    let [own, original] = locations("copy");
    let first = begin(&original).await;
    for path in objects(&original).await {
        let bytes = original.store().get(&path).await.unwrap();
        let copy = path
            .as_ref()
            .replace(original.prefix().as_ref(), own.prefix().as_ref());
        let bytes = bytes.bytes().await.unwrap();
        own.store().put(&copy.into(), bytes.into()).await.unwrap();
    }
    let begun = begin_after(&own, &original).await;
    assert_eq!(text(&begun).await, None);
    first.write("progress".into()).await.unwrap();
    let named = begin_after(&own, &original).await;
    assert_eq!(text(&named).await.as_deref(), Some("progress"));
    assert_eq!(text(&begin(&own).await).await.as_deref(), Some("progress"));
}

#[tokio::test]
async fn predecessors_that_lead_back_are_refused() {
    let [a, b] = locations("circle");
    begin_after(&a, &b).await;
    let refused = Attempt::begin(b.clone(), after(&a)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidLocation);
    assert!(records(&b).await.is_empty(), "the location was claimed");
    // If b was begun on its own, a names an empty location that is no longer empty.
    begin(&b).await;
    let refused = Attempt::begin(b, after(&a)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidLocation);
}

#[tokio::test]
async fn a_record_cannot_name_a_predecessor_in_another_storage() {
    let [location] = locations("elsewhere");
    forge(&location, "s3://somebody-elses/secrets", [7; 16]).await;
    assert!(
        refused(&location)
            .await
            .to_string()
            .contains("another storage")
    );
}

#[tokio::test]
async fn a_forged_record_gives_nobody_the_checkpoints_of_another_task() {
    let [forged, secret] = locations("forged");
    begin(&secret).await.write("secret".into()).await.unwrap();
    // Whoever forges the record cannot read the id of the other location.
    forge(&forged, secret.url(), LOCATION_ID).await;
    refused(&forged).await;
}

/// Puts a claim that names a predecessor with this id.
async fn forge(location: &OpenLocation, url: &str, id: [u8; 16]) {
    let predecessor = Cbor::Map(vec![
        (0, Cbor::Text(url.to_owned())),
        (1, Cbor::Bytes(id.to_vec())),
        (2, Cbor::Uint(2)),
    ]);
    let claim = claim_with(1, [(4, predecessor)]);
    let path = paths::record(location.prefix(), 1);
    location.store().put(&path, claim.into()).await.unwrap();
}

#[tokio::test]
async fn a_named_predecessor_whose_records_are_damaged_is_refused() {
    let [own, old] = locations("damaged");
    let path = paths::record(old.prefix(), 1);
    old.store()
        .put(&path, claim(1)[..30].to_vec().into())
        .await
        .unwrap();
    let refused = Attempt::begin(own.clone(), after(&old)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(records(&own).await.is_empty(), "the location was claimed");
}

#[tokio::test]
async fn beginning_afresh_ignores_what_is_stored_until_something_is_saved() {
    let [own, old] = locations("fresh");
    begin(&old).await.write("old".into()).await.unwrap();
    begin_after(&own, &old).await.write(large(1)).await.unwrap();
    let fresh = Attempt::begin(own.clone(), AttemptSettings::default().fresh());
    let fresh = fresh.await.unwrap();
    assert_eq!(fresh.resume_point().await.unwrap(), ResumePoint::Fresh);
    assert_eq!(text(&fresh).await, None);
    // An attempt that dies before it saves has lost nothing, and is not resumed from what was given up.
    let next = begin(&own).await;
    assert_eq!(next.resume_point().await.unwrap(), ResumePoint::Fresh);
    assert!(own.checkpoints().await.unwrap().is_empty());
    assert!(own.verify().await.unwrap().checkpoints.len() == 1);
    next.write("new".into()).await.unwrap();
    next.settle().await;
    assert_eq!(crate::tests::checkpoints(&own).await.len(), 1);
    assert_eq!(text(&begin(&own).await).await.as_deref(), Some("new"));
    assert!(
        crate::contents::read::list_objects(&own)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn beginning_afresh_is_the_way_out_where_a_predecessor_is_gone() {
    let [own, old] = locations("way-out");
    begin(&old).await.write("old".into()).await.unwrap();
    begin_after(&own, &old).await;
    remove(&old).await;
    refused(&own).await;
    let fresh = Attempt::begin(own.clone(), AttemptSettings::default().fresh());
    assert_eq!(text(&fresh.await.unwrap()).await, None);
    assert_eq!(text(&begin(&own).await).await, None);
}
