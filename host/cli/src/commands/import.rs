//! `wasm-checkpoint import`

use std::num::NonZeroUsize;
use std::process::ExitCode;

use checkpoint_storage::{Attempt, AttemptSettings, FlytekitObjects, Limits};
use serde::Serialize;

use crate::exit::{Code, failure};
use crate::options::{LocationArg, human_size};
use crate::output;
use crate::progress::{Counted, Progress};

/// Save a directory, a file or flytekit's objects as the newest checkpoint of a location
///
/// Claims the location like an attempt, so it fences a task that is running there. Shows progress if stderr is a
/// terminal.
///
/// flytekit stores plain objects. If there is only one, named `_dst_cp`, it becomes the bytes that a task reads.
/// Anything else becomes a directory, as flytekit's `restore` makes it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Path of a directory or a file, or the URL under which flytekit stored its objects (file:///…, s3://…,
    /// gs://…, az://…), which was its --checkpoint-path
    source: LocationArg,
    /// URL or path of the location
    location: LocationArg,
    /// Number of checkpoints to keep, from now on [default: as before, or 3 in a new location]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Imported {
    location: String,
    sequence: u64,
    logical_bytes: u64,
    uploaded_bytes: u64,
}

impl Args {
    pub(crate) async fn exec(self) -> anyhow::Result<ExitCode> {
        let location = self.location.open()?;
        // Check the source before the claim: a failed import must not fence a running task.
        let source = self.source.open()?;
        let limits = Limits::default();
        let source = FlytekitObjects::list(&source, &limits).await?;
        if source.holds(&location) {
            let what = format!(
                "cannot import {} into itself: it contains the location {}; name another location",
                self.source, self.location
            );
            return Err(failure(Code::Usage, what));
        }
        source.check(&limits).await?;
        let progress = Progress::start("importing");
        if Progress::is_seen()
            && let Some(total) = source.size_bytes().await
        {
            progress.set_total(total);
        }
        let mut settings = AttemptSettings::default();
        if let Some(keep) = self.keep {
            settings = settings.keep(keep);
        }
        let attempt = Attempt::begin(location, settings).await?;
        let saved = attempt.save(Counted::new(source, &progress)).await?;
        drop(progress);
        if self.json {
            output::print_json(&Imported {
                location: self.location.to_string(),
                sequence: saved.sequence,
                logical_bytes: saved.logical_bytes,
                uploaded_bytes: saved.uploaded_bytes,
            })?;
        } else {
            output::say(format!(
                "imported checkpoint {}, {} ({} uploaded)",
                saved.sequence,
                human_size(saved.logical_bytes),
                human_size(saved.uploaded_bytes)
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
