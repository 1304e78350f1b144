//! The summary of a run's attempts.

use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, ErrorKind, OpenLocation, ResumePoint, Totals};

use super::report::ReportFile;
use crate::options::human_size;
use crate::output::{escape_json, say};

/// What all attempts did together.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) attempts: u32,
    resumed: Option<String>,
    totals: Totals,
    waited: Duration,
}

impl Summary {
    /// Begins an attempt, and remembers where it resumes.
    pub(super) async fn begin(
        &mut self,
        location: OpenLocation,
        settings: AttemptSettings,
    ) -> checkpoint_storage::Result<Attempt> {
        let attempt = Attempt::begin(location, settings).await?;
        let from = match attempt.resume_point().await {
            Ok(ResumePoint::Fresh) => return Ok(attempt),
            Ok(ResumePoint::Resumed(checkpoint)) => checkpoint,
            Ok(ResumePoint::FellBack {
                checkpoint,
                damaged,
                reason,
            }) => {
                say(format!(
                    "checkpoint {damaged} is damaged ({reason}); falling back to checkpoint {}",
                    checkpoint.sequence
                ));
                checkpoint
            }
            // Not fatal: the task gets the error, and may be able to handle it.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                say(error.to_string());
                return Ok(attempt);
            }
            Err(error) => return Err(error),
        };
        self.resumed = Some(format!(
            "checkpoint {} of attempt {}",
            from.sequence, from.attempt
        ));
        Ok(attempt)
    }

    pub(super) fn ends(&mut self, totals: Totals, waited: Duration) {
        self.waited += waited;
        self.totals.saves += totals.saves;
        self.totals.logical_bytes += totals.logical_bytes;
        self.totals.uploaded_bytes += totals.uploaded_bytes;
    }

    pub(super) fn text(&self) -> String {
        let attempts = match self.attempts {
            1 => "1 attempt".to_owned(),
            n => format!("{n} attempts"),
        };
        let resumed = match &self.resumed {
            None => "fresh".to_owned(),
            Some(from) => format!("resumed from {from}"),
        };
        format!(
            "{attempts}, {resumed}, {} saves, {} ({} uploaded)",
            self.totals.saves,
            human_size(self.totals.logical_bytes),
            human_size(self.totals.uploaded_bytes)
        )
    }

    /// Writes the summary as JSON.
    pub(super) fn write(&self, file: ReportFile) -> anyhow::Result<()> {
        let report = Report {
            attempts: self.attempts,
            resumed_from: self.resumed.as_deref(),
            saves: self.totals.saves,
            logical_bytes: self.totals.logical_bytes,
            uploaded_bytes: self.totals.uploaded_bytes,
            waited_seconds: self.waited.as_secs_f64(),
        };
        let json = serde_json::to_string_pretty(&report)?;
        Ok(file.write(escape_json(&json).as_bytes())?)
    }
}

#[derive(serde::Serialize)]
struct Report<'a> {
    attempts: u32,
    /// The checkpoint from which the last attempt resumed.
    resumed_from: Option<&'a str>,
    saves: u64,
    logical_bytes: u64,
    uploaded_bytes: u64,
    /// The time that the task spent waiting for its saves.
    waited_seconds: f64,
}
