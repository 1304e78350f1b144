//! Restoring a forged tree writes nothing outside its target.

use std::fs;
use std::path::Path;

use super::{Forged, dir, dir_with_canary, file, in_a_dir, inline, kind, link};
use crate::error::ErrorKind;
use crate::tests::forge::Cbor::{Array, Bytes, Text, Uint};
use crate::tests::forge::{Chunk, commit, data_object, entry, object_ref};
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;
use crate::tree::walk::TreeTarget;

#[tokio::test]
async fn a_checkpoint_over_the_limits_is_refused_before_anything_is_written() {
    let quota = ErrorKind::QuotaExceeded;
    let zeros = vec![0; 16 << 20];
    let stored = lz4_flex::block::compress(&zeros);
    let chunk = Chunk {
        stored_bytes: stored.len() as u64,
        codec: 1,
        ..Chunk::raw(&zeros)
    };
    let object = data_object([&stored[..]]);
    // A description of 32 MiB, in two nodes, with eight bytes for the time of each entry.
    let entries = 1_000_001;
    let many = commit([
        (6, Bytes(Vec::new())),
        (7, Array(vec![object_ref(1, 0, object.len() as u64)])),
        (
            16,
            Array(vec![
                Uint(1),
                Uint(entries),
                Uint(entries - 1),
                Uint((32 << 20) - 8 * entries),
                Uint(0),
                Uint(0),
                Array(vec![chunk.encoded(); 2]),
            ]),
        ),
    ]);
    let forged = Forged::put(&many, Some(object.clone())).await;
    forged
        .assert_refused("a million and one entries", quota)
        .await;

    // Slightly more than 64 GiB of zeros, from a data object of 64 KiB.
    let bomb = commit([
        (5, Array(vec![file("", 4097 * (16 << 20))])),
        (7, Array(vec![object_ref(1, 0, object.len() as u64)])),
        (8, Array(vec![chunk.encoded(); 4097])),
    ]);
    let forged = Forged::put(&bomb, Some(object)).await;
    forged.assert_refused("a decompression bomb", quota).await;
}

#[tokio::test]
async fn a_tree_that_no_directory_can_hold_is_refused_and_changes_nothing() {
    let levels = |most: usize| (1..=most).map(|n| dir(&vec!["d"; n].join("/")));
    for (name, payload) in [
        ("900 levels", in_a_dir(levels(900))),
        ("a name of 300 bytes", in_a_dir([file(&"n".repeat(300), 0)])),
        (
            "a link of 4,096 bytes",
            in_a_dir([link("a", &"t".repeat(4096))]),
        ),
        (
            "the marker as a file",
            in_a_dir([file(".task-checkpoint-restoring", 0)]),
        ),
        (
            "the marker as a directory",
            in_a_dir([
                dir(".task-checkpoint-restoring"),
                file(".task-checkpoint-restoring/a", 0),
            ]),
        ),
        (
            "the marker as a link",
            in_a_dir([link(".task-checkpoint-restoring", "../canary")]),
        ),
    ] {
        for (path, existing) in [
            ("target", Existing::Refuse),
            ("occupied", Existing::Replace),
        ] {
            let forged = Forged::put(&payload, None).await;
            let temp = dir_with_canary();
            let attempt = forged.begin().await;
            let target = || DirTree::ambient(&temp.path().join(path)).unwrap();
            let before = target().state().unwrap();
            let restored = attempt.restore(target(), existing).await;
            assert_eq!(kind(name, restored), ErrorKind::InvalidPath, "{name}");
            assert_eq!(fs::read(temp.path().join("canary")).unwrap(), b"sings");
            let mut beside: Vec<_> = fs::read_dir(temp.path()).unwrap().collect();
            beside.retain(|entry| entry.as_ref().unwrap().file_name() != "target");
            assert_eq!(beside.len(), 2, "{name}: a new file beside the target");
            assert_eq!(target().state().unwrap(), before, "{name}");
            // The target is still usable.
            attempt.write("instead".into()).await.unwrap();
            attempt.restore(target(), existing).await.unwrap();
        }
    }
}

#[tokio::test]
async fn links_are_restored_but_never_followed() {
    let temp = dir_with_canary();
    let canary = temp.path().join("canary");
    let payload = in_a_dir([
        link("absolute", canary.to_str().unwrap()),
        link("relative", "../canary"),
        link("up", ".."),
        link("z", "z"),
    ]);
    let forged = Forged::put(&payload, None).await;
    let before = fs::metadata(&canary).unwrap().modified().unwrap();
    let target = temp.path().join("target");
    let attempt = forged.begin().await;
    for _ in 0..2 {
        let place = DirTree::ambient(&target).unwrap();
        attempt.restore(place, Existing::Refuse).await.unwrap();
    }
    assert_eq!(fs::read_link(target.join("up")).unwrap(), Path::new(".."));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 4);
    // Replacing the directory removes the links, not their targets.
    let place = DirTree::ambient(&target).unwrap();
    attempt.write("instead".into()).await.unwrap();
    attempt.restore(place, Existing::Replace).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"instead");
    assert_eq!(fs::read(&canary).unwrap(), b"sings");
    assert_eq!(fs::metadata(&canary).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn times_out_of_range_do_not_fail_a_restore() {
    for time in [
        (i64::MIN, 0),
        (i64::MIN, 999_999_999),
        (i64::MAX, 999_999_999),
        (1 << 40, 1),
    ] {
        let tree = vec![
            entry("", 0o755, time, []),
            entry("a", 0o755, time, [(4, Uint(0))]),
            entry("b", 0o755, time, [(5, Text("a".into()))]),
        ];
        let forged = Forged::put(&inline(tree, b""), None).await;
        let temp = dir_with_canary();
        let target = DirTree::ambient(&temp.path().join("target")).unwrap();
        let attempt = forged.begin().await;
        let restored = attempt.restore(target, Existing::Refuse).await;
        assert_eq!(restored.unwrap(), Some(2), "{time:?}");
    }
}
