//! `wasm-checkpoint run`

mod attempts;
mod delay;
mod input;
mod limits;
mod report;
mod store;
mod summary;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use checkpoint_session::{Outcome, SaveAdvice, Session, SessionSettings, StopHandle};
use checkpoint_storage::{Attempt, Location, OpenLocation};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::filesystem::FsPerms;

use crate::exit::{self, Code, Failure, failure};
use crate::log::Verbosity;
use crate::options::{FlyteUrl, LocationArg, SharedDir, Variable, duration, percent};
use crate::output::say;
use crate::signals::Signals;
use crate::task::End;
use attempts::Run;
use input::Input;
use limits::LimitArgs;
use report::ReportFile;
use summary::Summary;

/// The most random bytes that a task gets in one call, if it has memory for so many: the maximum of `wasmtime run`.
const RANDOM_BYTES: u64 = 64 << 20;

/// Run a task with retries; each attempt resumes from the last committed checkpoint
///
/// The task is a component that exports `wasi:cli/run`. It sees only the directories and environment variables
/// that are passed here.
#[derive(clap::Args, Debug)]
#[command(after_help = exit::HELP)]
pub(crate) struct Args {
    /// Location of the task's checkpoints: a URL or a path. If you run in a container that loses its home
    /// directory, name a location that persists
    /// [default: a directory in $XDG_STATE_HOME/wasm-checkpoint or ~/.local/state/wasm-checkpoint, named after
    /// the task's absolute path]
    #[arg(long, value_name = "URL")]
    store: Option<LocationArg>,
    /// Location of an earlier attempt, if it differs from --store. Later runs remember it
    #[arg(long, value_name = "URL")]
    prev: Option<LocationArg>,
    /// Same as --store, for Flyte
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    checkpoint_path: Option<FlyteUrl>,
    /// Same as --prev, for Flyte: blank, '""', None, null and {{…}} mean no earlier location
    #[arg(long, value_name = "URL", conflicts_with = "prev")]
    prev_checkpoint: Option<FlyteUrl>,
    /// Begin again from nothing. The checkpoints in --store are deleted once the task has saved
    #[arg(long, conflicts_with_all = ["prev", "prev_checkpoint"])]
    fresh: bool,
    /// Maximum number of retries after a failed attempt. Each attempt reads stdin from its start: a file is
    /// rewound, and up to 64 MiB of a pipe are kept
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Delay before the first retry, e.g. 10s. It doubles with each further retry, up to a minute, and is
    /// shortened by a random amount of up to half
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    retry_delay: Duration,
    /// Maximum time per attempt, e.g. 90s or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Grace period after SIGTERM or SIGINT; the task learns of it from `should-save`. Committing background
    /// saves may take as long again
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    grace: Duration,
    /// Advise the task to save when this much time has passed since its last save, e.g. 5m
    /// [default: as often as keeps its waiting for saves under 5 % of the run time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    save_every: Option<Duration>,
    /// Advise the task to save as often as keeps its waiting for saves under this percentage of the run time
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "save_every")]
    save_overhead: Option<f64>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print events of at least this level on stderr: conflicts, fallbacks, deletions and the like
    /// [default: those that RUST_LOG selects, or warn]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<Verbosity>,
    /// Write a JSON summary of all attempts to this file. An existing file or link is replaced; a pipe or device
    /// is written to
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Number of checkpoints to keep, from now on [default: as before, or 3 in a new location]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    /// Give the task access to a directory. Directories that contain checkpoints are refused
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    dirs: Vec<SharedDir>,
    /// Give the task read-only access to a directory
    #[arg(long = "dir-ro", value_name = "HOST[::GUEST]")]
    read_only_dirs: Vec<SharedDir>,
    /// Set an environment variable of the task; without a value, copy it from this environment
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<Variable>,
    /// Also run compiled code (.cwasm). It is not sandboxed: it can do whatever you can do, so run only files that you
    /// trust. Made by `wasmtime compile -W epoch-interruption=y,gc-support=n,threads=n`
    #[arg(long)]
    allow_precompiled: bool,
    /// Enable a part of WASI: `p3` is WASI 0.3. Wasmtime calls it experimental, and gives it no security fixes, so it is
    /// off by default and not for tasks from strangers
    #[cfg(feature = "p3")]
    #[arg(short = 'S', long = "wasi", value_name = "PART")]
    wasi_parts: Vec<WasiPart>,
    /// The component to run, in the binary or the text format, and its arguments
    // One list: if the component were a positional of its own, clap would parse options after it as ours.
    #[arg(value_names = ["TASK.wasm", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true)]
    task: Vec<OsString>,
}

/// A part of WASI that is off by default.
#[cfg(feature = "p3")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WasiPart {
    P3,
}

impl Args {
    /// Returns whether the task gets WASI 0.3.
    fn has_p3(&self) -> bool {
        #[cfg(feature = "p3")]
        return self.wasi_parts.contains(&WasiPart::P3);
        #[cfg(not(feature = "p3"))]
        false
    }

    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        self.check_report()?;
        let report = self.report.as_deref().map(ReportFile::open).transpose()?;
        let mut summary = Summary::default();
        let signals = Signals::listen().context("cannot listen for signals")?;
        let run = tokio::select! {
            biased;
            signal = signals.first() => {
                say(format!("stopped by {signal} before the task was loaded"));
                return Ok(signal.into());
            }
            run = Run::prepare(&self, signals.clone()) => run?,
        };
        let ended = run.attempts(&mut summary).await;
        if let Some(report) = report
            && let Err(error) = summary.write(report)
        {
            // The outcome of the task stays the same.
            say(format!("warning: cannot write the report: {error:#}"));
        }
        ended
    }

    /// Runs one attempt, and commits its pending background saves.
    async fn attempt(&self, run: &Run<'_>, attempt: Arc<Attempt>) -> anyhow::Result<Attempted> {
        let advice = match (self.save_every, self.save_overhead) {
            (Some(every), _) => SaveAdvice::Every(every),
            (None, Some(share)) => SaveAdvice::Overhead(share),
            (None, None) => SaveAdvice::default(),
        };
        let session = Session::new(attempt, SessionSettings::default().save_advice(advice));
        let stop = session.stop_handle();
        let cut = async {
            let grace = async {
                run.signals.first().await;
                stop.stop(self.grace);
                tokio::time::sleep(self.grace).await;
            };
            tokio::select! {
                () = self.timeout() => End::Timeout,
                () = grace => End::Stopped,
            }
        };
        let ctx = session.clone().into();
        let wasi = self.wasi(&run.input)?;
        let end = run.task.run(wasi, ctx, cut).await;
        let outcome = session.finish(self.grace).await;
        Ok(Attempted { end, stop, outcome })
    }

    /// Waits until an attempt times out; forever without `--timeout`.
    async fn timeout(&self) {
        match self.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
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
                let path = store::default_location(self.file())?;
                Location::from_path(path).open()?
            }
        })
    }

    fn previous(&self) -> anyhow::Result<Option<OpenLocation>> {
        let flyte = self.prev_checkpoint.clone().and_then(|url| url.0);
        let location = self.prev.clone().or(flyte);
        Ok(location.map(|location| location.open()).transpose()?)
    }

    /// Returns the predecessors that this run may resume from: those that are named, and those that records name.
    /// Reads records only if a directory that is given to the task could contain a predecessor.
    ///
    /// # Errors
    /// If a recorded predecessor is not what it was.
    async fn predecessors(
        &self,
        location: &OpenLocation,
        previous: Option<&OpenLocation>,
    ) -> anyhow::Result<Vec<OpenLocation>> {
        let mut all: Vec<_> = previous.cloned().into_iter().collect();
        let first = previous.unwrap_or(location);
        let shares_dirs = !self.dirs.is_empty() || !self.read_only_dirs.is_empty();
        if shares_dirs && !self.fresh && first.local_dir().is_some() {
            all.extend(first.predecessors().await?);
        }
        Ok(all)
    }

    fn has_default_location(&self) -> bool {
        let flyte = self
            .checkpoint_path
            .as_ref()
            .is_some_and(|url| url.0.is_some());
        self.store.is_none() && !flyte
    }

    /// Refuses `--dir` directories that would expose checkpoints to the task. Call this before each attempt, because
    /// a task can replace a directory inside one that it was given by a link.
    ///
    /// # Errors
    /// If a directory contains checkpoints or lies among them.
    fn check_dirs(
        &self,
        location: &OpenLocation,
        predecessors: &[OpenLocation],
    ) -> anyhow::Result<()> {
        let private = store::private(location, predecessors);
        store::check_dirs(self.dirs.iter().chain(&self.read_only_dirs), &private)
    }

    /// Refuses a report among checkpoints, where it could replace a record.
    ///
    /// # Errors
    /// If the report lies in a location.
    fn check_report(&self) -> anyhow::Result<()> {
        let Some(report) = &self.report else {
            return Ok(());
        };
        let previous: Vec<_> = self.previous()?.into_iter().collect();
        store::check_report(report, &store::private(&self.location()?, &previous))
    }

    fn wasi(&self, input: &Input) -> anyhow::Result<WasiCtx> {
        let mut wasi = WasiCtx::builder();
        wasi.inherit_stdout().inherit_stderr();
        // The host makes them before the task has memory for them.
        let memory_bytes = self.limits.guest_limits().memory_bytes as u64;
        wasi.max_random_size(memory_bytes.min(RANDOM_BYTES));
        input.give(&mut wasi);
        // Pass only the file name: the path is of no concern to the task.
        let name = self.file().file_name().unwrap_or_default();
        wasi.arg(name.to_string_lossy());
        for arg in self.args() {
            let arg = arg.to_str();
            wasi.arg(arg.ok_or_else(|| {
                failure(Code::Usage, "the task's arguments must be valid Unicode")
            })?);
        }
        for Variable { name, value } in &self.variables {
            wasi.env(name, value);
        }
        let given = [
            ("--dir", &self.dirs, FsPerms::ReadWrite),
            ("--dir-ro", &self.read_only_dirs, FsPerms::ReadOnly),
        ];
        for (option, dirs, permission) in given {
            for SharedDir { host, guest } in dirs {
                wasi.preopened_dir(host, guest, permission)
                    .map_err(anyhow::Error::from)
                    .with_context(|| Failure {
                        code: Code::Usage,
                        message: format!(
                            "cannot open the directory {} of {option}",
                            host.display()
                        ),
                    })?;
            }
        }
        Ok(wasi.build())
    }
}

/// An attempt that has ended, with all its saves.
struct Attempted {
    end: End,
    stop: StopHandle,
    outcome: Outcome,
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
    fn an_option_conflicts_with_its_flyte_name() {
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
    fn flytes_later_attempts_have_a_previous_location() {
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
            assert!(location.url().contains("/wasm-checkpoint/t-"), "{location}");
        }
    }

    #[test]
    fn invalid_option_values_are_refused() {
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
