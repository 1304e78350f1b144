//! The options that limit what a task may store, and what it may make this host hold.

use checkpoint_storage::Limits;
use wasmtime_checkpoint::GuestLimits;

use crate::options::size;

/// How much memory an instance of a component may take, on average.
const INSTANCE_BYTES: usize = 64 << 10;

/// Exceeding a limit fails in the task with `quota-exceeded`; no committed checkpoint is lost.
#[derive(clap::Args, Debug)]
pub(crate) struct LimitArgs {
    /// Maximum memory of the task. Also the maximum that it can save or read in one call
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "2GiB")]
    max_memory: usize,
    /// Maximum number of files, streams and other resources that the task holds open
    #[arg(long, value_name = "N", default_value_t = GuestLimits::default().handles)]
    max_handles: usize,
    /// Maximum number of core instances of the component. Each may take 64 KiB for its globals and functions
    #[arg(long, value_name = "N", default_value_t = GuestLimits::default().instances)]
    max_instances: usize,
    /// Maximum storage for the location: kept checkpoints, a new one, and all records [default: 256GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    quota: Option<usize>,
    /// Maximum size of a checkpoint, before compression [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_checkpoint: Option<usize>,
    /// Maximum number of files, directories and links in a checkpoint [default: 1000000]
    #[arg(long, value_name = "N")]
    max_files: Option<u64>,
    /// Maximum size of the names in a checkpoint: those of all entries (not their paths), the targets of links, and 64
    /// bytes for each entry
    /// [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_tree: Option<usize>,
    /// Maximum length of a path in a checkpoint, in bytes, up to 3072 [default: 3072]
    #[arg(long, value_name = "N")]
    max_path: Option<usize>,
    /// Maximum size of a checkpoint's annotations and schema [default: 16KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_annotations: Option<usize>,
    /// Maximum number of saves per minute [default: 6000]
    #[arg(long, value_name = "N")]
    max_saves: Option<u32>,
    /// Maximum disk space for the copies of directories that are being saved in the background. They are unnamed
    /// files in $TMPDIR or else /tmp; holes take no space. A save that needs more waits for the one in flight
    /// [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_spool: Option<usize>,
    /// Maximum memory for the contents of background writes. A write that needs more waits for the one in flight
    /// [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_background: Option<usize>,
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
        set(&mut limits.tree_bytes, self.max_tree);
        // A task cannot hold more, and this host holds it too.
        limits.read_bytes = self.max_memory as u64;
        set(&mut limits.spool_bytes, self.max_spool);
        set(&mut limits.background_bytes, self.max_background);
        limits.entries = self.max_files.unwrap_or(limits.entries);
        limits.path_bytes = self.max_path.unwrap_or(limits.path_bytes);
        limits.saves_per_minute = self.max_saves.unwrap_or(limits.saves_per_minute);
        limits.annotation_bytes = self.max_annotations.unwrap_or(limits.annotation_bytes);
        limits
    }

    pub(crate) fn guest_limits(&self) -> GuestLimits {
        let mut limits = GuestLimits::default()
            .memory_bytes(self.max_memory)
            .handles(self.max_handles)
            .instance_bytes(self.max_instances.saturating_mul(INSTANCE_BYTES));
        limits.instances = self.max_instances;
        limits
    }
}
