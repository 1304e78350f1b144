//! `wasm-checkpoint compose`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::compose::{StoreKind, compose};
use crate::output::{say, say_raw};
use crate::task;

/// Make a component that plain `wasmtime run` runs
///
/// The import is plugged into the task as a component of its own, which keeps the checkpoints in a directory
/// or, with --s3, in a bucket. Environment variables say where and how much: CHECKPOINT_STORE (default
/// /checkpoint), CHECKPOINT_PREV, CHECKPOINT_KEEP, CHECKPOINT_QUOTA and the others that the README lists. The
/// task sees neither these nor AWS_*, nor the directory.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The component to plug the import into
    task: PathBuf,
    /// The component to make
    #[arg(short, long, value_name = "APP.wasm")]
    output: PathBuf,
    /// Keep the checkpoints in a bucket of S3; takes `wasmtime run -S http`
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
            compose(&task::read(&self.task)?, store).with_context(|| name.to_string())?;
        let output = self.output.display();
        std::fs::write(&self.output, composed)
            .with_context(|| format!("{output}: it cannot be written"))?;
        say(format!(
            "composed {output}; run it, and run it again when it has died, by"
        ));
        let line = command_line(&self.task, &self.output, store);
        say_raw(&format!("    {line}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// The flags that `wasmtime run` needs.
fn command_line(task: &Path, output: &Path, store: StoreKind) -> String {
    let name = task.file_stem().unwrap_or_default().display();
    let output = output.display();
    match store {
        // `wasm-checkpoint run --store` of the same directory resumes from it too.
        StoreKind::Directories => format!(
            "mkdir -p checkpoints/{name} && wasmtime run --dir checkpoints/{name}::/checkpoint {output}"
        ),
        StoreKind::S3 => format!(
            "wasmtime run -S http --env CHECKPOINT_STORE=s3://BUCKET/{name} --env AWS_REGION --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY {output}"
        ),
    }
}
