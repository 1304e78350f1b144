//! `wasm-checkpoint doctor`

use std::process::ExitCode;

use serde::Serialize;

use crate::exit::Code;
use crate::options::LocationArg;
use crate::output;

/// Check whether a storage is fit to hold checkpoints
///
/// Tests what checkpoints require of the storage, for example that only one of several racing writers creates an
/// object. Works in a folder of the location, and removes it afterwards. Exits with 78 if the storage is not fit.
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
    fit: bool,
    probes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    probe: &'static str,
    /// What the storage did instead; `None` if it passed.
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
            output::print_json(&report)?;
        } else {
            output::print(|out| {
                for row in &report.probes {
                    match &row.fault {
                        None => out.line(format_args!("yes  {}", row.probe))?,
                        Some(fault) => out.line(format_args!("NO   {}: {fault}", row.probe))?,
                    }
                }
                Ok(())
            })?;
        }
        if report.fit {
            return Ok(ExitCode::SUCCESS);
        }
        output::say(format!(
            "{} is not fit to hold checkpoints",
            report.location
        ));
        Ok(Code::WrongLocation.into())
    }
}
