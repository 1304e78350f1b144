//! Measures the peak memory of importing and exporting a checkpoint that is larger than that memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::cli::Cli;
use crate::measure::{MIB, Target, row, skipped};
use crate::noise::noise;

const SIZE: usize = 4096 * MIB;

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
    let [from, to] = paths.map(Path::as_os_str);
    let running = Cli::new([verb.as_ref(), from, to]).start();
    let (outcome, peak_kib) = running.finish_measured();
    assert_eq!(outcome.code, Some(0), "{verb}: {}", outcome.text());
    peak_kib as f64 / 1024.0
}
