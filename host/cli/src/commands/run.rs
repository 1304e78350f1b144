//! `wasm-checkpoint run`

mod limits;
mod summary;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use checkpoint_session::{Outcome, SaveAdvice, Session, SessionSettings, StopHandle};
use checkpoint_storage::{Attempt, AttemptSettings, ErrorKind, Location, OpenLocation};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::filesystem::FsPerms;

use crate::exit::{self, Code, Failure, failure};
use crate::options::{FlyteUrl, LocationArg, SharedDir, Variable, duration, percent, size};
use crate::signals::Signals;
use crate::task::{End, Task};
use limits::LimitArgs;
use summary::Summary;

/// Run a task; each attempt goes on from the last committed checkpoint
///
/// The task is a component that exports `wasi:cli/run`. It sees the directories and the variables that
/// are named here, and no others.
#[derive(clap::Args, Debug)]
#[command(after_help = exit::HELP)]
pub(crate) struct Args {
    /// The location of this task's checkpoints: a URL or a path
    /// [default: ./checkpoints/<name of the file>]
    #[arg(long, value_name = "URL")]
    store: Option<LocationArg>,
    /// The location of an earlier attempt, where that is another one
    #[arg(long, value_name = "URL")]
    prev: Option<LocationArg>,
    /// The same as --store, as Flyte passes it
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    checkpoint_path: Option<FlyteUrl>,
    /// The same as --prev, as Flyte passes it: blank, '""', None and {{…}} mean none
    #[arg(long, value_name = "URL", conflicts_with = "prev")]
    prev_checkpoint: Option<FlyteUrl>,
    /// How many further attempts follow one that failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// The time that an attempt may take, such as 90s or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// The most memory that the task may use, such as 512MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory: Option<usize>,
    /// How long the task may go on after SIGTERM or SIGINT, of which `should-save` tells it. What it has
    /// saved in the background is committed within as long again
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    grace: Duration,
    /// Advise the task to save whenever this much time has passed since its last save
    /// [default: as often as keeps its waiting under 5 % of the time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    save_every: Option<Duration>,
    /// Advise the task to save as often as keeps its waiting under this share of the time, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "save_every")]
    save_overhead: Option<f64>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Write what the attempts did to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many checkpoints are kept
    #[arg(long, value_name = "N", default_value = "3")]
    keep: NonZeroUsize,
    /// Give the task a directory
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    dirs: Vec<SharedDir>,
    /// Give the task a variable; without a value, that of this environment
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<Variable>,
    /// The component, and what it is given as arguments. All that follows the component is the task's
    // One list: clap would take an option right behind a positional of its own for ours.
    #[arg(value_names = ["TASK.wasm", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true)]
    task: Vec<OsString>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let mut summary = Summary::default();
        let code = self.attempts(&mut summary).await?;
        if let Some(file) = &self.report {
            summary.write(file)?;
        }
        Ok(code)
    }

    /// Runs attempts until one succeeds, none is left, or a signal comes.
    async fn attempts(&self, summary: &mut Summary) -> anyhow::Result<ExitCode> {
        let location = self.location()?;
        let previous = self.previous()?;
        // Before anything is claimed: a task that cannot run must not fence one that does.
        let task = Task::load(self.file())?;
        self.wasi()?;
        let signals = Signals::listen().context("signals cannot be received")?;
        let first = first_attempt();
        loop {
            let number = first.saturating_add(summary.attempts);
            let mut settings = AttemptSettings::default()
                .number(number)
                .component(task.digest)
                .limits(self.limits.limits())
                .keep(self.keep);
            if let Some(previous) = &previous {
                settings = settings.previous(previous.clone());
            }
            let last = summary.attempts >= self.retries;
            summary.attempts += 1;
            let attempt = match summary.begin(location.clone(), settings).await {
                Ok(attempt) => Arc::new(attempt),
                Err(error) if error.kind() == ErrorKind::Unavailable && !last => {
                    let error = anyhow::Error::new(error);
                    say(&format!(
                        "attempt {number} cannot begin: {}",
                        exit::one_line(&error)
                    ));
                    continue;
                }
                // Nothing has run, so there is nothing to sum up.
                Err(error) if summary.attempts == 1 => return Err(error.into()),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    say(&format!(
                        "failed after {}: {}",
                        summary.text(),
                        exit::one_line(&error)
                    ));
                    return Ok(exit::code_for(&error));
                }
            };
            let Attempted {
                end,
                stop,
                outcome:
                    Outcome {
                        lost,
                        failure,
                        waited,
                        totals,
                        ..
                    },
            } = self.attempt(&task, attempt, &signals).await?;
            summary.ends(totals, waited);
            if let Some(signal) = signals.received()
                && (stop.was_told() || end == End::Stopped)
            {
                say(&format!("stopped after {}", summary.text()));
                return Ok(signal.into());
            }
            let Some((reason, code)) = reason(&end, self.timeout) else {
                // A task that succeeds counts on what it was told is staged.
                if let Some(lost) = lost {
                    let lost = anyhow::Error::new(lost);
                    let text = exit::one_line(&lost);
                    say(&format!("failed after {}: {text}", summary.text()));
                    return Ok(exit::code_for(&lost));
                }
                say(&format!("done after {}", summary.text()));
                return Ok(ExitCode::SUCCESS);
            };
            let failure = failure.or(lost);
            let kind = failure.as_ref().map(checkpoint_storage::Error::kind);
            let reason = match failure {
                None => reason,
                Some(failure) => {
                    let failure = anyhow::Error::new(failure);
                    let failure = exit::one_line(&failure);
                    format!("{reason} (its last failed call: {failure})")
                }
            };
            // Another attempt has taken over; one more here would fence it in turn. And damage stays.
            let hopeless = matches!(kind, Some(ErrorKind::Fenced | ErrorKind::Corrupt));
            if last || hopeless || signals.received().is_some() {
                say(&format!("failed after {}: {reason}", summary.text()));
                // A task that passes an error on exits with 1. What the error was says more.
                let known = kind.and_then(exit::code_of);
                return Ok(match (&end, known) {
                    (_, Some(Code::Fenced)) => Code::Fenced.into(),
                    (End::Exit(1), Some(known)) => known.into(),
                    _ => code,
                });
            }
            say(&format!("attempt {number} failed: {reason}"));
        }
    }

    /// Runs one attempt, and commits what it has left staged.
    async fn attempt(
        &self,
        task: &Task,
        attempt: Arc<Attempt>,
        signals: &Signals,
    ) -> anyhow::Result<Attempted> {
        let advice = match (self.save_every, self.save_overhead) {
            (Some(every), _) => SaveAdvice::Every(every),
            (None, Some(share)) => SaveAdvice::Overhead(share),
            (None, None) => SaveAdvice::default(),
        };
        let session = Session::new(attempt, SessionSettings::default().save_advice(advice));
        let stop = session.stop_handle();
        let cut = async {
            let timeout = async {
                match self.timeout {
                    Some(timeout) => tokio::time::sleep(timeout).await,
                    None => std::future::pending().await,
                }
            };
            let grace = async {
                signals.first().await;
                stop.stop(self.grace);
                tokio::time::sleep(self.grace).await;
            };
            tokio::select! {
                () = timeout => End::Timeout,
                () = grace => End::Stopped,
            }
        };
        let ctx = session.clone().into();
        let end = task.run(self.wasi()?, ctx, self.max_memory, cut).await;
        let outcome = session.finish(self.grace).await;
        Ok(Attempted { end, stop, outcome })
    }

    fn file(&self) -> &Path {
        self.task.first().map_or(Path::new(""), Path::new)
    }

    fn args(&self) -> &[OsString] {
        self.task.get(1..).unwrap_or_default()
    }

    fn location(&self) -> anyhow::Result<OpenLocation> {
        let flyte = self.checkpoint_path.clone().and_then(|url| url.0);
        Ok(match self.store.clone().or(flyte) {
            Some(location) => location.open()?,
            None => {
                let name = self.file().file_stem().unwrap_or_default();
                Location::from_path(Path::new("checkpoints").join(name)).open()?
            }
        })
    }

    fn previous(&self) -> anyhow::Result<Option<OpenLocation>> {
        let flyte = self.prev_checkpoint.clone().and_then(|url| url.0);
        let location = self.prev.clone().or(flyte);
        Ok(location.map(|location| location.open()).transpose()?)
    }

    fn wasi(&self) -> anyhow::Result<WasiCtx> {
        let mut wasi = WasiCtx::builder();
        wasi.inherit_stdio();
        wasi.arg(self.file().to_string_lossy());
        for arg in self.args() {
            let arg = arg.to_str();
            wasi.arg(
                arg.ok_or_else(|| failure(Code::Usage, "the arguments of a task are Unicode"))?,
            );
        }
        for Variable { name, value } in &self.variables {
            wasi.env(name, value);
        }
        for SharedDir { host, guest } in &self.dirs {
            wasi.preopened_dir(host, guest, FsPerms::ReadWrite)
                .map_err(anyhow::Error::from)
                .with_context(|| Failure {
                    code: Code::Usage,
                    message: format!("--dir {}: it cannot be opened", host.display()),
                })?;
        }
        Ok(wasi.build())
    }
}

/// An attempt that has ended, and whose saves have.
struct Attempted {
    end: End,
    stop: StopHandle,
    outcome: Outcome,
}

/// Why an attempt failed, and the code for it; `None` if it did not.
fn reason(end: &End, timeout: Option<Duration>) -> Option<(String, ExitCode)> {
    Some(match end {
        End::Success => return None,
        End::Exit(code) => (
            format!("the task exited with {code}"),
            ExitCode::from(*code),
        ),
        End::Trap(trap) => (format!("the task trapped: {trap}"), Code::Trap.into()),
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

/// The number of the first attempt of this process. Flyte runs each attempt in a process of its own.
fn first_attempt() -> u32 {
    let number = std::env::var("FLYTE_ATTEMPT_NUMBER").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn say(line: &str) {
    eprintln!("wasm-checkpoint: {line}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind as Wrong;

    use super::Args;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Result<Args, Wrong> {
        let parsed = Line::try_parse_from([&["run"], line].concat());
        parsed.map(|line| line.args).map_err(|error| error.kind())
    }

    #[test]
    fn everything_after_the_task_is_the_tasks() {
        let args = parse(&["--retries", "2", "t.wasm", "--retries", "--", "-x"]).unwrap();
        assert_eq!(args.retries, 2);
        assert_eq!(args.file(), "t.wasm");
        assert_eq!(args.args(), ["--retries", "--", "-x"]);
    }

    #[test]
    fn an_unknown_option_is_not_taken_for_the_task() {
        let wrong = parse(&["--retires", "2", "t.wasm"]).unwrap_err();
        assert_eq!(wrong, Wrong::UnknownArgument);
        let missing = parse(&["--retries", "2"]).unwrap_err();
        assert_eq!(missing, Wrong::MissingRequiredArgument);
    }

    #[test]
    fn one_thing_has_one_name_at_a_time() {
        for (ours, flytes) in [
            ("--store", "--checkpoint-path"),
            ("--prev", "--prev-checkpoint"),
        ] {
            let both = parse(&[ours, "a", flytes, "b", "t.wasm"]);
            assert_eq!(both.unwrap_err(), Wrong::ArgumentConflict);
        }
    }

    #[test]
    fn flytes_first_attempt_has_no_previous_location() {
        let line = [
            "--checkpoint-path",
            "memory:///now",
            "--prev-checkpoint",
            "\"\"",
            "t.wasm",
        ];
        let args = parse(&line).unwrap();
        assert_eq!(args.location().unwrap().url(), "memory:///now");
        assert!(args.previous().unwrap().is_none());
    }

    #[test]
    fn flytes_later_attempts_have_one() {
        let args = parse(&["--prev-checkpoint", "memory:///then", "t.wasm"]).unwrap();
        assert_eq!(args.previous().unwrap().unwrap().url(), "memory:///then");
    }

    #[test]
    fn the_default_location_is_named_after_the_task() {
        for line in [
            &["a/t.wasm"][..],
            &["--checkpoint-path", "{{.x}}", "a/t.wasm"],
        ] {
            let location = parse(line).unwrap().location().unwrap();
            assert!(location.url().starts_with("file:///"));
            assert!(location.url().ends_with("/checkpoints/t"));
        }
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        let wrong = [
            ["--keep", "0"],
            ["--timeout", "0s"],
            ["--timeout", "soon"],
            ["--max-memory", "much"],
            ["--dir", "::x"],
            ["--retries", "-1"],
        ];
        for [option, value] in wrong {
            let refused = parse(&[&format!("{option}={value}"), "t.wasm"]);
            assert_eq!(
                refused.unwrap_err(),
                Wrong::ValueValidation,
                "{option} {value}"
            );
        }
    }
}
