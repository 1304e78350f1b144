//! `wasm-checkpoint show`

use std::io::Write;
use std::process::ExitCode;

use checkpoint_storage::Node;
use serde::Serialize;

use crate::options::human_size;

/// Show what a checkpoint holds
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: String,
    /// The sequence number of the checkpoint [default: the newest]
    sequence: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    sequence: u64,
    attempt: u32,
    saved_at: String,
    logical_bytes: u64,
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
        let info = checkpoint.info();
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
            sequence: info.sequence,
            attempt: info.attempt,
            saved_at: rfc3339(info.saved_at),
            logical_bytes: info.logical_bytes,
            entries: rows.collect(),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(
            out,
            "checkpoint {} of attempt {}, saved {}, {} in {} files",
            shown.sequence,
            shown.attempt,
            shown.saved_at,
            human_size(shown.logical_bytes),
            info.files
        )?;
        for row in shown.entries {
            let size = row.size_bytes.map(human_size).unwrap_or_default();
            let (kind, mode, modified) = (row.kind, row.mode, row.modified);
            // Escaped: a name may hold what moves a terminal's cursor.
            write!(out, "{kind:<4} {mode} {modified} {size:>10} {:?}", row.path)?;
            match row.target {
                Some(target) => writeln!(out, " -> {target:?}")?,
                None => writeln!(out)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rfc3339(time: std::time::SystemTime) -> String {
    // The formatter has no years before 1970 or after 9999.
    let printable = time >= std::time::SystemTime::UNIX_EPOCH
        && time
            <= std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    match printable {
        true => humantime::format_rfc3339_seconds(time).to_string(),
        false => "-".to_owned(),
    }
}
