//! Syncing a whole file system of this machine with `syncfs`.

use std::fs::File;

use rustix::fs::{fstatfs, syncfs};

use super::handle::{Failure, FileSystem};

/// The local file systems on which `syncfs` was measured to be faster than syncing each file: ext4.
/// The numbers are those of `statfs(2)`.
const KNOWN: [u64; 1] = [0xef53];

/// The first version of Linux whose `syncfs` reports that data could not be written. If the journal cannot be
/// written, earlier versions than 5.17 may not report it either, but then removing the marker fails.
const REPORTS_ERRORS: (u32, u32) = (5, 8);

/// Returns the file system of an open directory, if it is a known one.
pub(super) fn open(dir: File) -> Option<Box<dyn FileSystem>> {
    let known = fstatfs(&dir).is_ok_and(|stat| KNOWN.contains(&(stat.f_type as u64)));
    let release = rustix::system::uname();
    let reports_errors = version(&release.release().to_string_lossy()) >= Some(REPORTS_ERRORS);
    (known && reports_errors).then(|| Box::new(Open(dir)) as Box<dyn FileSystem>)
}

/// The handle must be older than what is written: the kernel reports the errors since it was opened.
struct Open(File);

impl FileSystem for Open {
    fn sync(&self) -> Result<(), Failure> {
        Ok(syncfs(&self.0).map_err(std::io::Error::from)?)
    }
}

/// Returns the major and minor version of a release such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, reports_errors) in [
            ("6.1.0-13-amd64", true),
            ("5.15.0", true),
            ("5.8", true),
            ("5.7.19", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("unknown", false),
        ] {
            assert_eq!(
                version(release) >= Some(REPORTS_ERRORS),
                reports_errors,
                "{release}"
            );
        }
    }
}
