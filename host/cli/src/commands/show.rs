//! `wasm-checkpoint show`

use std::io::Write;
use std::process::ExitCode;

use checkpoint_storage::Node;
use serde::Serialize;

use super::{CheckpointRow, rfc3339};
use crate::options::{LocationArg, human_size};

/// Show what a checkpoint holds
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: LocationArg,
    /// The sequence number of the checkpoint [default: the newest]
    sequence: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    location: String,
    #[serde(flatten)]
    checkpoint: CheckpointRow,
    entries: Vec<Row>,
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
        let checkpoint = super::find(&self.location, self.sequence).await?;
        let rows = checkpoint.tree().entries().iter().map(|entry| {
            let (kind, size_bytes, target) = match &entry.node {
                Node::File { size_bytes } => ("file", Some(*size_bytes), None),
                Node::Dir => ("dir", None, None),
                Node::Link { target } => ("link", None, Some(target.clone())),
            };
            Row {
                path: entry.path.clone(),
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
        };
        if self.json {
            super::print_json(&shown)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        let about = shown.checkpoint;
        writeln!(
            out,
            "checkpoint {} of attempt {}, saved {}, {} in {} files",
            about.sequence,
            about.attempt,
            about.saved_at,
            human_size(about.logical_bytes),
            about.files
        )?;
        // Escaped, here and below: text of a task's may hold what moves a terminal's cursor.
        if let Some(schema) = about.schema {
            writeln!(out, "schema {schema:?}")?;
        }
        for (key, value) in about.annotations {
            writeln!(out, "annotation {key:?}: {value:?}")?;
        }
        for row in shown.entries {
            let size = row.size_bytes.map(human_size).unwrap_or_default();
            let (kind, mode, modified) = (row.kind, row.mode, row.modified);
            write!(out, "{kind:<4} {mode} {modified} {size:>10} {:?}", row.path)?;
            match row.target {
                Some(target) => writeln!(out, " -> {target:?}")?,
                None => writeln!(out)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
