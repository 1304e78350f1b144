//! How locations are named on the command line and in the environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::cli::{Cli, Host, Outcome};
use crate::support::s3::Server;
use crate::support::{Place, tree};

mod environment;

const WRONG_LOCATION: i32 = 78;

fn verbs_in(directory: &Path, store: impl AsRef<OsStr>, verbs: &str) -> Outcome {
    Cli::run([OsStr::new("--store"), store.as_ref()])
        .working_directory(directory)
        .verbs(verbs)
        .outcome()
}

#[test]
fn different_directories_are_different_locations() {
    let place = Place::new();
    let path = place.store().to_str().unwrap().to_owned();
    let stores = [
        format!("file://{path}/run%231"),
        format!("file://{path}/run%232"),
        format!("{path}/run%231"),
        format!("{path}/run?1"),
        format!("{path}/run?2"),
        format!("{path}/run 1"),
    ];
    for (number, store) in stores.iter().enumerate() {
        let verbs = format!("prev-exists write={number}");
        verbs_in(&place.work(), store, &verbs).printed(["prev-exists false", "write 2"]);
    }
    for (number, store) in stores.iter().enumerate() {
        verbs_in(&place.work(), store, "read").printed([format!("read \"{number}\"")]);
    }
    for what_is_lost in ["#1", "?x=1"] {
        let store = format!("file://{path}/run{what_is_lost}");
        verbs_in(&place.work(), &store, "read").failed(WRONG_LOCATION);
    }
}

#[test]
fn different_keys_are_different_locations() {
    let server = Server::start();
    let run = |store: &str, verbs: &str| {
        Cli::run(["--store", store])
            .envs(server.env())
            .verbs(verbs)
            .outcome()
    };
    let keys = [
        "run#1/ck", "run#2/ck", "x?x=1", "x?x=2", "a%20b", "a b", "a+b", "%2E%2E", "a@b:c", "~",
        "a\\b", "{x}", "ä",
    ];
    for (number, key) in keys.iter().enumerate() {
        let verbs = format!("prev-exists write={number}");
        run(&format!("s3://bucket/{key}"), &verbs).printed(["prev-exists false", "write 2"]);
    }
    for (number, key) in keys.iter().enumerate() {
        run(&format!("S3A://bucket/{key}/"), "read").printed([format!("read \"{number}\"")]);
        let log = format!("{key}/log/09223372036854775807");
        assert!(
            server.keys("bucket").contains(&log),
            "{log} in {:?}",
            server.keys("bucket")
        );
    }
}

#[test]
fn every_spelling_of_a_directory_is_the_same_location() {
    let place = Place::new();
    let work = place.work();
    fs::create_dir(work.join("sub")).unwrap();
    symlink("sub", work.join("link")).unwrap();
    let path = work.to_str().unwrap();
    verbs_in(&work, "../work/sub/a b", "write=x").printed(["write 2"]);
    let spellings = [
        "sub/a b".to_owned(),
        "./sub//a b/".to_owned(),
        "link/a b".to_owned(),
        "link/../sub/a b".to_owned(),
        format!("{path}/link/a b"),
        format!("file:{path}/sub/a%20b"),
        format!("FILE://LOCALHOST{path}/link/a b/"),
    ];
    for spelling in spellings {
        let listed = Cli::new(["ls", &spelling])
            .working_directory(&work)
            .outcome();
        assert_eq!(listed.code, Some(0), "{}", listed.text());
        assert_eq!(listed.lines.len(), 2, "{spelling}: {}", listed.text());
    }
}

#[test]
fn a_path_may_contain_any_byte() {
    let place = Place::new();
    for name in [
        &b"tab\tline\n"[..],
        b"\xff\xfe",
        b"run#1",
        b"a\\b",
        b"%41",
        b"\x7f",
    ] {
        let directory = place.work().join(OsStr::from_bytes(name));
        fs::create_dir(&directory).unwrap();
        // The path is first the working directory, then the location.
        verbs_in(&directory, "store", "write=x").printed(["write 2"]);
        let outcome = Cli::run::<&str>([])
            .working_directory(&directory)
            .envs([("XDG_STATE_HOME", directory.join("state"))])
            .verbs("write=x")
            .outcome();
        outcome.printed(["write 2"]);
        let store = directory.join(OsStr::from_bytes(name));
        verbs_in(&place.work(), &store, "write=x").printed(["write 2"]);
        for verb in ["ls", "show", "verify", "doctor"] {
            let line = [OsStr::new(verb), store.as_os_str()];
            let outcome = Cli::new(line).outcome();
            assert_eq!(outcome.code, Some(0), "{verb}: {}", outcome.text());
        }
        let to = directory.join("to");
        let line = [OsStr::new("export"), store.as_os_str(), to.as_os_str()];
        assert_eq!(Cli::new(line).outcome().code, Some(0));
        assert_eq!(fs::read(to).unwrap(), b"x");
    }
}

#[test]
fn links_on_the_command_line_are_followed() {
    let place = Place::new();
    let work = place.work();
    fs::create_dir_all(work.join("elsewhere/from")).unwrap();
    fs::write(work.join("elsewhere/from/file"), "x").unwrap();
    fs::create_dir(work.join("elsewhere/empty")).unwrap();
    for (target, link) in [
        ("elsewhere/from", "from"),
        ("elsewhere/from/file", "file"),
        ("elsewhere/store", "store"),
        ("elsewhere/empty", "empty"),
        ("elsewhere/missing", "missing"),
    ] {
        symlink(work.join(target), work.join(link)).unwrap();
    }
    let cli = |line: &[&str]| {
        let outcome = Cli::new(line).working_directory(&work).outcome();
        assert_eq!(outcome.code, Some(0), "{line:?}: {}", outcome.text());
    };
    // The location is a link to a directory that does not exist yet.
    cli(&["import", "from", "store"]);
    assert!(work.join("elsewhere/store/log").is_dir());
    for to in ["empty", "missing", "elsewhere/../plain"] {
        cli(&["export", "store", to]);
        assert_eq!(tree(&work.join(to)), tree(&work.join("from")), "{to}");
    }
    cli(&["import", "file", "store"]);
    cli(&["export", "store", "./copy"]);
    assert_eq!(fs::read(work.join("copy")).unwrap(), b"x");
}

#[test]
fn an_invalid_url_creates_no_directory() {
    let place = Place::new();
    let wrong = [
        "s3:/b/x",
        "s3:x",
        "file:x",
        "S3:",
        "run:1",
        "'s3://b/x'",
        " s3://b/x",
        "hdfs://b/x",
        "s3://b:9000/x",
        "",
        " ",
        "\n",
        "s3://b//x",
        "s3://b/../x",
        "gs:b",
    ];
    for store in wrong {
        let outcome = verbs_in(&place.work(), store, "write=x");
        outcome.failed(WRONG_LOCATION);
        let listed = Cli::new(["ls", store])
            .working_directory(&place.work())
            .outcome();
        listed.failed(WRONG_LOCATION);
        let previous =
            Cli::run(["--store", "new", "--prev", store]).working_directory(&place.work());
        previous.verbs("write=x").outcome().failed(WRONG_LOCATION);
        assert!(tree(&place.work()).is_empty(), "{store:?}");
    }
    verbs_in(&place.work(), "./s3:x", "write=x").printed(["write 2"]);
    assert!(place.work().join("s3:x/log").is_dir());
}

#[test]
fn only_flytes_options_accept_its_spellings_of_none() {
    let place = Place::new();
    for none in [
        "",
        " ",
        "''",
        "\"\"",
        "None",
        "null",
        "\t",
        "{{.prevCheckpointPrefix}}",
    ] {
        let store = place.store();
        let store = store.to_str().unwrap();
        let cli = Cli::run(["--checkpoint-path", store, "--prev-checkpoint", none]);
        let outcome = cli
            .working_directory(&place.work())
            .verbs("write=x")
            .outcome();
        assert_eq!(outcome.code, Some(0), "{none:?}: {}", outcome.text());
        assert!(tree(&place.work()).is_empty(), "{none:?}");
    }
    // For other options, "None" is the name of a directory.
    verbs_in(&place.work(), "None", "write=x").printed(["write 2"]);
    assert!(place.work().join("None/log").is_dir());
}

#[test]
fn a_password_in_a_location_is_never_printed() {
    let place = Place::new();
    for store in [
        "s3://user:hunter2@bucket/x",
        "s3a://user:hunt/er2@bucket/x",
        "ftp://user:hunter2@host/x",
    ] {
        for line in [["ls", store], ["verify", store], ["doctor", store]] {
            let outcome = Cli::new(line).outcome();
            outcome.failed(WRONG_LOCATION);
            assert!(!outcome.text().contains("er2"), "{}", outcome.text());
        }
        let outcome = verbs_in(&place.work(), store, "write=x");
        assert!(!outcome.text().contains("er2"), "{}", outcome.text());
    }
}

#[test]
fn only_the_owner_can_access_a_location() {
    let place = Place::new();
    let secret = place.work().join("secret");
    fs::write(&secret, "x".repeat(200_000)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let store = place.store().join("of/mine");
    let line = ["import".as_ref(), secret.as_os_str(), store.as_os_str()];
    assert_eq!(Cli::new(line).outcome().code, Some(0));
    for (path, what) in tree(&place.store()) {
        assert!(
            what.starts_with("directory 40700") || what.starts_with("file 100600"),
            "{path}: {}",
            &what[..20]
        );
    }
    let mode = fs::metadata(place.store()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_composed_task_does_not_see_its_store_under_any_spelling() {
    for (given, meant) in [
        ("/a/b", "/a/./b"),
        ("/a/b", "/a//b"),
        ("/a/b", "/a/c/../b"),
        ("/a/b", "/../a/b/"),
        ("/a/b", "a/b"),
        ("/a/b", "file:/a/b"),
        ("/a/b c", "file:///a/b%20c"),
        ("/a/b#1", "/a/b#1"),
        ("/a/b%20c", "/a/b%20c"),
        ("s3", "./s3"),
    ] {
        let place = Place::on(Host::Composed);
        let cli = Cli::stock()
            .dir(&place.store(), given)
            .dir(&place.work(), "/data")
            .variable("CHECKPOINT_STORE", meant);
        let outcome = cli.verbs("write=x stream=3 directories").outcome();
        outcome.printed(["write 2", "stream 3", "directories /data"]);
        assert!(place.store().join("log").is_dir(), "{given} {meant}");
    }
}

#[test]
fn a_composed_task_with_an_invalid_store_sees_no_directory() {
    for wrong in [
        "s3:/b/x",
        "file:///a?b",
        "dir:///a",
        "memory:///x",
        "'/store'://",
        "file://host/store",
    ] {
        let place = Place::on(Host::Composed);
        let cli = Cli::stock()
            .dir(&place.store(), "/store")
            .dir(&place.work(), "/data")
            .variable("CHECKPOINT_STORE", wrong);
        let outcome = cli.verbs("write=x").outcome();
        assert_eq!(
            outcome.lines,
            ["error: other"],
            "{wrong}: {}",
            outcome.text()
        );
        assert!(tree(&place.store()).is_empty());
    }
}
