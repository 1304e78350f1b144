//! Processes: how they begin an attempt, and how they read while attempts of other processes run.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use object_store::path::Path;
use tokio::time::sleep;

use super::connection::Connection;
use super::contents::Contents;
use super::course::Weather;
use super::dice::Dice;
use super::ledger::is_excused;
use super::owner::Owner;
use super::store::{Lists, Shared};
use crate::checkpoint::CheckpointInfo;
use crate::environment::{Clock, Environment, Randomness};
use crate::error::{Error, ErrorKind};
use crate::location::OpenLocation;
use crate::tests::memory_tree::MemoryTree;
use crate::tree::target::Existing;
use crate::{Attempt, AttemptSettings, Lookahead, ResumePoint, SchemaChange};

/// An invariant is violated. The ledger already holds the description.
#[derive(Debug)]
pub(super) struct Violated;

/// How the processes of one run behave.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) keep: usize,
    /// The maximum time a task computes between two calls, in milliseconds.
    pub(super) thinks: u64,
    pub(super) schema: bool,
    /// The process that begins afresh, if any.
    pub(super) afresh: Option<u32>,
    /// Whether tasks do little but save, so that readers often see concurrent pruning.
    pub(super) hasty: bool,
}

/// A process, with its own view of the location.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) shared: Shared,
    pub(super) number: u32,
    pub(super) connection: Connection,
    pub(super) location: OpenLocation,
}

impl Process {
    pub(super) fn new(shared: &Shared, number: u32, weather: Weather, dice: Dice) -> Self {
        let connection = Connection::new(shared, number, weather);
        let store = Arc::new(connection.clone());
        let location = OpenLocation::new(store, Path::from("task"), "test:///task")
            .with_environment(environment(dice));
        Self {
            shared: shared.clone(),
            number,
            location: match shared.lists {
                Lists::Ordered | Lists::WronglyTrusted => location.with_ordered_lists(),
                Lists::Unordered => location,
            },
            connection,
        }
    }

    pub(super) fn violated(&self, what: String) -> Violated {
        self.shared.lock().violated(what);
        Violated
    }

    pub(super) fn hold(&self, held: Result<(), String>) -> Result<(), Violated> {
        held.map_err(|what| self.violated(what))
    }

    pub(super) fn called(&self) -> Called {
        Called {
            moment: self.shared.lock().ledger.now(),
            failures: self.connection.failures(),
        }
    }

    /// Notes that a call failed, and checks that a failed request explains it.
    pub(super) fn failed(
        &self,
        call: &str,
        called: &Called,
        error: &Error,
    ) -> Result<(), Violated> {
        self.shared.note(
            self.number,
            format_args!("{call} fails: {error} ({:?})", error.kind()),
        );
        match is_excused(error.kind(), self.connection.failures() - called.failures) {
            true => Ok(()),
            false => Err(self.violated(format!(
                "{call} failed although no request failed: {error:?}"
            ))),
        }
    }

    /// Finds the contents that a checkpoint must hold.
    fn explain(&self, info: &CheckpointInfo) -> Result<Contents, Violated> {
        let world = self.shared.lock();
        let number = world.ledger.number_of(info);
        let explained = number.and_then(|number| {
            world.ledger.explain(info.sequence, number)?;
            Ok(world.ledger.contents(number).clone())
        });
        drop(world);
        explained.map_err(|what| self.violated(what))
    }

    /// Begins an attempt, with retries. Returns `None` if the storage fails every time.
    pub(super) async fn begin(&self, habits: &Habits) -> Result<Option<Owner>, Violated> {
        for _ in 0..4 {
            let ahead = self.look_ahead(habits).await?;
            let called = self.called();
            let keep = habits.keep.try_into().unwrap();
            let mut settings = AttemptSettings::default().number(self.number).keep(keep);
            if habits.afresh == Some(self.number) {
                settings = settings.fresh();
            }
            let begun = match ahead {
                Some(ahead) => Attempt::begin_after(ahead, settings).await,
                None => Attempt::begin(self.location.clone(), settings).await,
            };
            let attempt = match begun {
                Ok(attempt) => attempt,
                Err(error) => {
                    self.failed("begin", &called, &error)?;
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if habits.schema {
                let declared = attempt.declare_schema("form".to_owned(), SchemaChange::Refuse);
                declared.await.unwrap();
            }
            let base = match attempt.resume_point().await {
                Ok(ResumePoint::Fresh) => None,
                Ok(ResumePoint::Resumed(info)) => Some(info),
                other => return Err(self.violated(format!("an attempt resumed from {other:?}"))),
            };
            let base = match base {
                Some(info) => Some((info.sequence, self.explain(&info)?.number)),
                None => None,
            };
            let epoch = self.shared.lock().ledger.epoch_of(self.number);
            let what = format_args!("began epoch {epoch}, resumed from {base:?}");
            self.shared.note(self.number, what);
            let begun = self.shared.lock().ledger.begun(epoch, called.moment, base);
            self.hold(begun)?;
            let base = base.map(|(_, number)| number);
            return Ok(Some(Owner::new(self, attempt, epoch, base)));
        }
        Ok(None)
    }

    /// Lets every third process look ahead of its attempt, and load its task meanwhile.
    async fn look_ahead(&self, habits: &Habits) -> Result<Option<Lookahead>, Violated> {
        if !self.number.is_multiple_of(3) {
            return Ok(None);
        }
        let called = self.called();
        match Lookahead::read(self.location.clone()).await {
            Ok(ahead) => {
                sleep(Duration::from_millis(10 * habits.thinks)).await;
                Ok(Some(ahead))
            }
            Err(error) => {
                self.failed("look ahead", &called, &error)?;
                Ok(None)
            }
        }
    }

    /// Reads the location while attempts run, without a claim.
    pub(super) async fn look(&self) -> Result<(), Violated> {
        let called = self.called();
        let promised = self.shared.lock().ledger.promised();
        let found = match self.location.checkpoints().await {
            Ok(found) => found,
            Err(error) => return self.failed("checkpoints", &called, &error),
        };
        let infos: Vec<_> = found.iter().map(|checkpoint| checkpoint.info()).collect();
        let sequences: Vec<_> = infos.iter().map(|info| info.sequence).collect();
        self.shared
            .note(self.number, format_args!("finds {sequences:?}"));
        let is_given_up = self.shared.lock().ledger.is_given_up(promised);
        if sequences.first().copied().unwrap_or_default() < promised && !is_given_up {
            let what = format!("a reader found {sequences:?}, but {promised} was promised");
            return Err(self.violated(what));
        }
        for (checkpoint, info) in found.iter().zip(&infos) {
            let contents = self.explain(info)?;
            let (target, called) = (MemoryTree::default(), self.called());
            let limits = crate::limits::Limits::default();
            let restored = checkpoint.restore(target.clone(), Existing::Refuse, &limits);
            match restored.await {
                Ok(()) if contents.equal(&target) => {}
                Ok(()) => {
                    return Err(self.violated(format!(
                        "checkpoint {} mixes the contents of several saves",
                        info.sequence
                    )));
                }
                // The checkpoint was pruned in the meantime, which must not look like damage.
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && !self
                            .shared
                            .lock()
                            .ledger
                            .retained()
                            .contains(&info.sequence) => {}
                Err(error) => self.failed("restore by a reader", &called, &error)?,
            }
        }
        self.export().await
    }

    /// Restores the newest checkpoint, as an operator does beside a running attempt.
    async fn export(&self) -> Result<(), Violated> {
        let called = self.called();
        let mut found = match self.location.resumable().await {
            Ok(found) => found,
            Err(error) => return self.failed("resumable", &called, &error),
        };
        let first = found.checkpoints.first().map_or(0, |c| c.info().sequence);
        let target = MemoryTree::default();
        let limits = crate::limits::Limits::default();
        let restored = found
            .restore(target.clone(), Existing::Refuse, &limits)
            .await;
        if !found.damaged.is_empty() {
            return Err(self.violated(format!("an export met damage: {:?}", found.damaged)));
        }
        match restored {
            Ok(None) => Ok(()),
            Ok(Some(checkpoint)) => match self.explain(&checkpoint.info())?.equal(&target) {
                true => Ok(()),
                false => Err(self.violated("an export mixes the contents of several saves".into())),
            },
            // An attempt has begun afresh meanwhile, so nothing is left.
            Err(error)
                if error.to_string().contains("pruned checkpoint")
                    && self.shared.lock().ledger.is_given_up(first) =>
            {
                Ok(())
            }
            Err(error) => self.failed("export", &called, &error),
        }
    }
}

/// The state of the world when a call was made.
pub(super) struct Called {
    pub(super) moment: u64,
    pub(super) failures: u64,
}

/// The environment of a process. The seed determines all of it.
fn environment(dice: Dice) -> Environment {
    Environment::simulated()
        .with_clock(PausedClock)
        .with_randomness(Numbers(Mutex::new(dice)))
}

/// Tokio's paused time, which advances when nothing else can happen.
#[derive(Debug)]
struct PausedClock;

impl Clock for PausedClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Random numbers that the seed determines.
#[derive(Debug)]
struct Numbers(Mutex<Dice>);

impl Randomness for Numbers {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let mut dice = self.0.lock().unwrap();
        bytes.fill_with(|| dice.below(256) as u8);
        Ok(())
    }
}
