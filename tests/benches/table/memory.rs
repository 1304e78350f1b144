//! The peak of memory while a checkpoint larger than it goes through the command line, there and back.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::measure::{MIB, Target, not_at_hand, row};
use crate::noise::noise;

const SIZE: usize = 4096 * MIB;

/// How often the system is asked for the peak, which it keeps: only what grows within the last of these
/// is missed.
const ASK: Duration = Duration::from_millis(2);

pub(crate) async fn memory() {
    const IMPORT: &str = "import 4 GiB: peak memory in MiB";
    const EXPORT: &str = "export 4 GiB: peak memory in MiB";
    if !cfg!(target_os = "linux") {
        not_at_hand(IMPORT, "what Linux says of a process");
        not_at_hand(EXPORT, "what Linux says of a process");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let location = dir.path().join("location");
    write(&source);
    let import = peak_mib("import", [&source, &location]);
    row(IMPORT, vec![import], Target::AtMost(256.0));
    // Two copies on the disk are enough.
    fs::remove_file(&source).unwrap();
    let export = peak_mib("export", [&location, &target]);
    assert_eq!(fs::metadata(&target).unwrap().len(), SIZE as u64);
    row(EXPORT, vec![export], Target::AtMost(256.0));
}

/// Bytes that do not compress, and no holes.
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
        // Not the peak of `wait4`: that counts what this process held when it started the other one.
        peak = peak.max(peak_kib(&child).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(ASK);
    };
    assert!(status.success(), "{verb}: {status}");
    peak as f64 / 1024.0
}

/// `None` once it has ended.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
