//! Trains a model, kills the training halfway and resumes it:
//! `cargo run -p wasm-checkpoint --no-default-features --example digits`.
//!
//! Builds the task in `guest/rust/examples/digits` and runs it twice, each time with a separate location on local disk.
//! The first run is undisturbed. The second is killed by SIGKILL and started again. Both must produce the same model,
//! byte for byte.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EPOCHS: u32 = 60;
/// Once the task has printed this epoch's line, its checkpoint is committed and the next epoch is running.
const KILLED_AFTER: u32 = 20;

fn main() -> ExitCode {
    // With this argument, this program acts as the command line: only a separate process can really be killed.
    if std::env::args().nth(1).as_deref() == Some("run") {
        return wasm_checkpoint::main();
    }
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let work = dir.path().join("work");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = workspace.join("guest/rust/examples/digits/digits.csv");
    fs::create_dir(&work)?;
    fs::copy(data, work.join("digits.csv"))?;
    fs::copy(build_task(&workspace)?, dir.path().join("digits.wasm"))?;

    println!("1. Train undisturbed:\n");
    Attempt::start(dir.path(), "undisturbed")?.finish()?;

    println!(
        "\n2. Train with another location, and kill the process after epoch {KILLED_AFTER}:\n"
    );
    let mut attempt = Attempt::start(dir.path(), "killed")?;
    attempt.print_until(&format!("epoch {KILLED_AFTER}:"))?;
    let status = attempt.kill()?;
    println!("     {status}");
    if status.code().is_some() || work.join("killed.model").exists() {
        return Err("the training ended before it could be killed".into());
    }

    println!("\n3. Run the same command again to resume:\n");
    let mut attempt = Attempt::start(dir.path(), "killed")?;
    attempt.print_until("resumed after epoch")?;
    attempt.finish()?;

    let model = fs::read(work.join("killed.model"))?;
    if model != fs::read(work.join("undisturbed.model"))? {
        return Err("the model differs from the undisturbed run's".into());
    }
    println!(
        "\nmodel: {} bytes, byte-identical to the undisturbed run's",
        model.len()
    );
    Ok(())
}

/// Builds the task as a component. Returns its path.
fn build_task(workspace: &Path) -> Result<PathBuf> {
    const TARGET: &str = "wasm32-wasip2";
    // The build scripts of the workspace use the same target directory, next to this program's folder.
    let program = std::env::current_exe()?;
    let profile = program.ancestors().nth(2).ok_or("no target directory")?;
    let target_dir = profile.join("wasm");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "task-checkpoint", "--example", "digits-task"])
        .arg("--target-dir")
        .arg(&target_dir)
        // Use the settings of build.rs, or cargo would build the procedural macros again.
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("RUSTFLAGS")
        .current_dir(workspace)
        .status()?;
    if !built.success() {
        return Err("cannot build the task; see the compiler's errors above".into());
    }
    let built = target_dir.join(TARGET).join("release");
    Ok(built.join("examples/digits-task.wasm"))
}

/// A training process.
struct Attempt {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Attempt {
    /// Prints the command and starts it in `dir`.
    fn start(dir: &Path, name: &str) -> Result<Self> {
        let args = format!(
            "run --store stores/{name} --dir work digits.wasm work/digits.csv work/{name}.model {EPOCHS}"
        );
        println!("     wasm-checkpoint {args}");
        let mut process = Command::new(std::env::current_exe()?)
            .args(args.split(' '))
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            process,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Prints every tenth epoch's line, up to the line that starts with `beginning`.
    fn print_until(&mut self, beginning: &str) -> Result<()> {
        for line in &mut self.lines {
            let line = line?;
            let wanted = line.starts_with(beginning);
            if wanted || line.contains("0: ") {
                println!("     {line}");
            }
            if wanted {
                return Ok(());
            }
        }
        let status = self.process.wait()?;
        Err(format!("the task printed no line that starts with {beginning:?} ({status})").into())
    }

    fn finish(mut self) -> Result<()> {
        self.print_until(&format!("epoch {EPOCHS}:"))?;
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("the training failed: {status}").into()),
        }
    }

    fn kill(mut self) -> Result<ExitStatus> {
        self.process.kill()?;
        Ok(self.process.wait()?)
    }
}
