//! A read that fails at any operation.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::saves::SAVES;
use super::{FAULTS, Files, PATIENCE, files_at, run, small};
use crate::Attempt;
use crate::error::{ErrorKind, Result};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::tests::{begin, task_target};
use crate::tree::target::Existing;

/// A kind of read. It returns the files that it found.
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
                let restored = attempt
                    .restore(task_target(target), Existing::Refuse)
                    .await?;
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
                let (target_tree, limits) = (task_target(target), Limits::default());
                found[0]
                    .restore(target_tree, Existing::Refuse, &limits)
                    .await?;
                Ok(files_at(target))
            }
            .boxed()
        },
    },
];

#[test]
fn a_read_that_fails_at_any_operation_succeeds_when_retried() {
    run(async || {
        let mut interrupted = 0;
        for (read, fault) in READS
            .iter()
            .flat_map(|read| FAULTS.map(|fault| (read, fault)))
        {
            // The other reads need a single unnamed file.
            let of_tree = matches!(read.name, "restore" | "checkpoints");
            for number in 0.. {
                let what = format!("{}: {fault:?} at {number}", read.name);
                let (store, location) = small();
                let temp = tempfile::tempdir().unwrap();
                let target = temp.path().join("to");
                let saves = if of_tree { &SAVES[3] } else { &SAVES[1] };
                let earlier = Arc::new(begin(&location).await);
                (saves.make)(&earlier, temp.path()).await.unwrap();
                let attempt = Arc::new(begin(&location).await);
                store.plan(move |op| (op.number == number).then_some(fault));
                let found = timeout(PATIENCE, (read.make)(&attempt, &location, &target)).await;
                let reached = store.operations() > number;
                store.recover();
                match found {
                    Ok(Ok(found)) => assert!(found == (saves.after)(), "{what}"),
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}"),
                    Err(_) => {}
                }
                let marker = target.join(".task-checkpoint-restoring");
                interrupted += u32::from(marker.exists());
                // Another attempt retries, as after the death of the process.
                let next = Arc::new(begin(&location).await);
                let found = (read.make)(&next, &location, &target).await.unwrap();
                assert!(found == (saves.after)(), "{what}, then a retry");
                assert!(!marker.exists(), "{what}");
                assert_eq!(location.verify().await.unwrap().findings, [], "{what}");
                if !reached {
                    assert!(
                        number > 2,
                        "{}: it has fewer operations than expected",
                        read.name
                    );
                    break;
                }
            }
        }
        assert!(interrupted > 0, "no failure interrupted a restore");
    });
}
