//! Measures the peak memory of importing and exporting a checkpoint that is larger than that memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::measure::{MIB, Target, row, skipped};
use crate::noise::noise;

const SIZE: usize = 4096 * MIB;

/// Interval at which the peak is read. The system keeps the peak, so only growth within the last interval
/// is missed.
const ASK: Duration = Duration::from_millis(2);

pub(crate) async fn memory() {
    const IMPORT: &str = "import 4 GiB: peak memory in MiB";
    const EXPORT: &str = "export 4 GiB: peak memory in MiB";
    if !cfg!(target_os = "linux") {
        skipped(IMPORT, "Linux, for /proc/PID/status");
        skipped(EXPORT, "Linux, for /proc/PID/status");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let location = dir.path().join("location");
    write(&source);
    let import = peak_mib("import", [&source, &location]);
    row(IMPORT, vec![import], Target::AtMost(256.0));
    // Limits the disk space to two copies.
    fs::remove_file(&source).unwrap();
    let export = peak_mib("export", [&location, &target]);
    assert_eq!(fs::metadata(&target).unwrap().len(), SIZE as u64);
    row(EXPORT, vec![export], Target::AtMost(256.0));
}

/// Writes a file of incompressible bytes without holes.
fn write(path: &Path) {
    let mut file = File::create(path).unwrap();
    let part = 16 * MIB;
    for n in 0..SIZE / part {
        file.write_all(&noise(n as u64, part)).unwrap();
    }
}

fn peak_mib(verb: &str, paths: [&Path; 2]) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasm-checkpoint-under-test"))
        .arg(verb)
        .args(paths)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        // `wait4` is no alternative: its peak includes the memory of this process at the time of the spawn.
        peak = peak.max(peak_kib(&child).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(ASK);
    };
    assert!(status.success(), "{verb}: {status}");
    peak as f64 / 1024.0
}

/// Returns the peak memory of a process, or `None` once it has ended.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
