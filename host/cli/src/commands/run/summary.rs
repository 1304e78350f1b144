//! The summary of a run's attempts.

use std::time::Duration;

use checkpoint_storage::{Attempt, Damage, ResumePoint, Totals};

use super::report::ReportFile;
use crate::commands::DamageRow;
use crate::options::human_size;
use crate::output::escape_json;

/// What all attempts did together.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) attempts: u32,
    /// Whether an attempt of this run has claimed the location.
    pub(super) has_begun: bool,
    resumed: Option<String>,
    /// The damage that the last attempt skipped.
    skipped: Vec<Damage>,
    totals: Totals,
    waited: Duration,
}

impl Summary {
    /// Begins an attempt, and remembers where it resumes.
    pub(super) async fn begin(
        &mut self,
        beginning: impl Future<Output = checkpoint_storage::Result<Attempt>>,
    ) -> checkpoint_storage::Result<Attempt> {
        let attempt = beginning.await?;
        self.has_begun = true;
        self.skipped.clear();
        self.note(&attempt).await;
        Ok(attempt)
    }

    /// Remembers where an attempt resumes, and what it skips. Damage may also be found while the task reads.
    pub(super) async fn note(&mut self, attempt: &Attempt) {
        let from = match attempt.resume_point().await {
            Ok(ResumePoint::Fresh) => None,
            Ok(ResumePoint::Resumed(checkpoint)) => Some(checkpoint),
            Ok(ResumePoint::FellBack { checkpoint, .. }) => Some(checkpoint),
            // Not fatal: the task gets the error, and may be able to handle it.
            Err(_) => None,
        };
        self.skipped = attempt.skipped().await;
        if let Some(from) = from {
            let mut resumed = format!("checkpoint {} of attempt {}", from.sequence, from.attempt);
            if let Some(damage) = self.skipped.first() {
                resumed = format!("{resumed}, past the damaged checkpoint {}", damage.sequence);
            }
            self.resumed = Some(resumed);
        }
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
            damaged: self.skipped.iter().cloned().map(DamageRow::from).collect(),
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
    /// What that attempt skipped because it is damaged.
    damaged: Vec<DamageRow>,
    saves: u64,
    logical_bytes: u64,
    uploaded_bytes: u64,
    /// The time that the task spent waiting for its saves.
    waited_seconds: f64,
}
