//! The attempts of a run: preparation, retries and the exit code.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use checkpoint_session::Outcome;
use checkpoint_storage::{Attempt, AttemptSettings, Error, ErrorKind, Lookahead, OpenLocation};
use tokio::task::JoinHandle;

use super::delay::Delay;
use super::input::Input;
use super::summary::Summary;
use super::{Args, Attempted};
use crate::exit::{self, Code, failure};
use crate::output::say;
use crate::signals::{Signal, Signals};
use crate::task::{End, LoadOptions, Task};

/// The longest that a run waits for an attempt that has ended to say what it has skipped.
const NOTE: Duration = Duration::from_millis(100);

/// What all attempts of a run share.
pub(super) struct Run<'a> {
    args: &'a Args,
    location: OpenLocation,
    previous: Option<OpenLocation>,
    /// The predecessors whose directories the task must not see.
    predecessors: Vec<OpenLocation>,
    pub(super) task: Task,
    pub(super) input: Input,
    pub(super) signals: Signals,
    /// What the first attempt finds, read while the task was loaded.
    ahead: Ahead,
    /// The number of this process's first attempt.
    first: u32,
}

type Ahead = Mutex<Option<JoinHandle<checkpoint_storage::Result<Lookahead>>>>;

/// What follows an attempt.
enum Next {
    /// The run ends with this code.
    End(ExitCode),
    /// The attempt failed for this reason, and another one follows.
    Retry(String),
}

impl<'a> Run<'a> {
    /// Checks everything that could prevent an attempt before anything is claimed: a task that cannot run must not
    /// fence one that does.
    pub(super) async fn prepare(args: &'a Args, signals: Signals) -> anyhow::Result<Self> {
        let location = args.location()?;
        let previous = args.previous()?;
        let predecessors = args.predecessors(&location, previous.as_ref()).await?;
        args.check_dirs(&location, &predecessors)?;
        let ahead = tokio::spawn(Lookahead::read(location.clone()));
        let file = args.file().to_owned();
        let options = LoadOptions {
            limits: args.limits.guest_limits(),
            allow_precompiled: args.allow_precompiled,
            p3: args.has_p3(),
        };
        // On another thread: compiling takes long, and reading may wait for the writer of a pipe. A signal ends both.
        let load = move || Task::load(&file, options);
        let task = tokio::task::spawn_blocking(load).await??;
        let input = Input::open(args.retries).context("cannot open stdin")?;
        args.wasi(&input)?;
        if args.has_default_location() {
            say(format!("storing checkpoints in {location}"));
        }
        Ok(Self {
            args,
            location,
            previous,
            predecessors,
            task,
            input,
            signals,
            ahead: Mutex::new(Some(ahead)),
            first: first_attempt(),
        })
    }

    /// Runs attempts until one succeeds, no retry is left, or a signal arrives.
    pub(super) async fn attempts(&self, summary: &mut Summary) -> anyhow::Result<ExitCode> {
        let mut delay = Delay::new(self.args.retry_delay);
        loop {
            let failed = match self.next(summary).await? {
                Next::End(code) => return Ok(code),
                Next::Retry(failed) => failed,
            };
            if let Some(signal) = self.signals.received() {
                say(failed);
                return Ok(stopped(signal, summary));
            }
            let delay = delay.take();
            match delay.is_zero() {
                true => say(failed),
                false => say(format!("{failed}; retrying in {}", rounded(delay))),
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                signal = self.signals.first() => return Ok(stopped(signal, summary)),
            }
        }
    }

    /// Runs the next attempt.
    async fn next(&self, summary: &mut Summary) -> anyhow::Result<Next> {
        let number = self.first.saturating_add(summary.attempts);
        let last = summary.attempts >= self.args.retries;
        summary.attempts += 1;
        let attempt = match self.begin(number, summary).await {
            Ok(Begun::Attempt(attempt)) => attempt,
            Ok(Begun::Stopped(signal)) => {
                say(format!("stopped by {signal} before attempt {number} began"));
                return Ok(Next::End(signal.into()));
            }
            Err(error) if !last && can_pass(&error) => {
                let error = exit::one_line(&error);
                return Ok(Next::Retry(format!(
                    "attempt {number} cannot begin: {error}"
                )));
            }
            // Nothing has run, so there is nothing to summarise.
            Err(error) if summary.attempts == 1 => return Err(error),
            Err(error) => {
                let text = exit::one_line(&error);
                say(format!("failed after {}: {text}", summary.text()));
                return Ok(Next::End(exit::code_for(&error)));
            }
        };
        self.args.check_dirs(&self.location, &self.predecessors)?;
        let attempted = self.args.attempt(self, attempt.clone()).await?;
        // A save that was cut off may still hold the attempt. Then what was known when the attempt began counts.
        let _ = tokio::time::timeout(NOTE, summary.note(&attempt)).await;
        summary.ends(attempted.outcome.totals, attempted.outcome.waited);
        Ok(match self.judge(attempted, last, summary) {
            Next::Retry(reason) => Next::Retry(format!("attempt {number} failed: {reason}")),
            end => end,
        })
    }

    /// Begins an attempt, unless it times out or a signal arrives first.
    async fn begin(&self, number: u32, summary: &mut Summary) -> anyhow::Result<Begun> {
        let mut settings = AttemptSettings::default()
            .number(number)
            .component(self.task.digest)
            .limits(self.args.limits.limits());
        if let Some(keep) = self.args.keep {
            settings = settings.keep(keep);
        }
        // Later attempts of this run resume from what the first one has saved.
        if self.args.fresh && !summary.has_begun {
            settings = settings.fresh();
        }
        if let Some(previous) = &self.previous {
            settings = settings.previous(previous.clone());
        }
        tokio::select! {
            // Check the signal first: the task has not started, so it has nothing to save.
            biased;
            signal = self.signals.first() => Ok(Begun::Stopped(signal)),
            attempt = summary.begin(self.begin_attempt(settings)) => Ok(Begun::Attempt(Arc::new(attempt?))),
            () = self.args.timeout() => {
                let timeout = rounded(self.args.timeout.unwrap_or_default());
                let what = format!("{}: no answer within {timeout}", self.location);
                Err(failure(Code::Timeout, what))
            }
        }
    }

    /// Begins an attempt, the first with what was read ahead.
    async fn begin_attempt(
        &self,
        settings: AttemptSettings,
    ) -> checkpoint_storage::Result<Attempt> {
        let ahead = self.ahead.lock().ok().and_then(|mut ahead| ahead.take());
        match ahead {
            Some(reading) => match reading.await {
                Ok(ahead) => Attempt::begin_after(ahead?, settings).await,
                // It panicked, or the program ends.
                Err(_) => Attempt::begin(self.location.clone(), settings).await,
            },
            None => Attempt::begin(self.location.clone(), settings).await,
        }
    }

    /// Decides what follows an attempt that has run. Prints a message if the run ends.
    fn judge(&self, attempted: Attempted, last: bool, summary: &Summary) -> Next {
        let Attempted { end, stop, outcome } = attempted;
        let Outcome { lost, failure, .. } = outcome;
        if let Some(signal) = self.signals.received()
            && (stop.was_told() || end == End::Stopped)
        {
            return Next::End(stopped(signal, summary));
        }
        let Some((reason, code)) = reason(&end, self.args.timeout) else {
            return Next::End(succeeded(lost, summary));
        };
        let failure = failure.or(lost);
        let kind = failure.as_ref().map(Error::kind);
        let mut reason = match failure {
            None => reason,
            Some(failure) => {
                let failure = exit::one_line(&failure.into());
                format!("{reason} (its last failed call: {failure})")
            }
        };
        // If fenced, another attempt has taken over, and a retry would fence it in turn. Damage does not go away.
        let hopeless = matches!(kind, Some(ErrorKind::Fenced | ErrorKind::Corrupt));
        let over = last || hopeless;
        let unrepeatable = self.input.lost().filter(|_| !over);
        if let Some(why) = &unrepeatable {
            reason = format!("{reason}; not retried, because {why}");
        }
        if !over && unrepeatable.is_none() {
            return Next::Retry(reason);
        }
        say(format!("failed after {}: {reason}", summary.text()));
        // A task that passes on an error of the import exits with 1. The code of that error is more specific.
        let known = kind.and_then(exit::code_of);
        Next::End(match (&end, known) {
            (_, Some(Code::Fenced)) => Code::Fenced.into(),
            (End::Exit(1), Some(known)) => known.into(),
            _ => code,
        })
    }
}

enum Begun {
    Attempt(Arc<Attempt>),
    Stopped(Signal),
}

/// Says that a signal has ended the run. Returns the code for it.
fn stopped(signal: Signal, summary: &Summary) -> ExitCode {
    say(format!("stopped by {signal} after {}", summary.text()));
    signal.into()
}

/// Returns whether a retry might succeed where this attempt could not begin.
fn can_pass(error: &anyhow::Error) -> bool {
    let unavailable = |error: &Error| error.kind() == ErrorKind::Unavailable;
    error.downcast_ref().is_none_or(unavailable)
}

/// Returns the code for a task that succeeded. If a background save was lost, the run has failed: the task relies on
/// that save.
fn succeeded(lost: Option<Error>, summary: &Summary) -> ExitCode {
    let Some(lost) = lost else {
        say(format!("done after {}", summary.text()));
        return ExitCode::SUCCESS;
    };
    let lost = anyhow::Error::new(lost);
    let text = exit::one_line(&lost);
    say(format!("failed after {}: {text}", summary.text()));
    exit::code_for(&lost)
}

/// Returns why an attempt failed, and the code for it; `None` if it succeeded.
fn reason(end: &End, timeout: Option<Duration>) -> Option<(String, ExitCode)> {
    Some(match end {
        End::Success => return None,
        End::Exit(code) => (
            format!("the task exited with {code}"),
            ExitCode::from(*code),
        ),
        End::Trap(trap) => (format!("the task trapped: {trap}"), Code::Trap.into()),
        End::Failed(why) => (
            format!("the task cannot run here: {why}"),
            ExitCode::FAILURE,
        ),
        End::Timeout => {
            let time = humantime::format_duration(timeout.unwrap_or_default());
            (
                format!("the task took longer than {time}"),
                Code::Timeout.into(),
            )
        }
        End::Stopped => (
            "the task did not stop within the grace period".to_owned(),
            Code::Timeout.into(),
        ),
    })
}

/// Returns the number of this process's first attempt. Flyte runs each attempt in a separate process.
fn first_attempt() -> u32 {
    let number = std::env::var("FLYTE_ATTEMPT_NUMBER").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Rounds a duration to milliseconds, for people.
fn rounded(duration: Duration) -> humantime::FormattedDuration {
    let millis = duration.subsec_millis();
    humantime::format_duration(Duration::new(duration.as_secs(), millis * 1_000_000))
}
