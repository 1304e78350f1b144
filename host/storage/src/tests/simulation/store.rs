//! The storage that all processes of a run share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, PutMode, PutResult, Result};
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::ledger::Ledger;
use super::trace::Trace;

/// The stored objects, the trace of events, and the ledger that checks the invariants.
pub(super) struct World {
    pub(super) objects: BTreeMap<String, Bytes>,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) dice: Dice,
    lists: Lists,
    started: Instant,
    /// The number of requests that may still take effect.
    pub(super) in_flight: usize,
}

/// The order of lists, and whether the processes rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lists {
    /// In the order of names, and trusted to be.
    Ordered,
    /// In the opposite order, and read to their end.
    Unordered,
    /// In the opposite order, although the processes read only the first page.
    WronglyTrusted,
}

/// A handle to the world. All processes share it.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) lists: Lists,
    world: Arc<Mutex<World>>,
}

impl Shared {
    pub(super) fn new(dice: Dice, lists: Lists) -> Self {
        let world = Arc::new(Mutex::new(World {
            objects: BTreeMap::new(),
            ledger: Ledger::default(),
            trace: Trace::default(),
            dice,
            lists,
            started: Instant::now(),
            in_flight: 0,
        }));
        Self { lists, world }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Notes an event other than a request.
    pub(super) fn note(&self, process: u32, what: impl fmt::Display) {
        self.lock().note(process, what);
    }

    /// Waits until no request is in flight.
    pub(super) async fn quiet(&self) {
        while self.lock().in_flight > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl World {
    pub(super) fn note(&mut self, process: u32, what: impl fmt::Display) {
        let at = self.started.elapsed();
        self.trace.note(at, process, what);
    }

    /// Records a violation.
    pub(super) fn violated(&mut self, what: String) {
        let at = self.started.elapsed();
        self.trace.note(at, 0, format_args!("VIOLATED: {what}"));
        self.ledger.violations.push(what);
    }

    pub(super) fn put(&mut self, path: &Path, bytes: &Bytes, mode: &PutMode) -> Result<PutResult> {
        let name = path.to_string();
        if *mode == PutMode::Create && self.objects.contains_key(&name) {
            let source = "the object exists".into();
            return Err(Error::AlreadyExists { path: name, source });
        }
        self.objects.insert(name.clone(), bytes.clone());
        let broken = self.ledger.has_put(&name, bytes, &self.objects);
        broken.into_iter().for_each(|what| self.violated(what));
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    pub(super) fn delete(&mut self, path: &Path) -> Result<()> {
        self.objects.remove(path.as_ref());
        let broken = self.ledger.has_deleted(path.as_ref(), &self.objects);
        broken.into_iter().for_each(|what| self.violated(what));
        Ok(())
    }

    pub(super) fn get(&self, path: &Path) -> Result<Bytes> {
        let found = self.objects.get(path.as_ref()).cloned();
        found.ok_or_else(|| Error::NotFound {
            path: path.to_string(),
            source: "there is no such object".into(),
        })
    }

    /// Returns the next page of a list, starting after the object with this name.
    pub(super) fn page(&mut self, prefix: &str, after: Option<&str>) -> Vec<ObjectMeta> {
        let most = self.dice.within(1..5) as usize;
        let listed = |(name, bytes): (&String, &Bytes)| meta(&Path::from(name.as_str()), bytes);
        let beneath = self.objects.iter();
        let beneath = beneath.filter(|(name, _)| name.starts_with(prefix));
        match self.lists {
            Lists::Ordered => {
                let next =
                    beneath.filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
                next.take(most).map(listed).collect()
            }
            Lists::Unordered | Lists::WronglyTrusted => {
                let next =
                    beneath.filter(|(name, _)| after.is_none_or(|after| name.as_str() < after));
                next.rev().take(most).map(listed).collect()
            }
        }
    }
}

pub(super) fn meta(path: &Path, bytes: &Bytes) -> ObjectMeta {
    ObjectMeta {
        location: path.clone(),
        last_modified: Default::default(),
        size: bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}
