//! Checks whether a storage is fit to hold checkpoints.

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryFutureExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use crate::blocking;
use crate::error::Result;
use crate::format::WriteId;
use crate::location::OpenLocation;

/// The contents of the plain object.
const CONTENTS: &[u8] = b"0123456789";

/// How many writers race for one name. A storage that checks first and writes afterwards lets
/// several win.
const WRITERS: usize = 8;

/// How many races are run: a storage that fails only sometimes is unfit too.
const ROUNDS: usize = 4;

/// How many objects are put at once, where many are needed.
const PUTS: usize = 32;

/// A check of a storage, and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The required behaviour.
    pub name: &'static str,
    /// What the storage did instead; `None` if it passed.
    pub fault: Option<String>,
}

impl OpenLocation {
    /// Checks everything that checkpoints require of the storage, in a folder `doctor` of this
    /// location, which is removed afterwards, as is every directory that was created for it. Does not
    /// claim the location.
    ///
    /// A storage that fails any probe loses checkpoints: do not use it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the checks cannot run.
    pub async fn doctor(&self) -> Result<Vec<Probe>> {
        let WriteId(random) = self.environment().write_id()?;
        let unique: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = self.prefix().clone().join("doctor");
        let made = self.missing_dirs().await?;
        let probes = self.probe(&folder, &unique).await;
        let left: Result<Vec<_>, _> = self.store().list(Some(&folder)).try_collect().await;
        let left = left.unwrap_or_default().into_iter();
        let ours = |path: &Path| path.filename().is_some_and(|n| n.starts_with(&unique));
        let ours: Vec<_> = left
            .map(|meta| meta.location)
            .filter(ours)
            .map(Ok)
            .collect();
        // Best effort: leftovers do no harm.
        let deleted = self.store().delete_stream(stream::iter(ours).boxed());
        deleted.for_each(|_| async {}).await;
        blocking::run(self.threads(), move || {
            for dir in made {
                // Only an empty one: an attempt may have begun meanwhile.
                let _ = std::fs::remove_dir(dir);
            }
        })
        .await?;
        probes
    }

    /// The directories of this machine that are made for the probes, innermost first.
    async fn missing_dirs(&self) -> Result<Vec<PathBuf>> {
        let Some(dir) = self.local_dir() else {
            return Ok(Vec::new());
        };
        let folder = dir.join("doctor");
        blocking::run(self.threads(), move || {
            let ancestors = folder.ancestors().map(ToOwned::to_owned);
            // One that is there, or that cannot be looked at, is not ours.
            let missing = |dir: &PathBuf| dir.try_exists().is_ok_and(|exists| !exists);
            ancestors.take_while(missing).collect()
        })
        .await
    }

    async fn probe(&self, folder: &Path, unique: &str) -> Result<Vec<Probe>> {
        let plain = folder.clone().join(format!("{unique}-plain"));
        let put = self.store().put(&plain, CONTENTS.into()).await;
        put.map_err(|e| self.error("cannot put an object", e))?;
        let mut probes = vec![
            self.probe_whole(&plain).await?,
            self.probe_part(&plain).await,
            self.probe_list(folder, &plain).await?,
            Probe {
                name: "only one of several writers creates an object",
                fault: self.race(folder, unique).await,
            },
        ];
        if self.lists_in_order() {
            probes.push(self.probe_order(folder, unique).await?);
        }
        let deleted = self.store().delete(&plain).await;
        probes.push(Probe {
            name: "an object can be deleted",
            fault: deleted.err().map(|error| error.to_string()),
        });
        Ok(probes)
    }

    /// Lists as many objects as three pages hold, written in the opposite order.
    async fn probe_order(&self, folder: &Path, unique: &str) -> Result<Probe> {
        let count = 2 * self.environment().sizes().page + 1;
        let names = (0..count).rev().map(|n| format!("{unique}-{n:05}"));
        let paths: Vec<_> = names.map(|name| folder.clone().join(name)).collect();
        let puts = paths.iter().map(|path| {
            let put = self
                .store()
                .put_opts(path, "".into(), PutOptions::default());
            put.map_err(|e| self.error("cannot put an object", e))
        });
        let puts: Vec<_> = puts.collect();
        let mut puts = stream::iter(puts).buffer_unordered(PUTS);
        while puts.try_next().await?.is_some() {}
        let listed: Vec<_> = self
            .store()
            .list(Some(folder))
            .map_ok(|meta| meta.location)
            .try_collect()
            .await
            .map_err(|e| self.error("cannot list objects", e))?;
        let written: HashSet<_> = paths.iter().collect();
        let found = listed.iter().filter(|path| written.contains(path)).count();
        let fault = match (listed.is_sorted(), found == count) {
            (true, true) => None,
            (false, _) => Some("the newest record of a log may be missed".to_owned()),
            (_, false) => Some(format!("{found} of {count} objects are listed")),
        };
        Ok(Probe {
            name: "objects are listed in the order of their names",
            fault,
        })
    }

    async fn probe_whole(&self, plain: &Path) -> Result<Probe> {
        let unread = |e| self.error("cannot read an object", e);
        let answer = self.store().get(plain).await.map_err(unread)?;
        let read = answer.bytes().await.map_err(unread)?;
        Ok(Probe {
            name: "an object is read as it was written",
            fault: (read != CONTENTS).then(|| {
                format!(
                    "a read returned {} bytes that differ from the 10 written",
                    read.len()
                )
            }),
        })
    }

    async fn probe_part(&self, plain: &Path) -> Probe {
        let part = self.store().get_range(plain, 3..7).await;
        Probe {
            name: "a part of an object can be read",
            fault: match part {
                Ok(part) if part == CONTENTS[3..7] => None,
                Ok(part) => Some(format!("a read of 4 bytes returned {} bytes", part.len())),
                Err(error) => Some(error.to_string()),
            },
        }
    }

    async fn probe_list(&self, folder: &Path, plain: &Path) -> Result<Probe> {
        let listed: Vec<_> = self
            .store()
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|e| self.error("cannot list objects", e))?;
        let found = listed
            .iter()
            .any(|meta| meta.location == *plain && meta.size == CONTENTS.len() as u64);
        Ok(Probe {
            name: "an object is listed once it is written",
            fault: (!found).then(|| format!("it is not among {} listed objects", listed.len())),
        })
    }

    async fn race(&self, folder: &Path, unique: &str) -> Option<String> {
        for round in 0..ROUNDS {
            let path = folder.clone().join(format!("{unique}-race-{round}"));
            let put = |writer: usize| {
                let path = &path;
                async move {
                    let options = PutOptions::from(PutMode::Create);
                    let payload = format!("{writer}").into();
                    self.store().put_opts(path, payload, options).await
                }
            };
            // The first round runs the writers in sequence: most storages that ignore the condition
            // fail here already.
            let racing = match round {
                0 => vec![put(0).await, put(1).await],
                _ => join_all((0..WRITERS).map(put)).await,
            };
            let winners = racing.iter().filter(|put| put.is_ok()).count();
            if winners != 1 {
                return Some(format!(
                    "{winners} of {} writers were told that they created the same object",
                    racing.len()
                ));
            }
            let winner = racing.iter().position(Result::is_ok);
            let stored = match self.store().get(&path).await {
                Ok(answer) => answer.bytes().await.ok(),
                Err(_) => None,
            };
            if stored != winner.map(|winner| Bytes::from(format!("{winner}"))) {
                return Some(
                    "the object differs from what the writer stored whose put succeeded".to_owned(),
                );
            }
        }
        None
    }
}
