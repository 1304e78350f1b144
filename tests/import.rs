//! Importing flytekit's files as a checkpoint.

use std::fs;
use std::path::Path;

use checkpoint_storage::Location;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

use crate::support::cli::{Cli, Outcome};
use crate::support::noise::noise;
use crate::support::s3::{Fate, Server};
use crate::support::{Place, tree};

/// File names that code would get wrong if it treated them as globs, URLs or staging files. `%25` is not `%`.
const NAMES: [&str; 7] = [
    "100%",
    "100%25",
    "[x]*?.txt",
    "a b",
    "sub/deep/state",
    "sub-1",
    "\u{fc}#1",
];

/// The objects that `SyncCheckpoint` stores below a prefix, for each of its calls.
fn write_bytes(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    vec![("_dst_cp".into(), bytes.into())]
}

fn save_file() -> Vec<(String, Vec<u8>)> {
    vec![("model.bin".into(), b"weights".into())]
}

fn save_directory() -> Vec<(String, Vec<u8>)> {
    let mut objects: Vec<_> = NAMES
        .iter()
        .map(|name| ((*name).to_owned(), name.as_bytes().to_vec()))
        .collect();
    // A file that takes several requests, in the middle of the list.
    objects.push(("large".into(), noise(3, 9 << 20)));
    objects.push(("empty".into(), Vec::new()));
    objects
}

fn lay_out(dir: &Path, objects: &[(String, Vec<u8>)]) {
    for (name, contents) in objects {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

async fn upload(server: &Server, prefix: &str, objects: &[(String, Vec<u8>)]) {
    let client = server.client("bucket");
    for (name, contents) in objects {
        // Like flytekit, use the name as the key, without encoding.
        let key = Key::parse(format!("{prefix}/{name}")).unwrap();
        client.put(&key, contents.clone().into()).await.unwrap();
    }
}

/// Returns the paths and contents of all files below a directory.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = tree(root).into_iter();
    let files = paths.filter(|(_, what)| what.starts_with("file "));
    files
        .map(|(name, _)| (name.clone(), fs::read(root.join(&name)).unwrap()))
        .collect()
}

fn sorted(mut objects: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    objects.sort();
    objects
}

fn import(source: &str, place: &Place) -> Outcome {
    let store = place.store();
    Cli::new(["import", source, store.to_str().unwrap()]).outcome()
}

fn import_from(server: &Server, source: &str, place: &Place) -> Outcome {
    let store = place.store();
    Cli::new(["import", source, store.to_str().unwrap()])
        .envs(server.env())
        .outcome()
}

#[track_caller]
fn succeeded(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
}

#[test]
fn a_task_reads_bytes_imported_from_disk() {
    for bytes in [&b"step-7"[..], b""] {
        for scheme in ["", "file://"] {
            let place = Place::new();
            let from = place.work().join("_flytecheckpoints");
            lay_out(&from, &write_bytes(bytes));
            succeeded(&import(
                &format!("{scheme}{}", from.to_str().unwrap()),
                &place,
            ));
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            place.run("read").printed([format!("read {text:?}")]);
        }
    }
}

#[test]
fn a_task_restores_files_imported_from_disk() {
    for objects in [save_file(), save_directory()] {
        let place = Place::new();
        let from = place.work().join("from");
        lay_out(&from, &objects);
        let url = format!("file://{}", from.to_str().unwrap());
        succeeded(&import(&url, &place));
        succeeded(&place.run("restore=/data/to"));
        assert_eq!(files(&place.work().join("to")), sorted(objects));
    }
}

#[tokio::test]
async fn a_task_reads_bytes_imported_from_s3() {
    let server = Server::start();
    upload(&server, "x/bytes", &write_bytes(b"step-7")).await;
    // The files of another task, whose prefix begins with the same characters.
    upload(&server, "x/bytes2", &save_file()).await;
    for source in ["s3://bucket/x/bytes", "s3://bucket/x/bytes/"] {
        let place = Place::new();
        succeeded(&import_from(&server, source, &place));
        place.run("read").printed(["read \"step-7\""]);
    }
}

#[tokio::test]
async fn a_task_restores_files_imported_from_s3() {
    let server = Server::start();
    // Enough files that listing them takes several pages.
    let many = (0..250).map(|n| (format!("d{}/{n}", n % 7), vec![n as u8; n]));
    for (number, objects) in [save_file(), save_directory(), many.collect()]
        .into_iter()
        .enumerate()
    {
        upload(&server, &format!("run/{number}"), &objects).await;
        let place = Place::new();
        let url = format!("s3://bucket/run/{number}");
        succeeded(&import_from(&server, &url, &place));
        succeeded(&place.run("restore=/data/to"));
        assert!(files(&place.work().join("to")) == sorted(objects), "{url}");
    }
}

#[tokio::test]
async fn a_prefix_can_be_imported_in_place() {
    let server = Server::start();
    upload(&server, "run/1", &write_bytes(b"step-7")).await;
    let url = "s3://bucket/run/1";
    let import = || Cli::new(["import", url, url]).envs(server.env()).outcome();
    succeeded(&import());
    let read = Cli::run(["--store", url]).envs(server.env()).verbs("read");
    read.outcome().printed(["read \"step-7\""]);
    // Records of checkpoints must not be imported as contents.
    let again = import().failed(1);
    assert!(again.contains("holds checkpoints already"), "{again}");
}

#[tokio::test]
async fn an_empty_source_is_named_in_the_error_and_fences_no_attempt() {
    let server = Server::start();
    upload(&server, "elsewhere", &save_file()).await;
    let place = Place::new();
    let empty = place.work().join("empty");
    fs::create_dir(&empty).unwrap();
    let sources = [
        "s3://bucket/nothing".to_owned(),
        "memory:///nothing".to_owned(),
        format!("file://{}", empty.to_str().unwrap()),
        format!("file://{}/missing", empty.to_str().unwrap()),
    ];
    for source in sources {
        let error = import_from(&server, &source, &place).failed(1);
        assert!(error.contains(&source), "{error}");
        assert!(error.contains("no such file or directory"), "{error}");
    }
    assert!(!place.store().exists());
}

#[tokio::test]
async fn an_import_that_fails_halfway_keeps_the_existing_checkpoint() {
    const NO_PERMISSION: i32 = 77;
    let server = Server::start();
    upload(&server, "run/1", &save_directory()).await;
    let place = Place::new();
    place.run("write=before").printed(["write 2"]);
    server.on_request(|seen| match (seen.method, seen.path) {
        ("GET", path) if path.ends_with("/sub-1") => Fate::Failed(403),
        _ => Fate::Served,
    });
    let error = import_from(&server, "s3://bucket/run/1", &place).failed(NO_PERMISSION);
    assert!(error.contains("run/1/sub-1"), "{error}");
    place.run("read").printed(["read \"before\""]);
}

#[test]
fn a_directory_is_not_imported_into_itself() {
    const USAGE: i32 = 2;
    let place = Place::new();
    lay_out(&place.work(), &save_file());
    let before = tree(&place.work());
    let within = place.work().join("checkpoints/task");
    let (from, to) = (place.work(), within);
    let line = ["import".as_ref(), from.as_os_str(), to.as_os_str()];
    let error = Cli::new(line).outcome().failed(USAGE);
    assert!(error.contains("name another location"), "{error}");
    assert_eq!(tree(&place.work()), before);
}

#[tokio::test]
async fn a_library_imports_as_the_command_line_does() {
    use checkpoint_storage::{Attempt, AttemptSettings, ErrorKind, FlytekitObjects, Limits};

    let place = Place::new();
    lay_out(&place.work(), &write_bytes(b"step-7"));
    let work = place.work();
    let source = Location::from_path(work).open().unwrap();
    let limits = Limits::default();
    let plain = FlytekitObjects::list(&source, &limits).await.unwrap();
    assert_eq!(plain.size_bytes().await, Some(6));
    let location = Location::from_path(place.store()).open().unwrap();
    assert!(!plain.holds(&location));
    let attempt = Attempt::begin(location.clone(), AttemptSettings::default())
        .await
        .unwrap();
    attempt.save(plain).await.unwrap();
    assert_eq!(attempt.read().await.unwrap().unwrap(), "step-7");
    let own = FlytekitObjects::list(&location, &limits).await.unwrap_err();
    assert_eq!(own.kind(), ErrorKind::InvalidPath);
}
