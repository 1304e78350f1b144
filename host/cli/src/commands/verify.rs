//! `wasm-checkpoint verify`

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::Code;
use crate::options::{LocationArg, human_size};
use crate::progress::Progress;

/// Read everything that a location holds and report what is damaged
///
/// Changes nothing. Exits with 126 if something is damaged. Shows how far it is if stderr is a terminal.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The URL or path of the location
    location: LocationArg,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    location: String,
    records: u64,
    objects: u64,
    object_bytes: u64,
    whole_checkpoints: Vec<u64>,
    findings: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    object: String,
    reason: String,
    costs: Vec<u64>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        let progress = Progress::start("verifying");
        let found = location
            .verify_watched(|done, total| {
                progress.set_total(total);
                progress.set_done(done);
            })
            .await?;
        drop(progress);
        let findings = found.findings.into_iter().map(|finding| Row {
            object: finding.object,
            reason: finding.reason,
            costs: finding.costs,
        });
        let report = Report {
            location: self.location.to_string(),
            records: found.records,
            objects: found.objects,
            object_bytes: found.object_bytes,
            whole_checkpoints: found.checkpoints,
            findings: findings.collect(),
        };
        if self.json {
            super::print_json(&report)?;
        } else {
            let mut out = std::io::stdout().lock();
            for finding in &report.findings {
                write!(out, "{}: {}", finding.object, finding.reason)?;
                match finding.costs.is_empty() {
                    true => writeln!(out, "; no checkpoint needs it")?,
                    false => writeln!(out, "; costs checkpoints {:?}", finding.costs)?,
                }
            }
            writeln!(
                out,
                "{} records, {} data objects of {}, {} whole checkpoints, {} damaged objects",
                report.records,
                report.objects,
                human_size(report.object_bytes),
                report.whole_checkpoints.len(),
                report.findings.len()
            )?;
        }
        Ok(match report.findings.is_empty() {
            true => ExitCode::SUCCESS,
            false => Code::Corrupt.into(),
        })
    }
}
