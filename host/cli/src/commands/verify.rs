//! `wasm-checkpoint verify`

use std::io;
use std::process::ExitCode;

use checkpoint_storage::OpenLocation;
use serde::Serialize;

use crate::exit::Code;
use crate::options::{LocationArg, human_size};
use crate::output::{self, Lines};
use crate::progress::Progress;

/// Read every byte of a location and report what is damaged
///
/// If the location holds no checkpoint, also reads the predecessors that a run would resume from. Changes nothing. Exits
/// with 65 if something is damaged. Shows progress if stderr is a terminal.
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
    /// The predecessors that hold what this location resumes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predecessors: Vec<Report>,
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
        let mut report = verify(&location, self.location.to_string()).await?;
        if report.records == 0 && report.objects == 0 {
            super::must_exist(&location).await?;
        }
        let resumable = location.resumable().await;
        for predecessor in resumable.iter().flat_map(|found| &found.predecessors) {
            let verified = verify(predecessor, predecessor.to_string()).await?;
            report.predecessors.push(verified);
        }
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(|out| report.print_all(out))?;
        }
        // A predecessor that cannot be believed or read.
        resumable?;
        let all = std::iter::once(&report).chain(&report.predecessors);
        Ok(match all.flat_map(|report| &report.findings).next() {
            None => ExitCode::SUCCESS,
            Some(_) => Code::Corrupt.into(),
        })
    }
}

async fn verify(location: &OpenLocation, name: String) -> anyhow::Result<Report> {
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
    Ok(Report {
        location: name,
        records: found.records,
        objects: found.objects,
        object_bytes: found.object_bytes,
        whole_checkpoints: found.checkpoints,
        findings: findings.collect(),
        predecessors: Vec::new(),
    })
}

impl Report {
    fn print_all(&self, out: &mut Lines) -> io::Result<()> {
        self.print(out)?;
        for predecessor in &self.predecessors {
            out.line(format_args!("predecessor {}:", predecessor.location))?;
            predecessor.print(out)?;
        }
        Ok(())
    }

    fn print(&self, out: &mut Lines) -> io::Result<()> {
        for finding in &self.findings {
            let costs = match finding.costs.is_empty() {
                true => "costs no checkpoint".to_owned(),
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
