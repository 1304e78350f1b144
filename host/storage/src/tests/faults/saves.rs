//! A save that fails at any operation.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::{FAULTS, Files, PATIENCE, files_at, run, small};
use crate::Attempt;
use crate::error::{ErrorKind, Result};
use crate::metadata::Metadata;
use crate::tests::faulty_store::Fault;
use crate::tests::noise::noise;
use crate::tests::{begin, begin_keeping, dir_tree, large, prune};
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;

/// A kind of save.
pub(super) struct Save {
    pub(super) name: &'static str,
    pub(super) make: for<'a> fn(&'a Arc<Attempt>, &'a Path) -> BoxFuture<'a, Result<()>>,
    /// The files that are restored afterwards.
    pub(super) after: fn() -> Files,
    /// The verb and a part of the path of an operation that the save must make.
    needs: (&'static str, &'static str),
}

pub(super) const SAVES: [Save; 6] = [
    Save {
        name: "a small write",
        make: |attempt, _| async { attempt.write("small".into()).await.map(drop) }.boxed(),
        after: || [(String::new(), b"small".to_vec())].into(),
        needs: ("put", "/log/"),
    },
    Save {
        name: "a large write",
        make: |attempt, _| {
            async { attempt.write(noise(2, 150 << 10).into()).await.map(drop) }.boxed()
        },
        after: || [(String::new(), noise(2, 150 << 10))].into(),
        needs: ("put", "/data/"),
    },
    // It needs so little of some data objects that their live chunks are copied to new ones.
    Save {
        name: "a write that reuses stored chunks",
        make: |attempt, _| async { attempt.write(rest().into()).await.map(drop) }.boxed(),
        after: || [(String::new(), rest())].into(),
        needs: ("get", "/data/"),
    },
    Save {
        name: "a save of a directory",
        make: |attempt, temp| {
            async {
                let source = tree(&temp.join("from"));
                attempt.save(source).await.map(drop)
            }
            .boxed()
        },
        after: tree_files,
        needs: ("put", "/data/"),
    },
    Save {
        name: "a stream",
        make: |attempt, _| {
            async {
                let mut stream = attempt.write_stream(Metadata::default()).await?;
                for piece in noise(3, 150 << 10).chunks(40 << 10) {
                    stream.write(piece.to_vec().into()).await?;
                }
                stream.commit().await.map(drop)
            }
            .boxed()
        },
        after: || [(String::new(), noise(3, 150 << 10))].into(),
        needs: ("put", "/data/"),
    },
    Save {
        name: "a pruning",
        make: |attempt, _| async { prune(attempt, 1).await.map(drop) }.boxed(),
        after: before,
        needs: ("delete", ""),
    },
];

/// The first checkpoint. It fills a few data objects, because the chunks of a simulation are small.
fn before() -> Files {
    [(String::new(), noise(1, 150 << 10))].into()
}

fn rest() -> Vec<u8> {
    let before = noise(1, 150 << 10);
    before
        .chunks(60 << 10)
        .flat_map(|part| &part[..16 << 10])
        .copied()
        .collect()
}

fn tree_files() -> Files {
    let large = ("large".to_owned(), noise(4, 150 << 10));
    [large, ("sub/small".to_owned(), b"small".to_vec())].into()
}

fn tree(at: &Path) -> DirTree<cap_std::fs::Dir> {
    for (path, contents) in tree_files() {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    dir_tree(at)
}

async fn files_of(attempt: &Attempt) -> Files {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("to");
    let restored = attempt
        .restore(dir_tree(&target), Existing::Refuse)
        .await
        .unwrap();
    restored.expect("a checkpoint");
    files_at(&target)
}

/// What follows the failed operation.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Withheld puts arrive, and then a new attempt begins.
    Dies,
    /// A new attempt begins, and then withheld puts arrive.
    DiesLong,
    /// The same attempt saves again.
    Continues,
}

/// Makes a save whose operation with this number fails. Returns whether the save has that many operations.
async fn save_with(save: &Save, fault: Fault, number: usize, then: Then) -> bool {
    let what = format!("{}: {fault:?} at {number}, then {then:?}", save.name);
    let (store, location) = small();
    let temp = tempfile::tempdir().unwrap();
    let attempt = Arc::new(begin_keeping(&location, 2).await);
    attempt.write("older".into()).await.unwrap();
    let contents = before().remove("").unwrap();
    attempt.write(contents.into()).await.unwrap();
    let deletes = Arc::new(AtomicBool::new(false));
    let is_delete = deletes.clone();
    store.plan(move |op| {
        let fails = op.number == number;
        is_delete.fetch_or(fails && op.verb == "delete", Ordering::SeqCst);
        fails.then_some(fault)
    });
    let saving = async {
        let saved = (save.make)(&attempt, temp.path()).await;
        attempt.settle().await;
        saved
    };
    let saved = timeout(PATIENCE, saving).await;
    let reached = store.operations() > number;
    store.recover();
    if let Ok(Err(error)) = &saved {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}");
    }
    // The attempt waits for its background work. If that hangs, only the death of the process ends it.
    let hangs = matches!(fault, Fault::HangsBefore | Fault::HangsAfter);
    let in_background = deletes.load(Ordering::SeqCst);
    let then = match then {
        Then::Continues if hangs && in_background => Then::Dies,
        then => then,
    };
    if let Then::Continues = then {
        attempt.write(large(5).slice(..9000)).await.unwrap();
        store.release().await;
        attempt.write("later".into()).await.unwrap();
        let read = attempt.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"later"[..]), "{what}");
    }
    if let Then::Dies | Then::Continues = then {
        drop(attempt);
        store.release().await;
    }
    let next = begin(&location).await;
    store.release().await;
    let found = files_of(&next).await;
    match (then, saved) {
        (Then::Continues, _) => assert_eq!(found[""], b"later", "{what}"),
        (_, Ok(Ok(()))) => assert!(
            found == (save.after)(),
            "{what}: an acknowledged save is lost"
        ),
        _ => assert!(
            found == before() || found == (save.after)(),
            "{what}: neither the old nor the new checkpoint"
        ),
    }
    let verified = location.verify().await.unwrap();
    assert_eq!(verified.findings, [], "{what}");
    // The next attempt can save.
    next.write("next".into()).await.unwrap();
    assert_eq!(
        files_of(&begin(&location).await).await[""],
        b"next",
        "{what}"
    );
    reached
}

#[test]
fn a_save_that_fails_at_any_operation_leaves_the_old_or_the_new_checkpoint() {
    run(async || {
        for save in &SAVES {
            for fault in FAULTS {
                for then in [Then::Dies, Then::DiesLong, Then::Continues] {
                    let mut number = 0;
                    while save_with(save, fault, number, then).await {
                        number += 1;
                    }
                    assert!(
                        number >= 2,
                        "{}: it has fewer operations than expected",
                        save.name
                    );
                }
            }
        }
    });
}

#[test]
fn each_kind_of_save_makes_the_operation_that_it_is_there_to_test() {
    run(async || {
        for save in &SAVES {
            let (store, location) = small();
            let temp = tempfile::tempdir().unwrap();
            let attempt = Arc::new(begin_keeping(&location, 2).await);
            let contents = before().remove("").unwrap();
            for contents in [contents.clone().into(), "older".into(), contents.into()] {
                attempt.write(contents).await.unwrap();
            }
            attempt.settle().await;
            let (sender, operations) = std::sync::mpsc::channel();
            store.plan(move |op| {
                sender.send((op.verb, op.path.clone())).unwrap();
                None
            });
            (save.make)(&attempt, temp.path()).await.unwrap();
            attempt.settle().await;
            let (verb, within) = save.needs;
            let needed = |(of, path): (&str, String)| of == verb && path.contains(within);
            assert!(operations.try_iter().any(needed), "{}", save.name);
        }
    });
}
