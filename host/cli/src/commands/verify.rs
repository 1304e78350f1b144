//! `wasm-checkpoint verify`

use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::Code;
use crate::options::{LocationArg, human_size};
use crate::output::{self, Lines};
use crate::progress::Progress;

/// Read every byte of a location and report what is damaged
///
/// Changes nothing. Exits with 65 if something is damaged. Shows progress if stderr is a terminal.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// URL or path of the location
    location: LocationArg,
    /// Print the result as a JSON object
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
        if found.records == 0 && found.objects == 0 {
            super::must_exist(&location).await?;
        }
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
            output::print_json(&report)?;
        } else {
            output::print(|out| report.print(out))?;
        }
        Ok(match report.findings.is_empty() {
            true => ExitCode::SUCCESS,
            false => Code::Corrupt.into(),
        })
    }
}

impl Report {
    fn print(&self, out: &mut Lines) -> io::Result<()> {
        for finding in &self.findings {
            let costs = match finding.costs.is_empty() {
                true => "no checkpoint needs it".to_owned(),
                false => format!("costs checkpoints {:?}", finding.costs),
            };
            let (object, reason) = (&finding.object, &finding.reason);
            out.line(format_args!("{object}: {reason}; {costs}"))?;
        }
        out.line(format_args!(
            "{} records, {} data objects of {}, {} whole checkpoints, {} damaged objects",
            self.records,
            self.objects,
            human_size(self.object_bytes),
            self.whole_checkpoints.len(),
            self.findings.len()
        ))
    }
}
