//! The program under test, as a child process.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::s3::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-checkpoint-under-test");

/// Returns the path of a test guest.
pub(crate) fn guest(name: &str) -> PathBuf {
    Path::new(env!("GUESTS")).join(format!("{name}.wasm"))
}

/// Composes a task with `wasm-checkpoint compose`, for directories or for S3. All tests share the result.
pub(crate) fn composed(task: &Path, reach: &'static str) -> PathBuf {
    static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let name = task.file_stem().unwrap().to_str().unwrap();
    let app = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{reach}.wasm"));
    let mut made = MADE.lock().unwrap();
    if made.insert(app.clone()) {
        let mut line = vec!["compose".as_ref(), task.as_os_str()];
        line.extend(["-o".as_ref(), app.as_os_str()]);
        line.extend((!reach.is_empty()).then_some(OsStr::new(reach)));
        let outcome = Cli::new(line).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    }
    app
}

/// The host that implements the task's import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `wasm-checkpoint run`.
    Native,
    /// The component that `wasm-checkpoint compose` adds to the task, under `wasmtime run`.
    Composed,
}

/// A command line, ready to run.
pub(crate) struct Cli {
    command: Command,
    stdin: Stdio,
    host: Host,
    /// The option that `compose` needs for this storage.
    reach: &'static str,
}

/// The result of a command.
pub(crate) struct Outcome {
    /// The lines that the task printed to stdout.
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
    /// The exit code, or `None` if the process was killed.
    pub(crate) code: Option<i32>,
}

/// A running command. Dropping this kills it.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    lines: Vec<String>,
    said: Arc<Mutex<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
}

impl Cli {
    /// `wasm-checkpoint` with these arguments and a minimal environment.
    pub(crate) fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::of(PROGRAM, Host::Native).options(args)
    }

    /// `wasm-checkpoint run` in a process that may have this much address space, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn run_within<S: AsRef<OsStr>>(
        kib: u32,
        options: impl IntoIterator<Item = S>,
    ) -> Self {
        let shell = format!("ulimit -v {kib}; exec \"$@\"");
        let line = ["-c", &shell, "sh", PROGRAM, "run"];
        Self::of("sh", Host::Native).options(line).options(options)
    }

    fn of(program: &str, host: Host) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        // Wasmtime finds its cache directory through one of these.
        for name in ["HOME", "XDG_CACHE_HOME", "PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self {
            command,
            stdin: Stdio::null(),
            host,
            reach: "",
        }
    }

    /// The command that runs a task on this directory. The caller adds the task.
    pub(crate) fn on(host: Host, store: &Path) -> Self {
        match host {
            Host::Native => Self::run(["--store".as_ref(), store.as_os_str()]),
            Host::Composed => Self::stock().dir(store, "/checkpoint"),
        }
    }

    /// The command that runs a task on this location in a bucket of `server`. The caller adds the task.
    pub(crate) fn on_s3(host: Host, url: &str, server: &Server) -> Self {
        Self::on_s3_by(host, url, server.env())
    }

    /// Like [`on_s3`](Self::on_s3), with these variables to reach the server.
    pub(crate) fn on_s3_by(host: Host, url: &str, variables: Vec<(&'static str, String)>) -> Self {
        let mut cli = match host {
            Host::Native => return Self::run(["--store", url]).envs(variables),
            Host::Composed => Self::stock().options(["-S", "http"]),
        };
        cli.reach = "--s3";
        let cli = cli.variable("CHECKPOINT_STORE", url);
        let variables = variables.into_iter();
        variables.fold(cli, |cli, (name, value)| cli.variable(name, &value))
    }

    /// The stock `wasmtime run`.
    pub(crate) fn stock() -> Self {
        Self::of(env!("CARGO_BIN_EXE_wasmtime-under-test"), Host::Composed).options(["run"])
    }

    /// Sets an option that limits what is stored or kept. Sizes are plain numbers.
    pub(crate) fn cap(self, option: &str, value: &str) -> Self {
        match self.host {
            Host::Native => self.options([&format!("--{option}"), value]),
            Host::Composed => {
                let name = option.to_uppercase().replace('-', "_");
                self.variable(&format!("CHECKPOINT_{name}"), value)
            }
        }
    }

    /// Sets a variable of the composed component, through the task's environment.
    pub(crate) fn variable(self, name: &str, value: &str) -> Self {
        self.options(["--env", &format!("{name}={value}")])
    }

    /// `wasm-checkpoint run` with these options, up to the task. Its attempts follow one another at once.
    pub(crate) fn run<S: AsRef<OsStr>>(options: impl IntoIterator<Item = S>) -> Self {
        Self::new(["run", "--retry-delay", "0s"]).options(options)
    }

    /// What the program reads from stdin, which is empty otherwise.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    pub(crate) fn without(mut self, variable: &str) -> Self {
        self.command.env_remove(variable);
        self
    }

    /// The command, for what only that can say of its streams.
    pub(crate) fn into_command(mut self) -> Command {
        self.command.stdin(self.stdin);
        self.command
    }

    pub(crate) fn options<S: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.command.args(options);
        self
    }

    /// Runs the guest `verbs` on this location to its end.
    pub(crate) fn verbs_on(store: impl AsRef<OsStr>, verbs: &str) -> Outcome {
        Self::run([OsStr::new("--store"), store.as_ref()])
            .verbs(verbs)
            .outcome()
    }

    pub(crate) fn envs<V: AsRef<OsStr>>(
        mut self,
        envs: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        self.command.envs(envs);
        self
    }

    /// Gives the task the directory `host` as `guest`.
    pub(crate) fn dir(mut self, host: &Path, guest: &str) -> Self {
        let mut mapping = host.as_os_str().to_owned();
        mapping.push("::");
        mapping.push(guest);
        self.command.arg("--dir").arg(mapping);
        self
    }

    pub(crate) fn working_directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Adds the guest `verbs` with these verbs, separated by spaces.
    pub(crate) fn verbs(self, verbs: &str) -> Self {
        self.guest("verbs", verbs.split_whitespace())
    }

    /// Adds a test guest with its arguments.
    pub(crate) fn guest<S: AsRef<OsStr>>(
        self,
        name: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        self.program(&guest(name), args)
    }

    /// Adds a task with its arguments. The task is composed first if the host is [`Host::Composed`].
    pub(crate) fn program<S: AsRef<OsStr>>(
        self,
        task: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        match self.host {
            Host::Native => self.task(task, args),
            Host::Composed => {
                let app = composed(task, self.reach);
                self.task(&app, args)
            }
        }
    }

    pub(crate) fn task<S: AsRef<OsStr>>(
        mut self,
        task: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        self.command.arg(task).args(args);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let command = self.command.stdin(self.stdin);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = said.clone();
        // Beside stdout, or a full pipe could stop the child.
        let stderr = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                match stderr.read(&mut piece).unwrap() {
                    0 => break,
                    read => sink.lock().unwrap().extend_from_slice(&piece[..read]),
                }
            }
        });
        Running {
            child,
            stdout,
            lines: Vec::new(),
            said,
            stderr: Some(stderr),
        }
    }

    /// Runs the command to its end.
    pub(crate) fn outcome(self) -> Outcome {
        self.start().finish()
    }
}

impl Running {
    /// Waits for the next line on stdout. Returns `None` at the end.
    pub(crate) fn line(&mut self) -> Option<&str> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        self.lines.push(line.trim_end().to_owned());
        self.lines.last().map(String::as_str)
    }

    /// The number of lines read so far.
    pub(crate) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Waits until `happened` or until the program ends. Returns whether it happened.
    pub(crate) fn until(&mut self, mut happened: impl FnMut() -> bool) -> bool {
        loop {
            if happened() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return happened();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it has said this on stderr, or has ended.
    pub(crate) fn until_said(&mut self, text: &str) -> bool {
        let said = self.said.clone();
        self.until(|| String::from_utf8_lossy(&said.lock().unwrap()).contains(text))
    }

    /// The directory in which the system lists the files that it holds open.
    pub(crate) fn open_files(&self) -> PathBuf {
        format!("/proc/{}/fd", self.child.id()).into()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Kills the program with SIGKILL.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill().unwrap();
        self.finish()
    }

    /// Waits for its end. Returns its peak memory in KiB, too, for which it must print little.
    pub(crate) fn finish_measured(mut self) -> (Outcome, u64) {
        let status = format!("/proc/{}/status", self.child.id());
        let mut peak = 0;
        // `wait4` is no alternative: its peak includes the memory of this process at the time of the spawn.
        self.until(|| {
            // The system keeps the peak, so only growth within the last interval is missed.
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            peak = kib.map_or(peak, |kib| kib.parse().unwrap());
            false
        });
        (self.finish(), peak)
    }

    pub(crate) fn finish(mut self) -> Outcome {
        while self.line().is_some() {}
        let code = self.child.wait().unwrap().code();
        self.stderr.take().unwrap().join().unwrap();
        let stderr = String::from_utf8(self.said.lock().unwrap().clone()).unwrap();
        Outcome {
            lines: std::mem::take(&mut self.lines),
            stderr,
            code,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The program has usually ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Outcome {
    /// Asserts that the task succeeded and printed these lines.
    #[track_caller]
    pub(crate) fn printed<S: AsRef<str>>(&self, lines: impl AsRef<[S]>) {
        let expected: Vec<_> = lines.as_ref().iter().map(S::as_ref).collect();
        assert_eq!(self.lines, expected, "{}", self.text());
        assert_eq!(self.code, Some(0), "{}", self.text());
    }

    /// Asserts that the program failed with this exit code and one error line on stderr. Returns that line.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.text());
        let errors: Vec<_> = self
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("wasm-checkpoint: "))
            .filter(|line| line.starts_with("error: ") || line.starts_with("failed after "))
            .collect();
        assert_eq!(errors.len(), 1, "{}", self.text());
        errors[0].to_owned()
    }

    /// Asserts that the task trapped.
    #[track_caller]
    pub(crate) fn trapped(&self) {
        // `wasmtime run` uses the same code.
        assert_eq!(self.code, Some(134), "{}", self.text());
    }

    /// The whole result as text, for the message of a failed assertion.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("exit code {:?}\n", self.code);
        for line in &self.lines {
            let _ = writeln!(text, "stdout: {line}");
        }
        for line in self.stderr.lines() {
            let _ = writeln!(text, "stderr: {line}");
        }
        text
    }
}
