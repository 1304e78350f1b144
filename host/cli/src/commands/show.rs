//! `wasm-checkpoint show`

use std::io;
use std::process::ExitCode;

use checkpoint_storage::{Limits, Node};
use serde::Serialize;

use super::{CheckpointRow, DamageRow, rfc3339};
use crate::options::{LocationArg, human_size};
use crate::output::{self, Lines};

/// Show the contents of a checkpoint
///
/// If the location holds none, shows that of its predecessor. Says on stderr what is damaged. Does not claim the location, so it does not disturb a running task.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Sequence number of the checkpoint [default: the newest]
    sequence: Option<u64>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    location: String,
    #[serde(flatten)]
    checkpoint: CheckpointRow,
    entries: Vec<Row>,
    damaged: Vec<DamageRow>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    kind: &'static str,
    mode: String,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let (checkpoint, damaged) = super::find(&self.location, self.sequence).await?;
        let tree = checkpoint.tree(&Limits::default()).await?;
        let rows = tree.entries().map(|entry| {
            let (kind, size_bytes, target) = match entry.node {
                Node::File { size_bytes } => ("file", Some(size_bytes), None),
                Node::Dir => ("dir", None, None),
                Node::Link { target } => ("link", None, Some(target)),
            };
            Row {
                path: entry.path,
                kind,
                mode: format!("{:03o}", entry.mode),
                modified: rfc3339(entry.modified),
                size_bytes,
                target,
            }
        });
        let shown = Shown {
            location: self.location.to_string(),
            checkpoint: checkpoint.info().into(),
            entries: rows.collect(),
            damaged: damaged.into_iter().map(DamageRow::from).collect(),
        };
        if self.json {
            output::print_json(&shown)?;
        } else {
            output::print(|out| shown.print(out))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Shown {
    fn print(self, out: &mut Lines) -> io::Result<()> {
        let about = self.checkpoint;
        out.line(format_args!(
            "checkpoint {} in {} of attempt {}, saved {}, {} in {} files",
            about.sequence,
            about.stored_in,
            about.attempt,
            about.saved_at,
            human_size(about.logical_bytes),
            about.files
        ))?;
        if let Some(schema) = about.schema {
            out.line(format_args!("schema {schema:?}"))?;
        }
        for (key, value) in about.annotations {
            out.line(format_args!("annotation {key:?}: {value:?}"))?;
        }
        for row in self.entries {
            let size = row.size_bytes.map(human_size).unwrap_or_default();
            let (kind, mode, modified) = (row.kind, row.mode, row.modified);
            let target = row.target.map(|target| format!(" -> {target:?}"));
            let target = target.unwrap_or_default();
            let path = row.path;
            out.line(format_args!(
                "{kind:<4} {mode} {modified} {size:>10} {path:?}{target}"
            ))?;
        }
        Ok(())
    }
}
