//! Checks that the test server, which the other tests rely on, behaves like S3.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future, stream};
use object_store::path::Path;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};

use crate::support::s3::{Fate, Server};

#[tokio::test]
async fn objects_are_listed_and_read_completely_and_in_ranges() {
    let server = Server::start();
    let client = server.client("bucket");
    let path = Path::from("a/odd ?[* name");
    client.put(&path, "0123456789".into()).await.unwrap();

    let whole = client.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(whole, "0123456789");
    assert_eq!(client.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(client.head(&path).await.unwrap().size, 10);
    let listed: Vec<_> = client.list(None).try_collect().await.unwrap();
    assert_eq!(listed[0].location, path);

    client.delete(&path).await.unwrap();
    let gone = client.get(&path).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn listings_take_several_pages_and_group_by_the_delimiter() {
    let server = Server::start();
    let client = server.client("bucket");
    for number in 0..230 {
        let path = Path::from(format!("p/{:02}/{number:03}", number % 110));
        client.put(&path, "x".into()).await.unwrap();
    }
    client.put(&Path::from("q"), "x".into()).await.unwrap();

    let prefix = Path::from("p");
    let all: Vec<_> = client.list(Some(&prefix)).try_collect().await.unwrap();
    assert_eq!(all.len(), 230);
    let grouped = client.list_with_delimiter(Some(&prefix)).await.unwrap();
    assert_eq!(grouped.common_prefixes.len(), 110);
    assert!(grouped.objects.is_empty());
    let late: Vec<_> = client
        .list_with_offset(Some(&prefix), &Path::from("p/99"))
        .try_collect()
        .await
        .unwrap();
    assert!(late.iter().all(|o| o.location > Path::from("p/99")));

    let paths = all.into_iter().map(|o| Ok(o.location));
    let deleted = client.delete_stream(stream::iter(paths).boxed());
    let deleted: Vec<_> = deleted.try_collect().await.unwrap();
    assert_eq!(deleted.len(), 230);
    assert_eq!(server.keys("bucket"), ["q"]);
}

#[tokio::test]
async fn a_multipart_upload_appears_when_it_is_complete() {
    let server = Server::start();
    let client = server.client("bucket");
    let path = Path::from("big");
    let mut upload = client.put_multipart(&path).await.unwrap();
    upload.put_part("one".into()).await.unwrap();
    upload.put_part("two".into()).await.unwrap();
    assert!(client.head(&path).await.is_err());
    upload.complete().await.unwrap();
    let whole = client.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(whole, "onetwo");

    let mut upload = client.put_multipart(&path).await.unwrap();
    upload.put_part("three".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(client.head(&path).await.unwrap().size, 6);
}

#[tokio::test]
async fn an_update_needs_the_current_version() {
    let server = Server::start();
    let client = server.client("bucket");
    let path = Path::from("a");
    let first = client.put(&path, "1".into()).await.unwrap();
    let update = || PutMode::Update(UpdateVersion::from(first.clone()));
    client
        .put_opts(&path, "2".into(), update().into())
        .await
        .unwrap();
    let stale = client.put_opts(&path, "3".into(), update().into()).await;
    assert!(matches!(stale, Err(Error::Precondition { .. })));
}

#[tokio::test]
async fn exactly_one_of_several_racing_create_only_puts_wins() {
    let server = Server::start();
    let client = Arc::new(server.client("bucket"));
    for round in 0..10 {
        let path = Path::from(format!("round/{round}"));
        let puts = (0..20).map(|racer| {
            let (client, path) = (client.clone(), path.clone());
            tokio::spawn(async move {
                let payload = PutPayload::from(format!("racer {racer}"));
                match client
                    .put_opts(&path, payload, PutMode::Create.into())
                    .await
                {
                    Ok(_) => Some(racer),
                    Err(Error::AlreadyExists { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let winners = future::join_all(puts).await;
        let winners: Vec<i32> = winners.into_iter().filter_map(Result::unwrap).collect();
        let stored = client.get(&path).await.unwrap().bytes().await.unwrap();
        let text = format!("racer {}", winners[0]);
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(stored, text);
    }
}

#[tokio::test]
async fn a_request_fails_as_the_test_specifies() {
    let server = Server::start();
    let client = server.client("bucket");
    let path = Path::from("a");
    let create = || client.put_opts(&path, "1".into(), PutMode::Create.into());

    server.on_request(|_| Fate::Failed(403));
    assert!(create().await.is_err());
    assert_eq!(server.requests(), 1);

    server.on_request(|seen| match seen.number {
        0 => Fate::AnswerLost,
        _ => Fate::Served,
    });
    drop(create().await);
    assert_eq!(server.keys("bucket"), ["a"]);
}
