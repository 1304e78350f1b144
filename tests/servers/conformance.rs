//! What the storage crate requires of every storage.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;

use checkpoint_storage::{
    Attempt, AttemptSettings, DirTree, ErrorKind, Existing, Metadata, OpenLocation, ResumePoint,
};
use futures::future::join_all;

use crate::support::noise::noise;
use crate::support::{Random, tree};

const MIB: usize = 1 << 20;

/// Opens the location with this name, which must be unused.
type Open<'a> = &'a (dyn Fn(&str) -> OpenLocation + Sync);

/// Runs all checks on the storage of these locations.
pub(super) async fn check_all(open: Open<'_>) {
    resumes_from_the_newest_checkpoint(open("bytes")).await;
    fences_stale_attempts(open("fencing")).await;
    lets_one_racing_attempt_win(open("race")).await;
    keeps_large_contents(open("large")).await;
    keeps_trees(open("tree")).await;
    keeps_the_newest_only(open("retention")).await;
}

async fn begin(location: &OpenLocation) -> Arc<Attempt> {
    begin_keeping(location, 3).await
}

async fn begin_keeping(location: &OpenLocation, keep: usize) -> Arc<Attempt> {
    let settings = AttemptSettings::default().keep(NonZeroUsize::new(keep).unwrap());
    Arc::new(Attempt::begin(location.clone(), settings).await.unwrap())
}

/// Asserts that everything in the location is intact.
async fn assert_intact(location: &OpenLocation) {
    let checked = location.verify().await.unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
}

async fn resumes_from_the_newest_checkpoint(location: OpenLocation) {
    let first = begin(&location).await;
    assert_eq!(first.resume_point().await.unwrap(), ResumePoint::Fresh);
    assert_eq!(first.read().await.unwrap(), None);
    for text in ["", "one", "two"] {
        first.write(text.into()).await.unwrap();
        assert_eq!(first.read().await.unwrap().unwrap(), text);
    }
    let second = begin(&location).await;
    assert_eq!(second.read().await.unwrap().unwrap(), "two");
    let third = begin(&location).await;
    assert!(third.prev_exists().await.unwrap());
    assert_eq!(third.read().await.unwrap().unwrap(), "two");
    assert_intact(&location).await;
}

async fn fences_stale_attempts(location: OpenLocation) {
    let older = begin(&location).await;
    older.write("old".into()).await.unwrap();
    let newer = begin(&location).await;
    for text in ["a", "b", "c", "d", "e"] {
        let error = older.write("stale".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        newer.write(text.into()).await.unwrap();
        newer.settle().await;
    }
    assert_eq!(begin(&location).await.read().await.unwrap().unwrap(), "e");
}

async fn lets_one_racing_attempt_win(location: OpenLocation) {
    let racers = (0..4).map(|_| begin(&location));
    let racers = join_all(racers).await;
    let saves = racers.iter().enumerate().map(|(number, racer)| async move {
        let text = format!("racer {number}");
        let saved = racer.write(text.clone().into()).await;
        saved.map(|_| text).map_err(|error| error.kind())
    });
    let saves = join_all(saves).await;
    let winners: Vec<_> = saves.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{saves:?}");
    let losers = saves.iter().filter_map(|save| save.as_ref().err());
    assert!(
        losers.clone().all(|kind| *kind == ErrorKind::Fenced),
        "{saves:?}"
    );
    let read = begin(&location).await.read().await.unwrap().unwrap();
    assert_eq!(read, winners[0].as_str());
}

async fn keeps_large_contents(location: OpenLocation) {
    let mut contents = noise(5, 24 * MIB);
    let attempt = begin(&location).await;
    attempt.write(contents.clone().into()).await.unwrap();
    // A later attempt does not store existing data again either.
    contents[9 * MIB..10 * MIB].fill(7);
    let next = begin(&location).await;
    let mut stream = next.write_stream(Metadata::default()).await.unwrap();
    for piece in contents.chunks(700_000) {
        stream.write(piece.to_vec().into()).await.unwrap();
    }
    let saved = stream.commit().await.unwrap();
    assert!(saved.uploaded_bytes < 8 * MIB as u64, "{saved:?}");

    let last = begin(&location).await;
    let mut stream = last.read_stream().await.unwrap().unwrap();
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert!(read == contents);
    assert_intact(&location).await;
}

async fn keeps_trees(location: OpenLocation) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("a directory/empty")).unwrap();
    fs::write(source.join("ünïcödé ✓"), "text").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("large"), noise(6, 3 * MIB)).unwrap();
    for number in 0..200 {
        let path = source.join("a directory").join(number.to_string());
        fs::write(path, number.to_string().repeat(100)).unwrap();
    }
    let beneath = |name: &str| {
        let root = cap_std::fs::Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority());
        DirTree::new(root.unwrap(), name).unwrap()
    };
    begin(&location)
        .await
        .save(beneath("source"))
        .await
        .unwrap();

    let next = begin(&location).await;
    let restored = next.restore(beneath("target"), Existing::Refuse).await;
    assert!(restored.unwrap().is_some());
    assert_eq!(tree(&dir.path().join("target")), tree(&source));
    assert_intact(&location).await;
}

async fn keeps_the_newest_only(location: OpenLocation) {
    let mut random = Random::new(7);
    let mut newest = Vec::new();
    for _ in 0..3 {
        let attempt = begin_keeping(&location, 2).await;
        for _ in 0..3 {
            newest = noise(random.next(), 200_000);
            attempt.write(newest.clone().into()).await.unwrap();
        }
        attempt.settle().await;
        let kept = location.checkpoints().await.unwrap();
        assert_eq!(kept.len(), 2, "{kept:?}");
    }
    let checked = location.verify().await.unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    assert_eq!(
        checked.objects, 2,
        "each of the two checkpoints has one data object, and there are no others"
    );
    let read = begin(&location).await.read().await.unwrap();
    assert!(read.unwrap() == newest);
}
