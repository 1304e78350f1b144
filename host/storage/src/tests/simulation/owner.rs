//! The calls of a task in its attempt, and checks of their answers.

mod streams;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::contents::Contents;
use super::dice::Dice;
use super::ledger::{NUMBER, SaveId};
use super::process::{Called, Habits, Process, Violated};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Metadata;
use crate::tests::memory_tree::MemoryTree;
use crate::tests::prune;
use crate::tree::target::Existing;
use crate::{Attempt, Saved};

/// A process whose attempt has begun.
pub(super) struct Owner {
    process: Process,
    pub(super) attempt: Arc<Attempt>,
    /// The newest background save. Background saves run one after the other.
    background: Option<JoinHandle<Result<Saved>>>,
    epoch: u64,
    base: Option<u32>,
    pub(super) fenced: bool,
    /// Whether the last save failed.
    failed: bool,
}

impl Owner {
    pub(super) fn new(process: &Process, attempt: Attempt, epoch: u64, base: Option<u32>) -> Self {
        Self {
            process: process.clone(),
            attempt: Arc::new(attempt),
            background: None,
            epoch,
            base,
            fenced: false,
            failed: false,
        }
    }

    /// Makes a random call, or waits.
    pub(super) async fn step(&mut self, habits: &Habits, dice: &mut Dice) -> Result<(), Violated> {
        if self.failed {
            // The process may stall long enough for others to take over.
            self.failed = false;
            if dice.chance(500) {
                sleep(dice.millis(1..3000)).await;
            }
        }
        match dice.below(if habits.hasty { 8 } else { 20 }) {
            0..7 => self.save(dice, None).await,
            7 => {
                // The call is dropped while it runs.
                let patience = dice.millis(1..80);
                self.save(dice, Some(patience)).await
            }
            8 => self.stream(dice).await,
            9..11 => self.save_in_the_background(dice).await,
            11 => self.save_twice_at_once(dice).await,
            12..14 => self.read().await,
            14 => self.read_as_a_stream(dice).await,
            15..17 => self.restore().await,
            17 => self.prune().await,
            18 => {
                self.attempt.settle().await;
                Ok(())
            }
            _ => {
                sleep(dice.millis(1..3000)).await;
                Ok(())
            }
        }
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.process.shared.note(self.process.number, what);
    }

    fn draw(&self, single: bool, dice: &mut Dice) -> (Contents, SaveId, Metadata) {
        let mut world = self.process.shared.lock();
        let contents = world
            .ledger
            .draw(|number| Contents::draw(number, single, dice));
        let id = world.ledger.save(self.epoch, contents.number);
        let what = format_args!("starts to save {} ({:?})", contents.number, contents.shape);
        world.note(self.process.number, what);
        let number = (NUMBER.to_owned(), contents.number.to_string());
        let metadata = Metadata {
            annotations: [number].into(),
            schema: None,
        };
        (contents, id, metadata)
    }

    async fn make(&self, contents: Contents, metadata: Metadata) -> Result<Saved> {
        let save = match contents.tree() {
            Some(tree) => self.attempt.save(tree),
            None => self.attempt.write(contents.bytes()),
        };
        save.metadata(metadata).await
    }

    pub(super) async fn save(
        &mut self,
        dice: &mut Dice,
        patience: Option<Duration>,
    ) -> Result<(), Violated> {
        self.flush().await?;
        let called = self.process.called();
        let (contents, id, metadata) = self.draw(false, dice);
        let saving = self.make(contents, metadata);
        let saved = match patience {
            None => saving.await,
            Some(patience) => match timeout(patience, saving).await {
                Ok(saved) => saved,
                Err(_) => {
                    self.note("drops the call");
                    self.process.shared.lock().ledger.failed(id);
                    return Ok(());
                }
            },
        };
        self.saved(&called, id, saved.map(|saved| saved.sequence))
    }

    /// Records the answer to a save.
    fn saved(&mut self, called: &Called, id: SaveId, saved: Result<u64>) -> Result<(), Violated> {
        let process = &self.process;
        match saved {
            Ok(sequence) => {
                self.note(format_args!("saved {sequence}"));
                let held = process.shared.lock().ledger.acknowledged(id, sequence);
                process.hold(held)
            }
            Err(error) if error.kind() == ErrorKind::Fenced => {
                self.note("is fenced");
                self.fenced = true;
                let held = process.shared.lock().ledger.fenced(id);
                process.hold(held)
            }
            Err(error) => {
                self.failed = true;
                process.shared.lock().ledger.failed(id);
                process.failed("save", called, &error)
            }
        }
    }

    async fn save_twice_at_once(&mut self, dice: &mut Dice) -> Result<(), Violated> {
        self.flush().await?;
        let called = self.process.called();
        let (one, one_id, one_metadata) = self.draw(false, dice);
        let (other, other_id, other_metadata) = self.draw(false, dice);
        let (one, other) = tokio::join!(
            self.make(one, one_metadata),
            self.make(other, other_metadata)
        );
        self.saved(&called, one_id, one.map(|saved| saved.sequence))?;
        self.saved(&called, other_id, other.map(|saved| saved.sequence))
    }

    /// Saves in the background. The next flush returns the result.
    async fn save_in_the_background(&mut self, dice: &mut Dice) -> Result<(), Violated> {
        for _ in 0..dice.within(1..4) {
            let (contents, id, metadata) = self.draw(false, dice);
            let (attempt, before) = (self.attempt.clone(), self.background.take());
            self.background = Some(tokio::spawn(async move {
                if let Some(before) = before {
                    before.await.unwrap()?;
                }
                let save = match contents.tree() {
                    Some(tree) => attempt.save(tree),
                    None => attempt.write(contents.bytes()),
                };
                save.metadata(metadata).await
            }));
            sleep(dice.millis(1..50)).await;
            if dice.chance(400) {
                let called = self.process.called();
                match self.end_of_background().await {
                    Ok(Some(saved)) => self.saved(&called, id, Ok(saved.sequence))?,
                    Ok(None) => {
                        return Err(self
                            .process
                            .violated("a flush after a background save returned nothing".into()));
                    }
                    Err(error) => self.background_failed(&error)?,
                }
            }
        }
        Ok(())
    }

    /// Waits for background saves, so that a foreground save comes after them.
    async fn flush(&mut self) -> Result<(), Violated> {
        match self.end_of_background().await {
            Ok(_) => Ok(()),
            Err(error) => self.background_failed(&error),
        }
    }

    /// Waits for background saves and returns the newest one.
    async fn end_of_background(&mut self) -> Result<Option<Saved>> {
        match self.background.take() {
            Some(saving) => saving.await.unwrap().map(Some),
            None => Ok(None),
        }
    }

    /// Checks the error of a background save. Any earlier request may have caused it.
    fn background_failed(&mut self, error: &Error) -> Result<(), Violated> {
        let any = Called {
            moment: 0,
            failures: 0,
        };
        self.call_failed("background save", &any, error)
    }

    /// Checks the error of a call other than a foreground save.
    fn call_failed(&mut self, call: &str, called: &Called, error: &Error) -> Result<(), Violated> {
        if error.kind() != ErrorKind::Fenced {
            return self.process.failed(call, called, error);
        }
        self.note(format_args!("{call}: fenced"));
        self.fenced = true;
        let held = self.process.shared.lock().ledger.check_fenced(self.epoch);
        self.process.hold(held)
    }

    /// The contents that this attempt may read.
    fn own(&self) -> Vec<Contents> {
        let world = self.process.shared.lock();
        let own = world.ledger.own(self.epoch, self.base);
        own.into_iter().cloned().collect()
    }

    pub(super) async fn read(&mut self) -> Result<(), Violated> {
        let called = self.process.called();
        let before = self.own();
        let read = self.attempt.read().await;
        self.note("read");
        let own = [before, self.own()].concat();
        let fits = match &read {
            Ok(None) => self.base.is_none() && self.nothing_acknowledged(),
            Ok(Some(read)) => own.iter().any(|c| c.tree().is_none() && c.bytes() == *read),
            Err(error) if error.kind() == ErrorKind::NotSingle(3) => {
                own.iter().any(|contents| contents.tree().is_some())
            }
            Err(error) => return self.call_failed("read", &called, error),
        };
        match fits {
            true => Ok(()),
            false => {
                let read = read.map(|read| read.map(|read| read.len()));
                let what = format!("read {read:?}, but {own:?} was saved");
                Err(self.process.violated(what))
            }
        }
    }

    fn nothing_acknowledged(&self) -> bool {
        // Without an acknowledged save, only a base can be read.
        let world = self.process.shared.lock();
        !world.ledger.has_acknowledged(self.epoch)
    }

    /// Restores, and retries a failed restore on the same target.
    async fn restore(&mut self) -> Result<(), Violated> {
        self.flush().await?;
        let target = MemoryTree::default();
        for _ in 0..3 {
            let called = self.process.called();
            match self.attempt.restore(target.clone(), Existing::Refuse).await {
                Ok(Some(sequence)) => {
                    self.note(format_args!("restored {sequence}"));
                    return match self.own().iter().any(|contents| contents.equal(&target)) {
                        true => Ok(()),
                        false => Err(self
                            .process
                            .violated(format!("restored {target:?}, which was not saved"))),
                    };
                }
                Ok(None) if self.base.is_none() && self.nothing_acknowledged() => return Ok(()),
                Ok(None) => {
                    return Err(self
                        .process
                        .violated("a restore found no checkpoint".into()));
                }
                Err(error) => self.call_failed("restore", &called, &error)?,
            }
        }
        Ok(())
    }

    async fn prune(&mut self) -> Result<(), Violated> {
        self.flush().await?;
        let keep = self.process.shared.lock().ledger.keep;
        let called = self.process.called();
        let undecided = {
            let world = self.process.shared.lock();
            world.ledger.has_undecided(self.epoch)
        };
        // A save that was dropped may or may not be the newest.
        let ids: Vec<_> = {
            let own = self.own();
            let mut world = self.process.shared.lock();
            let ids = own.iter();
            ids.map(|contents| {
                (
                    contents.number,
                    world.ledger.save(self.epoch, contents.number),
                )
            })
            .collect()
        };
        let pruned = match prune(&self.attempt, keep).await {
            // A save that failed or was dropped has landed, so the log differs from what this attempt knows.
            Err(error) if undecided && error.to_string().contains("the location changed") => {
                let mut world = self.process.shared.lock();
                ids.iter().for_each(|(_, id)| world.ledger.withdrawn(*id));
                return Ok(());
            }
            Ok(Some(sequence)) => Ok(sequence),
            Ok(None) if self.base.is_none() && self.nothing_acknowledged() => return Ok(()),
            Ok(None) => return Err(self.process.violated("a prune found no checkpoint".into())),
            Err(error) => Err(error),
        };
        self.note(format_args!("prune returned {pruned:?}"));
        match pruned {
            Ok(sequence) => {
                let mut world = self.process.shared.lock();
                let number = world.ledger.number_at(sequence);
                let pruned = ids.iter().find(|(of, _)| Some(*of) == number).copied();
                ids.iter().for_each(|(_, id)| world.ledger.withdrawn(*id));
                drop(world);
                match pruned {
                    Some((_, id)) => self.saved(&called, id, Ok(sequence)),
                    None => Err(self
                        .process
                        .violated(format!("prune returned the unknown checkpoint {sequence}"))),
                }
            }
            Err(error) if error.kind() == ErrorKind::Fenced => {
                let mut world = self.process.shared.lock();
                ids.iter().for_each(|(_, id)| world.ledger.withdrawn(*id));
                drop(world);
                self.call_failed("prune", &called, &error)
            }
            Err(error) => self.call_failed("prune", &called, &error),
        }
    }
}
