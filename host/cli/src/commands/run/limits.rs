//! The options about what a task may store.

use checkpoint_storage::Limits;

use crate::options::size;

/// Each excess fails with `quota-exceeded` in the task, and loses nothing that is committed.
#[derive(clap::Args, Debug)]
pub(crate) struct LimitArgs {
    /// The most that the kept checkpoints and a new one may take in the storage [default: 256GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    quota: Option<usize>,
    /// The largest checkpoint, before compression [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_checkpoint: Option<usize>,
    /// The most files, directories and links in a checkpoint [default: 1000000]
    #[arg(long, value_name = "N")]
    max_files: Option<u64>,
    /// The longest path in a checkpoint, in bytes [default: 3072, and no more]
    #[arg(long, value_name = "N")]
    max_path: Option<usize>,
    /// The most that a task may say about a checkpoint [default: 16KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_annotations: Option<usize>,
    /// The most saves in any minute [default: 6000]
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
