//! Measures the peak memory of commands on checkpoints that are larger than that memory: one of 4 GiB, and one of a
//! million files whose paths take 3 GB.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::cli::Cli;
use crate::measure::{MIB, Target, row, skipped};
use crate::noise::noise;

const SIZE: usize = 4096 * MIB;

/// The most that a command may take, for large contents and for many files.
const LARGE_MIB: f64 = 128.0;
const MANY_MIB: f64 = 256.0;

/// The directories that the files lie in, one in the other, so that each path has some 3,000 bytes.
const LEVELS: usize = 14;
const NAME: usize = 210;

/// With their directories, as many files as a checkpoint may have by default.
const FILES: usize = 1_000_000 - 1 - LEVELS;

pub(crate) async fn memory() {
    const IMPORT: &str = "import 4 GiB: peak memory in MiB";
    const SCATTERED: &str = "import again, scattered changes: peak memory in MiB";
    const EXPORT: &str = "export 4 GiB: peak memory in MiB";
    if !cfg!(target_os = "linux") {
        skipped(IMPORT, "Linux, for /proc/PID/status");
        skipped(SCATTERED, "Linux, for /proc/PID/status");
        skipped(EXPORT, "Linux, for /proc/PID/status");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let location = dir.path().join("location");
    write(&source);
    let import = peak_mib("import", [&source, &location]);
    row(IMPORT, vec![import], Target::AtMost(LARGE_MIB));
    change_pages(&source);
    let again = peak_mib("import", [&source, &location]);
    row(SCATTERED, vec![again], Target::AtMost(LARGE_MIB));
    // Limits the disk space to two copies.
    fs::remove_file(&source).unwrap();
    let export = peak_mib("export", [&location, &target]);
    assert_eq!(fs::metadata(&target).unwrap().len(), SIZE as u64);
    row(EXPORT, vec![export], Target::AtMost(LARGE_MIB));
}

/// Imports, exports, verifies and prunes a million files.
pub(crate) async fn many_files() {
    let what = |verb: &str| format!("{verb} a million files: peak memory in MiB");
    if !cfg!(target_os = "linux") {
        skipped(&what("import"), "Linux, for /proc/PID/status");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let location = dir.path().join("location");
    make_files(&source);
    for (name, verb, paths) in [
        ("import", "import", &[source.as_path(), &location][..]),
        ("import, one changed,", "import", &[&source, &location]),
        ("verify", "verify", &[&location]),
        ("prune --read-all", "prune", &[&location]),
        ("export", "export", &[&location, &target]),
    ] {
        if name.contains("changed") {
            fs::write(deepest(&source).join("500000"), "changed").unwrap();
        }
        let options: &[&OsStr] = match verb {
            "prune" => &["--read-all".as_ref(), "--keep=2".as_ref()],
            _ => &[],
        };
        let paths = paths.iter().map(|path| path.as_os_str());
        let arguments = paths.chain(options.iter().copied());
        let peak = peak_of(verb, arguments);
        row(&what(name), vec![peak], Target::AtMost(MANY_MIB));
    }
    assert_eq!(fs::read_dir(deepest(&target)).unwrap().count(), FILES);
}

/// Makes files of a few bytes.
fn make_files(source: &Path) {
    fs::create_dir_all(deepest(source)).unwrap();
    let dir = deepest(source);
    for n in 0..FILES {
        fs::write(dir.join(format!("{n:06}")), n.to_string()).unwrap();
    }
}

/// The directory that holds the files.
fn deepest(top: &Path) -> PathBuf {
    let names = (0..LEVELS).map(|level| format!("{level:0NAME$}"));
    names.fold(top.to_owned(), |path, name| path.join(name))
}

/// Writes a file of incompressible bytes without holes.
fn write(path: &Path) {
    let mut file = File::create(path).unwrap();
    let part = 16 * MIB;
    for n in 0..SIZE / part {
        file.write_all(&noise(n as u64, part)).unwrap();
    }
}

/// Changes a page in every 4 MiB.
fn change_pages(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    for n in 0..SIZE / (4 * MIB) {
        file.seek(SeekFrom::Start((n * 4 * MIB) as u64)).unwrap();
        file.write_all(&noise(n as u64, 4096)).unwrap();
    }
}

fn peak_mib(verb: &str, paths: [&Path; 2]) -> f64 {
    peak_of(verb, paths.map(Path::as_os_str))
}

fn peak_of<'a>(verb: &'a str, arguments: impl IntoIterator<Item = &'a OsStr>) -> f64 {
    let verb_first = std::iter::once(verb.as_ref()).chain(arguments);
    let running = Cli::new(verb_first).start();
    let (outcome, peak_kib) = running.finish_measured();
    assert_eq!(outcome.code, Some(0), "{verb}: {}", outcome.text());
    peak_kib as f64 / 1024.0
}
