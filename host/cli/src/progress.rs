//! Progress bars on stderr, only if it is a terminal. So logs contain only lines.

use std::io::IsTerminal;
use std::time::Duration;

use checkpoint_storage::{
    Cancel, Existing, Limits, Result, TargetState, Tree, TreeReader, TreeSource, TreeTarget,
    TreeWriter,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const WITH_TOTAL: &str =
    "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}, {elapsed}";

/// How often the bar is redrawn: often enough to look alive while the storage does not answer.
const TICK: Duration = Duration::from_millis(200);

/// A progress bar. Dropping this removes it, before the result or an error is printed.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Returns whether the bar is visible. If not, there is no need to compute the total.
    pub(crate) fn is_seen() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Starts a bar without a total. `doing` is a word such as `importing`.
    pub(crate) fn start(doing: &'static str) -> Self {
        let target = match Self::is_seen() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target).with_message(doing);
        bar.set_style(style(WITHOUT_TOTAL));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { bar }
    }

    pub(crate) fn set_total(&self, bytes: u64) {
        if self.bar.length() != Some(bytes) {
            self.bar.set_length(bytes);
            self.bar.set_style(style(WITH_TOTAL));
        }
    }

    pub(crate) fn set_done(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and a test parses both.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A tree that advances the bar as its contents are read or written. It may outlive the [`Progress`]: after a failure,
/// a thread may still be reading.
#[derive(Debug)]
pub(crate) struct Counted<T> {
    tree: T,
    bar: ProgressBar,
}

impl<T> Counted<T> {
    pub(crate) fn new(tree: T, progress: &Progress) -> Self {
        let bar = progress.bar.clone();
        Self { tree, bar }
    }
}

struct CountedReader {
    reader: Box<dyn TreeReader>,
    bar: ProgressBar,
}

struct CountedWriter {
    writer: Box<dyn TreeWriter>,
    bar: ProgressBar,
}

#[deny(clippy::missing_trait_methods)]
impl<T: TreeSource> TreeSource for Counted<T> {
    fn reader(&self, limits: &Limits, cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        Ok(Box::new(CountedReader {
            reader: self.tree.reader(limits, cancel)?,
            bar: self.bar.clone(),
        }))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: TreeTarget> TreeTarget for Counted<T> {
    fn state(&self) -> Result<TargetState> {
        self.tree.state()
    }

    fn writer(
        &self,
        tree: &Tree,
        existing: Existing,
        cancel: &Cancel,
    ) -> Result<Box<dyn TreeWriter>> {
        Ok(Box::new(CountedWriter {
            writer: self.tree.writer(tree, existing, cancel)?,
            bar: self.bar.clone(),
        }))
    }

    fn keeps_modes(&self) -> bool {
        self.tree.keeps_modes()
    }
}

#[deny(clippy::missing_trait_methods)]
impl TreeReader for CountedReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.reader.read(into)?;
        self.bar.inc(count as u64);
        Ok(count)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        self.reader.finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl TreeWriter for CountedWriter {
    fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.writer.write(piece)?;
        self.bar.inc(piece.len() as u64);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.writer.finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
