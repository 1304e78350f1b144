//! Every operation of every kind of save, of every kind of read and of a beginning fails, or is the last of
//! its process, in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::faulty_store::{Fault, FaultyStore};
use super::{at, begin, keep, large, memory, noise};
use crate::Attempt;
use crate::error::{ErrorKind, Result};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::metadata::Metadata;
use crate::simulated::simulate;
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;

const FAULTS: [Fault; 5] = [
    Fault::Fails,
    Fault::AnswerIsLost,
    Fault::HangsBefore,
    Fault::HangsAfter,
    Fault::Withheld,
];

/// Whatever hangs longer is dropped, as the death of the process would do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a checkpoint. An unnamed one has the name "".
type Files = BTreeMap<String, Vec<u8>>;

/// What is saved first: a few data objects, in the small chunks of a simulation.
fn before() -> Files {
    [(String::new(), noise(1, 150 << 10))].into()
}

/// A kind of save.
struct Save {
    name: &'static str,
    make: for<'a> fn(&'a Arc<Attempt>, &'a Path) -> BoxFuture<'a, Result<()>>,
    /// What is saved then.
    after: fn() -> Files,
    /// An operation that it needs, among others.
    needs: (&'static str, &'static str),
}

const SAVES: [Save; 6] = [
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
    // Of some data objects so little is left that it is copied to new ones.
    Save {
        name: "a write of what is stored",
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
        make: |attempt, _| async { attempt.prune().await.map(drop) }.boxed(),
        after: before,
        needs: ("delete", ""),
    },
];

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

fn tree(at: &Path) -> DirTree {
    for (path, contents) in tree_files() {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    DirTree::ambient(at).unwrap()
}

/// What lies at a path.
fn files_at(path: &Path) -> Files {
    fn add(path: &Path, name: String, files: &mut Files) {
        if path.is_file() {
            files.insert(name, fs::read(path).unwrap());
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let below = entry.file_name().into_string().unwrap();
            let name = if name.is_empty() {
                below
            } else {
                format!("{name}/{below}")
            };
            add(&entry.path(), name, files);
        }
    }
    let mut files = Files::new();
    add(path, String::new(), &mut files);
    files
}

async fn files_of(attempt: &Attempt) -> Files {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("to");
    let place = DirTree::ambient(&target).unwrap();
    let restored = attempt.restore(place, Existing::Refuse).await.unwrap();
    restored.expect("a checkpoint");
    files_at(&target)
}

/// In a simulation, where a little is many chunks.
fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let test = async { timeout(Duration::from_secs(1 << 30), test()).await };
    let ended = simulate(|| runtime.unwrap().block_on(test));
    ended.expect("it waits for ever");
}

/// What happens after the operation that went wrong.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// What was withheld arrives, and a new attempt begins.
    Dies,
    /// A new attempt has begun when it arrives.
    DiesLong,
    /// The attempt saves again.
    GoesOn,
}

/// A save of which this operation goes wrong. Returns whether it has that many.
async fn save_with(save: &Save, fault: Fault, number: usize, then: Then) -> bool {
    let what = format!("{}: {fault:?} at {number}, then {then:?}", save.name);
    let (inner, _) = memory();
    let store = FaultyStore::new(inner);
    let location = at(store.clone());
    let temp = tempfile::tempdir().unwrap();
    let attempt = Arc::new(Attempt::begin(location.clone(), keep(2)).await.unwrap());
    attempt.write("older".into()).await.unwrap();
    let contents = before().remove("").unwrap();
    attempt.write(contents.into()).await.unwrap();
    let deletes = Arc::new(AtomicBool::new(false));
    let is_delete = deletes.clone();
    store.plan(move |op| {
        let goes_wrong = op.number == number;
        is_delete.fetch_or(goes_wrong && op.verb == "delete", Ordering::SeqCst);
        goes_wrong.then_some(fault)
    });
    let saving = async {
        let saved = (save.make)(&attempt, temp.path()).await;
        attempt.settle().await;
        saved
    };
    let saved = timeout(PATIENCE, saving).await;
    let reached = store.operations() > number;
    store.plan(|_| None);
    if let Ok(Err(error)) = &saved {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}");
    }
    // What goes on in the background and never ends is waited for: only the death of the process ends it.
    let hangs = matches!(fault, Fault::HangsBefore | Fault::HangsAfter);
    let in_background = save.name == "a save in the background" || deletes.load(Ordering::SeqCst);
    let then = match then {
        Then::GoesOn if hangs && in_background => Then::Dies,
        then => then,
    };
    if let Then::GoesOn = then {
        attempt.write(large(5).slice(..9000)).await.unwrap();
        store.release().await;
        attempt.write("later".into()).await.unwrap();
        let read = attempt.read().await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"later"[..]), "{what}");
    }
    if let Then::Dies | Then::GoesOn = then {
        drop(attempt);
        store.release().await;
    }
    let next = begin(&location).await;
    store.release().await;
    let found = files_of(&next).await;
    match (then, saved) {
        (Then::GoesOn, _) => assert_eq!(found[""], b"later", "{what}"),
        (_, Ok(Ok(()))) => assert!(found == (save.after)(), "{what}: it was told"),
        _ => assert!(
            found == before() || found == (save.after)(),
            "{what}: a mixture"
        ),
    }
    let verified = location.verify().await.unwrap();
    assert_eq!(verified.findings, [], "{what}");
    // And it goes on.
    next.write("next".into()).await.unwrap();
    assert_eq!(
        files_of(&begin(&location).await).await[""],
        b"next",
        "{what}"
    );
    reached
}

#[test]
fn whatever_operation_of_whatever_save_goes_wrong_the_checkpoint_is_the_old_or_the_new() {
    run(async || {
        for save in &SAVES {
            for fault in FAULTS {
                for then in [Then::Dies, Then::DiesLong, Then::GoesOn] {
                    let mut number = 0;
                    while save_with(save, fault, number, then).await {
                        number += 1;
                    }
                    assert!(number >= 2, "{}: a record and a deletion", save.name);
                }
            }
        }
    });
}

#[test]
fn the_saves_of_these_tests_do_what_they_are_for() {
    run(async || {
        for save in &SAVES {
            let (inner, _) = memory();
            let store = FaultyStore::new(inner);
            let temp = tempfile::tempdir().unwrap();
            let attempt = Arc::new(Attempt::begin(at(store.clone()), keep(2)).await.unwrap());
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

/// A kind of read. Gives what it found.
struct Read {
    name: &'static str,
    make: for<'a> fn(&'a Arc<Attempt>, &'a OpenLocation, &'a Path) -> BoxFuture<'a, Result<Files>>,
}

const READS: [Read; 4] = [
    Read {
        name: "read",
        make: |attempt, _, _| {
            async {
                let read = attempt.read().await?.expect("a checkpoint");
                Ok([(String::new(), read.to_vec())].into())
            }
            .boxed()
        },
    },
    Read {
        name: "read_stream",
        make: |attempt, _, _| {
            async {
                let mut stream = attempt.read_stream().await?.expect("a checkpoint");
                let mut read = Vec::new();
                while let Some(piece) = stream.next().await? {
                    read.extend_from_slice(&piece);
                }
                Ok([(String::new(), read)].into())
            }
            .boxed()
        },
    },
    Read {
        name: "restore",
        make: |attempt, _, target| {
            async {
                let place = DirTree::ambient(target).unwrap();
                let restored = attempt.restore(place, Existing::Refuse).await?;
                restored.expect("a checkpoint");
                Ok(files_at(target))
            }
            .boxed()
        },
    },
    Read {
        name: "checkpoints",
        make: |_, location, target| {
            async {
                let found = location.checkpoints().await?;
                let place = DirTree::ambient(target).unwrap();
                let limits = Limits::default();
                found[0].restore(place, Existing::Refuse, &limits).await?;
                Ok(files_at(target))
            }
            .boxed()
        },
    },
];

#[test]
fn whatever_operation_of_whatever_read_goes_wrong_the_next_one_gives_it_all() {
    run(async || {
        let mut interrupted = 0;
        for (read, fault) in READS
            .iter()
            .flat_map(|read| FAULTS.map(|fault| (read, fault)))
        {
            // Only these two take a directory.
            let of_tree = matches!(read.name, "restore" | "checkpoints");
            for number in 0.. {
                let what = format!("{}: {fault:?} at {number}", read.name);
                let (inner, _) = memory();
                let store = FaultyStore::new(inner);
                let location = at(store.clone());
                let temp = tempfile::tempdir().unwrap();
                let target = temp.path().join("to");
                let saves = if of_tree { &SAVES[3] } else { &SAVES[1] };
                let earlier = Arc::new(begin(&location).await);
                (saves.make)(&earlier, temp.path()).await.unwrap();
                let attempt = Arc::new(begin(&location).await);
                store.plan(move |op| (op.number == number).then_some(fault));
                let found = timeout(PATIENCE, (read.make)(&attempt, &location, &target)).await;
                let reached = store.operations() > number;
                store.plan(|_| None);
                match found {
                    Ok(Ok(found)) => assert!(found == (saves.after)(), "{what}"),
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}"),
                    Err(_) => {}
                }
                let marker = target.join(".task-checkpoint-restoring");
                interrupted += u32::from(marker.exists());
                // By another attempt, as after the death of the process.
                let next = Arc::new(begin(&location).await);
                let found = (read.make)(&next, &location, &target).await.unwrap();
                assert!(found == (saves.after)(), "{what}, and then");
                assert!(!marker.exists(), "{what}");
                assert_eq!(location.verify().await.unwrap().findings, [], "{what}");
                if !reached {
                    assert!(number > 2, "{}: of several data objects", read.name);
                    break;
                }
            }
        }
        assert!(
            interrupted > 0,
            "some fail when part of the tree is written"
        );
    });
}

#[tokio::test(start_paused = true)]
async fn storage_that_cannot_be_reached_is_an_error_and_never_fresh() {
    for fault in FAULTS {
        let mut number = 0;
        loop {
            let (inner, _) = memory();
            let store = FaultyStore::new(inner);
            let location = at(store.clone());
            begin(&location).await.write(large(1)).await.unwrap();
            store.plan(move |op| (op.number == number).then_some(fault));
            let begun = timeout(PATIENCE, Attempt::begin(location.clone(), keep(1))).await;
            let done = store.operations() <= number;
            store.plan(|_| None);
            match begun {
                Ok(Ok(attempt)) => {
                    assert_eq!(attempt.read().await.unwrap(), Some(large(1)));
                    attempt.write(large(2)).await.unwrap();
                }
                Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                Err(_) => {}
            }
            store.release().await;
            assert!(begin(&location).await.prev_exists().await.unwrap());
            if done {
                break;
            }
            number += 1;
        }
        assert!(number >= 4, "a claim lists, puts, lists and reads");
    }
}
