//! Files and directories round-trip through the storage.

use std::fs;

use super::noise::noise;
use super::{begin, dir_tree, large, memory};
use crate::contents::sizes::Sizes;
use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::location::Location;
use crate::tree::target::Existing;

#[tokio::test]
async fn a_directory_round_trips() {
    let (_, location) = memory();
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir_all(from.join("empty")).unwrap();
    fs::write(from.join("large"), large(1)).unwrap();
    fs::write(from.join("nothing"), "").unwrap();
    fs::create_dir(from.join("ünter [*?]")).unwrap();
    fs::write(from.join("ünter [*?]/small"), "small").unwrap();
    let attempt = begin(&location).await;
    let saved = attempt.save(dir_tree(&from)).await.unwrap();
    assert_eq!(saved.logical_bytes, large(1).len() as u64 + 5);

    let next = begin(&location).await;
    let restored = next.restore(dir_tree(&to), Existing::Refuse).await.unwrap();
    assert_eq!(restored, Some(saved.sequence));
    assert_eq!(fs::read(to.join("large")).unwrap(), large(1));
    assert_eq!(fs::read(to.join("nothing")).unwrap(), b"");
    assert_eq!(fs::read(to.join("ünter [*?]/small")).unwrap(), b"small");
    assert_eq!(fs::read_dir(to.join("empty")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 4);

    // Restoring again is a no-op with the same result.
    let again = next.restore(dir_tree(&to), Existing::Refuse).await.unwrap();
    assert_eq!(again, Some(saved.sequence));
    assert_eq!(
        next.read().await.unwrap_err().kind(),
        ErrorKind::NotSingle(3)
    );
}

#[tokio::test]
async fn a_target_with_other_contents_is_refused_unless_replacing() {
    let (_, location) = memory();
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    for dir in [&from, &to] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(from.join("a"), large(1)).unwrap();
    let attempt = begin(&location).await;
    attempt.save(dir_tree(&from)).await.unwrap();
    let mut changed = large(1).to_vec();
    changed[1_200_000] ^= 1;
    for (name, contents) in [("a", &changed[..]), ("b", b"stale")] {
        fs::write(to.join(name), contents).unwrap();
        let refused = attempt.restore(dir_tree(&to), Existing::Refuse).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidPath);
        assert_eq!(fs::read(to.join(name)).unwrap(), contents);
    }
    attempt
        .restore(dir_tree(&to), Existing::Replace)
        .await
        .unwrap();
    assert_eq!(fs::read(to.join("a")).unwrap(), large(1));
    assert!(!to.join("b").exists());
}

#[tokio::test]
async fn a_file_round_trips_as_a_file() {
    let (_, location) = memory();
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::write(&from, "contents").unwrap();
    let attempt = begin(&location).await;
    attempt.save(dir_tree(&from)).await.unwrap();
    assert_eq!(attempt.read().await.unwrap().unwrap(), "contents");
    attempt
        .restore(dir_tree(&to), Existing::Refuse)
        .await
        .unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"contents");
}

#[tokio::test]
async fn saving_a_missing_path_fails_and_changes_nothing() {
    let (_, location) = memory();
    let temp = tempfile::tempdir().unwrap();
    let attempt = begin(&location).await;
    attempt.write("before".into()).await.unwrap();
    let error = attempt.save(dir_tree(&temp.path().join("missing"))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidPath);
    assert_eq!(attempt.read().await.unwrap().unwrap(), "before");
}

#[tokio::test]
async fn staging_files_of_a_dead_process_are_swept() {
    let temp = tempfile::tempdir().unwrap();
    let location = Location::from_path(temp.path()).open().unwrap();
    begin(&location).await.write(large(1)).await.unwrap();
    let stale = ["log/09223372036854775806#1", "data/1-0#17"];
    let others = ["data/9-0#1", "data/notes#1", "log/09223372036854775806#x"];
    for name in stale.iter().chain(&others) {
        fs::write(temp.path().join(name), "half").unwrap();
    }
    let next = begin(&location).await;
    next.settle().await;
    for name in stale {
        assert!(!temp.path().join(name).exists(), "{name}");
    }
    for name in others {
        assert!(temp.path().join(name).exists(), "{name}");
    }
    assert_eq!(next.read().await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn contents_are_whole_even_if_the_first_batch_would_fit_into_the_commit() {
    let small = Sizes::small();
    let sizes = Sizes {
        inline: small.batch_at(0),
        ..small
    };
    let (_, location) = memory();
    let location = location.with_environment(Environment::simulated().with_sizes(sizes));
    let attempt = begin(&location).await;
    for batches in 1..=4 {
        let contents = noise(batches as u64, batches * sizes.inline + 1);
        attempt.write(contents.clone().into()).await.unwrap();
        assert!(attempt.read().await.unwrap().unwrap() == contents);
        // Their first batch is shorter: what is left after the cuts goes to the next one.
        attempt.write_borrowed(&contents).await.unwrap();
        assert!(attempt.read().await.unwrap().unwrap() == contents);
    }
}
