//! `wasm-checkpoint compose`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::compose::{StoreKind, compose};
use crate::file;
use crate::output::{say, say_raw};

/// Make a component that plain `wasmtime run` runs
///
/// Plugs the import into the task, as a component that keeps the checkpoints in a directory or, with --s3, in an
/// S3 bucket. Environment variables configure it: CHECKPOINT_STORE (default /checkpoint), CHECKPOINT_PREV,
/// CHECKPOINT_KEEP, CHECKPOINT_QUOTA and others that the README lists. The task sees neither the directory nor any
/// variable that begins with CHECKPOINT_, AWS_ or FLYTE_AWS_.
///
/// A task of WASI 0.3 can be composed too, unless it imports `files` of task:checkpoint@0.3. Run it with
/// `wasmtime run -S p3`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Component to plug the import into
    task: PathBuf,
    /// Component to write
    #[arg(short, long, value_name = "APP.wasm")]
    output: PathBuf,
    /// Keep the checkpoints in an S3 bucket; run the result with `wasmtime run -S http`
    #[arg(long)]
    s3: bool,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let store = match self.s3 {
            true => StoreKind::S3,
            false => StoreKind::Directories,
        };
        let name = self.task.display();
        let composed =
            compose(&file::read(&self.task)?, store).with_context(|| name.to_string())?;
        let output = self.output.display();
        std::fs::write(&self.output, composed.bytes)
            .with_context(|| format!("cannot write {output}"))?;
        say(format!(
            "composed {output}; run it, and rerun it to resume, with"
        ));
        let line = command_line(&self.task, &self.output, store, composed.needs_p3);
        say_raw(&format!("    {line}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the command line that runs the composed task.
fn command_line(task: &Path, output: &Path, store: StoreKind, needs_p3: bool) -> String {
    let name = task.file_stem().unwrap_or_default().display();
    let output = output.display();
    let p3 = if needs_p3 { " -S p3" } else { "" };
    match store {
        // `wasm-checkpoint run --store checkpoints/NAME` resumes from the same location.
        StoreKind::Directories => format!(
            "mkdir -p checkpoints/{name} && wasmtime run{p3} --dir checkpoints/{name}::/checkpoint {output}"
        ),
        StoreKind::S3 => format!(
            "wasmtime run{p3} -S http --env CHECKPOINT_STORE=s3://BUCKET/{name} --env AWS_REGION --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY {output}"
        ),
    }
}
