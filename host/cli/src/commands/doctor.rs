//! `wasm-checkpoint doctor`

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::Code;
use crate::options::LocationArg;

/// Ask a storage whether it is fit to hold checkpoints
///
/// Lets writers race for a name, among others, in a folder of the location that is removed again. Exits
/// with 123 if the storage is not fit.
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
    fit: bool,
    probes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    probe: &'static str,
    /// What is wrong, if something is.
    fault: Option<String>,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let probes = self.location.open()?.doctor().await?;
        let rows = probes.into_iter().map(|probe| Row {
            probe: probe.name,
            fault: probe.fault,
        });
        let probes: Vec<_> = rows.collect();
        let report = Report {
            location: self.location.to_string(),
            fit: probes.iter().all(|row| row.fault.is_none()),
            probes,
        };
        if self.json {
            super::print_json(&report)?;
        } else {
            let mut out = std::io::stdout().lock();
            for row in &report.probes {
                match &row.fault {
                    None => writeln!(out, "yes  {}", row.probe)?,
                    Some(fault) => writeln!(out, "NO   {}: {fault}", row.probe)?,
                }
            }
        }
        if report.fit {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!(
            "wasm-checkpoint: {} is not fit to hold checkpoints",
            report.location
        );
        Ok(Code::WrongLocation.into())
    }
}
