//! What flytekit stores, and what else may lie there.

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::runtime::Handle;

use super::read::READ_BYTES;
use super::*;
use crate::tests::noise::noise;
use crate::tree::Tree;
use crate::{Attempt, AttemptSettings};

struct Bucket {
    store: Arc<InMemory>,
    source: OpenLocation,
}

impl Bucket {
    /// Of objects beneath the prefix, and one beside it.
    async fn of<C: Into<Bytes>>(objects: impl IntoIterator<Item = (&str, C)>) -> Self {
        let store = Arc::new(InMemory::new());
        let source = OpenLocation::new(store.clone(), Path::from("run/7"), "test:///run/7");
        let bucket = Self { store, source };
        bucket.put("run/70/other", "not of it").await;
        for (name, contents) in objects {
            bucket.put(&format!("run/7/{name}"), contents).await;
        }
        bucket
    }

    async fn put(&self, key: &str, contents: impl Into<Bytes>) {
        let path = Path::parse(key).unwrap();
        let contents: Bytes = contents.into();
        self.store.put(&path, contents.into()).await.unwrap();
    }

    async fn list(&self) -> Result<FlytekitObjects> {
        FlytekitObjects::list(&self.source, &Limits::default()).await
    }

    /// The tree that is read, and all of the contents.
    async fn read(&self) -> Result<(Tree, Vec<u8>)> {
        read(self.list().await?).await
    }
}

async fn read(source: FlytekitObjects) -> Result<(Tree, Vec<u8>)> {
    blocking::run(Threads::default(), move || {
        let mut reader = source.reader(&Limits::default(), &Cancel::never())?;
        let (mut contents, mut buffer) = (Vec::new(), vec![0; 100_000]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok((reader.finish()?, contents)),
                count => contents.extend_from_slice(&buffer[..count]),
            }
        }
    })
    .await?
}

fn assert_sizes(tree: &Tree, expected: &[(&str, Option<u64>)]) {
    let size = |entry: &Entry| match entry.node {
        Node::File { size_bytes } => Some(size_bytes),
        _ => None,
    };
    let found: Vec<_> = tree.entries().map(|e| (size(&e), e.path)).collect();
    let found = found.iter().map(|(size, path)| (path.as_str(), *size));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn bytes_become_what_a_task_reads() {
    for contents in ["", "step 7"] {
        let bucket = Bucket::of([("_dst_cp", contents)]).await;
        let attempt = Attempt::begin(
            OpenLocation::new(bucket.store.clone(), Path::from("to"), "test:///to"),
            AttemptSettings::default(),
        );
        let attempt = attempt.await.unwrap();
        attempt.save(bucket.list().await.unwrap()).await.unwrap();
        assert_eq!(attempt.read().await.unwrap().unwrap(), contents);
    }
}

#[tokio::test]
async fn a_file_keeps_its_name_and_may_have_company() {
    let bucket = Bucket::of([("model.bin", "weights")]).await;
    let (tree, contents) = bucket.read().await.unwrap();
    assert_sizes(&tree, &[("", None), ("model.bin", Some(7))]);
    assert_eq!(contents, b"weights");

    bucket.put("run/7/_dst_cp", "bytes").await;
    let (tree, contents) = bucket.read().await.unwrap();
    let expected = [("", None), ("_dst_cp", Some(5)), ("model.bin", Some(7))];
    assert_sizes(&tree, &expected);
    assert_eq!(contents, b"bytesweights");
}

#[tokio::test]
async fn a_url_may_name_one_object() {
    let bucket = Bucket::of([("a/model.bin", "weights")]).await;
    let prefix = Path::from("run/7/a/model.bin");
    let source = OpenLocation::new(bucket.store.clone(), prefix, "test:///file");
    let source = FlytekitObjects::list(&source, &Limits::default()).await;
    let (tree, contents) = read(source.unwrap()).await.unwrap();
    assert_sizes(&tree, &[("", Some(7))]);
    assert_eq!(contents, b"weights");
}

#[tokio::test]
async fn contents_follow_the_order_of_the_tree_and_not_of_the_listing() {
    let names = ["a/b", "a-b", "a", "c/d/e", "c/d-e", "empty"];
    let objects = names.map(|name| match name {
        "a" | "empty" => (name, ""),
        name => (name, name),
    });
    let bucket = Bucket::of(objects).await;
    let (tree, contents) = bucket.read().await.unwrap();
    let expected = [
        ("", None),
        // The marker of a directory, of which `object_store` drops the slash.
        ("a", None),
        ("a/b", Some(3)),
        ("a-b", Some(3)),
        ("c", None),
        ("c/d", None),
        ("c/d/e", Some(5)),
        ("c/d-e", Some(5)),
        ("empty", Some(0)),
    ];
    assert_sizes(&tree, &expected);
    assert_eq!(contents, b"a/ba-bc/d/ec/d-e");
}

#[tokio::test]
async fn any_name_comes_through() {
    let names = ["#1", "100%", "100%25", "[x]*?.txt", "a b", "a~b", "ü"];
    let bucket = Bucket::of(names.map(|name| (name, name))).await;
    let (tree, contents) = bucket.read().await.unwrap();
    let found: Vec<_> = tree.entries().map(|e| e.path).collect();
    assert_eq!(found[1..], names);
    assert_eq!(contents, names.concat().as_bytes());
}

#[tokio::test]
async fn large_objects_come_in_ranges() {
    let large = noise(1, 3 * READ_BYTES as usize + 5);
    let exact = noise(1, READ_BYTES as usize);
    let objects = [("1", large.clone()), ("2", exact.clone()), ("3", vec![7])];
    let bucket = Bucket::of(objects).await;
    let source = bucket.list().await.unwrap();
    let total = (large.len() + exact.len() + 1) as u64;
    assert_eq!(source.size_bytes().await, Some(total));
    let (tree, contents) = read(source).await.unwrap();
    let size_bytes = large.len() as u64;
    assert_eq!(
        tree.entries().nth(1).unwrap().node,
        Node::File { size_bytes }
    );
    assert!(contents == [large, exact, vec![7]].concat());
}

#[tokio::test]
async fn an_object_that_changes_has_the_size_that_was_read() {
    let before = noise(1, READ_BYTES as usize + 5);
    let bucket = Bucket::of([("a", before), ("b", vec![7]), ("c", vec![8])]).await;
    let source = bucket.list().await.unwrap();
    bucket.put("run/7/a", "short").await;
    bucket.put("run/7/b", "longer").await;
    let (tree, contents) = read(source).await.unwrap();
    let expected = [("", None), ("a", Some(5)), ("b", Some(6)), ("c", Some(1))];
    assert_sizes(&tree, &expected);
    assert_eq!(contents, b"shortlonger\x08");
}

#[tokio::test]
async fn an_object_is_never_a_mixture_of_two_versions() {
    let large = noise(1, 20 * READ_BYTES as usize);
    let bucket = Bucket::of([("a", large.clone())]).await;
    let source = bucket.list().await.unwrap();
    let (store, path) = (bucket.store.clone(), Path::from("run/7/a"));
    let error = blocking::run(Threads::default(), move || {
        let mut reader = source.reader(&Limits::default(), &Cancel::never()).unwrap();
        let mut buffer = vec![0; 100_000];
        reader.read(&mut buffer).unwrap();
        let put = async { store.put(&path, large.into()).await };
        Handle::current().block_on(put).unwrap();
        loop {
            match reader.read(&mut buffer) {
                Ok(count) => assert!(count > 0, "a mixture was read to its end"),
                Err(error) => return error,
            }
        }
    });
    let error = error.await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("run/7/a changed"), "{error}");
}

#[tokio::test]
async fn what_is_no_plain_checkpoint_is_refused_by_name() {
    let refused: [(&[(&str, &str)], &str); 3] = [
        (&[], "no such file or directory"),
        (
            &[("a", "x"), ("a/b", "y")],
            "\"a\" is both an object and a prefix",
        ),
        (&[("log/09223372036854775807", "x")], "holds checkpoints"),
    ];
    for (objects, why) in refused {
        let bucket = Bucket::of(objects.iter().copied()).await;
        let error = bucket.list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidPath, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("test:///run/7") && text.contains(why),
            "{text}"
        );
    }
}

#[tokio::test]
async fn more_than_the_limits_permit_is_not_listed_to_its_end() {
    let bucket = Bucket::of([("a", "1"), ("b", "2"), ("c", "3")]).await;
    let limits = Limits {
        entries: 2,
        ..Limits::default()
    };
    let error = FlytekitObjects::list(&bucket.source, &limits).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

#[tokio::test]
async fn a_marker_with_nothing_beneath_it_is_an_empty_directory() {
    let bucket = Bucket::of([("a", "1"), ("none", "")]).await;
    let source = bucket.list().await.unwrap();
    // As a storage that has `none/`, which is listed as `none`, answers.
    let path = Path::from("run/7/none");
    bucket.store.delete(&path).await.unwrap();
    let (tree, _) = read(source).await.unwrap();
    assert_sizes(&tree, &[("", None), ("a", Some(1)), ("none", None)]);
}
