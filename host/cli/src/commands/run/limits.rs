//! The options that limit what a task may store.

use checkpoint_storage::Limits;

use crate::options::size;

/// Exceeding a limit fails in the task with `quota-exceeded`; no committed checkpoint is lost.
#[derive(clap::Args, Debug)]
pub(crate) struct LimitArgs {
    /// Maximum storage for the kept checkpoints and a new one together [default: 256GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    quota: Option<usize>,
    /// Maximum size of a checkpoint, before compression [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_checkpoint: Option<usize>,
    /// Maximum number of files, directories and links in a checkpoint [default: 1000000]
    #[arg(long, value_name = "N")]
    max_files: Option<u64>,
    /// Maximum length of a path in a checkpoint, in bytes, up to 3072 [default: 3072]
    #[arg(long, value_name = "N")]
    max_path: Option<usize>,
    /// Maximum size of a checkpoint's annotations and schema [default: 16KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_annotations: Option<usize>,
    /// Maximum number of saves per minute [default: 6000]
    #[arg(long, value_name = "N")]
    max_saves: Option<u32>,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |limit: &mut u64, size: Option<usize>| {
            if let Some(size) = size {
                *limit = size as u64;
            }
        };
        set(&mut limits.checkpoint_bytes, self.max_checkpoint);
        set(&mut limits.stored_bytes, self.quota);
        limits.entries = self.max_files.unwrap_or(limits.entries);
        limits.path_bytes = self.max_path.unwrap_or(limits.path_bytes);
        limits.saves_per_minute = self.max_saves.unwrap_or(limits.saves_per_minute);
        limits.annotation_bytes = self.max_annotations.unwrap_or(limits.annotation_bytes);
        limits
    }
}
