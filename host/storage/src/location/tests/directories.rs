//! Locations on a disk.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::attempt::Attempt;
use crate::attempt::settings::AttemptSettings;
use crate::error::ErrorKind;
use crate::location::{Location, OpenLocation, errors};

fn open(path: impl AsRef<Path>) -> OpenLocation {
    Location::from_path(path).open().unwrap()
}

async fn write(location: &OpenLocation, text: &'static str) {
    let attempt = Attempt::begin(location.clone(), AttemptSettings::default());
    attempt.await.unwrap().write(text.into()).await.unwrap();
}

async fn read(location: &OpenLocation) -> Option<Vec<u8>> {
    let attempt = Attempt::begin(location.clone(), AttemptSettings::default());
    let read = attempt.await.unwrap().read().await.unwrap();
    read.map(|bytes| bytes.to_vec())
}

/// Creates a directory whose path contains no links.
fn temporary() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().canonicalize().unwrap();
    (temp, path)
}

#[test]
fn links_and_dots_are_resolved_when_a_location_is_opened() {
    let (_temp, dir) = temporary();
    fs::create_dir_all(dir.join("real/sub")).unwrap();
    symlink("real/sub", dir.join("link")).unwrap();
    symlink(dir.join("real"), dir.join("absolute")).unwrap();
    symlink("link", dir.join("twice")).unwrap();
    symlink("real/yet/to/be", dir.join("ahead")).unwrap();
    symlink("loop", dir.join("loop")).unwrap();
    for (spelling, place) in [
        ("real/sub/x", "real/sub/x"),
        ("link/x", "real/sub/x"),
        ("twice/x", "real/sub/x"),
        ("absolute/sub/x/", "real/sub/x"),
        ("link/../x", "real/x"),
        ("real/sub/../x", "real/x"),
        ("none/../x", "x"),
        ("none/none/../x/.", "none/x"),
        ("ahead", "real/yet/to/be"),
        ("ahead/../x", "real/yet/to/x"),
        ("link", "real/sub"),
    ] {
        let opened = open(dir.join(spelling));
        let expected = Location::from_path(dir.join(place));
        assert_eq!(opened.url(), expected.to_string(), "{spelling}");
        assert_eq!(opened.local_dir(), Some(&*dir.join(place)));
    }
    let error = Location::from_path(dir.join("loop/x")).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLocation);
    // The root is its own parent.
    let many = Path::new("/").join("../".repeat(30)).join("x");
    assert_eq!(open(many).url(), "file:///x");
}

#[test]
fn a_relative_path_is_named_by_where_it_lies() {
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let expected = Location::from_path(here.join("a b")).to_string();
    assert_eq!(open("a b").url(), expected);
    assert_eq!(open("./x/../a b/").url(), expected);
    assert!(expected.ends_with("/a%20b"), "{expected}");
}

#[tokio::test]
async fn every_name_that_a_file_system_takes_can_be_that_of_a_location() {
    let (_temp, dir) = temporary();
    let long = [b'x'; 255];
    let names: &[&[u8]] = &[
        b"a b",
        b"tab\tnewline\n",
        b"run#1",
        b"run#2",
        b"a?b",
        b"a%20b",
        b"%2E%2E",
        b"a\\b",
        b"\xff\xfe",
        b"\x1b[31m",
        b"s3:x",
        b" ",
        b"...",
        b"{x}",
        b"~",
        b"*",
        "\u{e4}".as_bytes(),
        "a\u{308}".as_bytes(),
        &long,
    ];
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        let location = open(dir.join(name));
        assert_eq!(read(&location).await, None, "{name:?}");
        let text: &'static str = Box::leak(format!("{name:?}").into_boxed_str());
        write(&location, text).await;
        assert!(dir.join(name).join("log").is_dir(), "{name:?}");
    }
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        let named: Location = open(dir.join(name)).url().parse().unwrap();
        let read = read(&named.open().unwrap()).await;
        assert_eq!(read, Some(format!("{name:?}").into_bytes()));
    }
}

#[tokio::test]
async fn reading_a_location_that_does_not_exist_makes_nothing() {
    let (_temp, dir) = temporary();
    let location = open(dir.join("a/b"));
    assert!(location.checkpoints().await.unwrap().is_empty());
    assert!(!dir.join("a").exists());
    write(&location, "x").await;
    assert!(dir.join("a/b/log").is_dir());
    fs::remove_dir_all(dir.join("a")).unwrap();
    write(&location, "again").await;
    assert_eq!(read(&location).await.as_deref(), Some(&b"again"[..]));
}

#[tokio::test]
async fn only_the_owner_reads_what_is_made() {
    let (_temp, dir) = temporary();
    let location = open(dir.join("a/b"));
    let attempt = Attempt::begin(location, AttemptSettings::default());
    let large = (0..100_000_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>();
    attempt.await.unwrap().write(large.into()).await.unwrap();
    let mut open = vec![dir.join("a")];
    let mut files = 0;
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{path:?}");
            open.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            assert_eq!(mode, 0o600, "{path:?}");
            files += 1;
        }
    }
    assert!(files >= 3, "two records and a data object");
}

#[tokio::test]
async fn what_is_no_file_is_damage_and_does_not_block() {
    let (_temp, dir) = temporary();
    let location = open(&dir);
    write(&location, "x").await;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("log/09223372036854775805"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert_eq!(read(&location).await.as_deref(), Some(&b"x"[..]));
}

/// Returns the error that a storage reports for a system error.
#[track_caller]
fn kind_of(error: rustix::io::Errno) -> ErrorKind {
    errors::kind(&object_store::Error::Generic {
        store: "test",
        source: io::Error::from(error).into(),
    })
}

#[test]
fn a_cause_that_stays_is_not_called_passing() {
    use rustix::io::Errno;
    for permanent in [
        Errno::NAMETOOLONG,
        Errno::ISDIR,
        Errno::LOOP,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::INVAL,
    ] {
        assert_eq!(
            kind_of(permanent),
            ErrorKind::InvalidLocation,
            "{permanent}"
        );
    }
    for refused in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOTDIR] {
        assert_eq!(kind_of(refused), ErrorKind::ReadOnly, "{refused}");
    }
    for passing in [
        Errno::IO,
        Errno::NOSPC,
        Errno::NFILE,
        Errno::CONNREFUSED,
        Errno::STALE,
    ] {
        assert_eq!(kind_of(passing), ErrorKind::Unavailable, "{passing}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_hold_a_location_is_refused() {
    let (_temp, dir) = temporary();
    fs::write(dir.join("file"), "").unwrap();
    let (long_name, long_path) = ("x".repeat(256), "x/".repeat(3000));
    for (place, kind) in [
        ("file/x", ErrorKind::ReadOnly),
        ("file", ErrorKind::ReadOnly),
        (&long_name, ErrorKind::InvalidLocation),
        (&long_path, ErrorKind::InvalidLocation),
    ] {
        let attempt = Attempt::begin(open(dir.join(place)), AttemptSettings::default());
        let error = attempt.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{place}: {error}");
    }
}

#[tokio::test]
async fn a_record_names_a_directory_by_its_whole_path() {
    let (_temp, dir) = temporary();
    let location = open(dir.join("new"));
    let old = open(dir.join("o l d"));
    let named = location.in_same_storage(old.url()).unwrap();
    assert_eq!(named.local_dir(), old.local_dir());
    for other in [
        "old",
        "../old",
        "/old",
        "dir:///old",
        "s3://b/old",
        "memory:///old",
        "file://host/old",
        "",
        "file:old",
    ] {
        let error = location.in_same_storage(other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidLocation, "{other}");
    }
}

#[test]
fn a_record_names_no_other_storage() {
    let memory: Location = "memory:///a".parse().unwrap();
    let memory = memory.open().unwrap();
    assert_eq!(
        memory.in_same_storage("memory:///b/c").unwrap().url(),
        "memory:///b/c"
    );
    for other in ["file:///b", "s3://b/x", "b", "memory://b"] {
        memory.in_same_storage(other).unwrap_err();
    }
    let store = std::sync::Arc::new(object_store::memory::InMemory::new());
    let own = OpenLocation::new(store, "a".into(), "mine://host/a");
    let other = own.in_same_storage("mine://host/b#1/c%20d").unwrap();
    assert_eq!(other.prefix().as_ref(), "b#1/c%20d");
    for other in ["mine://other/a", "mine://host/../a", "file:///a"] {
        own.in_same_storage(other).unwrap_err();
    }
}
