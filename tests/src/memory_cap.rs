//! A cap on the peak memory of a program under test, which ends itself beyond it.

use std::fs;
use std::time::Duration;

/// The variable that sets the cap, in KiB.
pub(crate) const VARIABLE: &str = "UNDER_TEST_MAX_KIB";

/// How often the peak is read. The system keeps the peak, so this only says how soon the process ends.
const TICK: Duration = Duration::from_millis(1);

/// The cap on this process. It is checked a last time when this is dropped.
pub(crate) struct MemoryCap(Option<u64>);

impl MemoryCap {
    /// Starts a thread that aborts this process once its peak memory exceeds the cap, if a cap is set.
    pub(crate) fn start() -> Self {
        let most = std::env::var(VARIABLE)
            .ok()
            .and_then(|kib| kib.parse().ok());
        if let Some(most) = most {
            std::thread::spawn(move || {
                loop {
                    check(most);
                    std::thread::sleep(TICK);
                }
            });
        }
        Self(most)
    }
}

impl Drop for MemoryCap {
    fn drop(&mut self) {
        if let Some(most) = self.0 {
            check(most);
        }
    }
}

fn check(most_kib: u64) {
    let peak = peak_kib();
    if peak > most_kib {
        eprintln!("the peak memory of {peak} KiB exceeds the cap of {most_kib} KiB");
        std::process::abort();
    }
}

/// Returns the peak memory of this process. Only Linux tells it.
pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
