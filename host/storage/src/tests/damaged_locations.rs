//! Damaged locations that were made once and must stay readable. `testdata/damaged` holds one folder for
//! each of [`CASES`].
//!
//! `BLESS=1` creates files that are missing. It never changes an existing file.

mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::cases::{CASES, Case, whole};
use crate::error::{Error, ErrorKind};
use crate::location::{Location, OpenLocation};
use crate::{Attempt, AttemptSettings, ResumePoint};

/// The files of a location, by their paths relative to it.
type Files = BTreeMap<&'static str, Vec<u8>>;

fn folder(case: &Case) -> PathBuf {
    let damaged = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/damaged");
    Path::new(damaged).join(case.name)
}

/// All files below a directory: their paths relative to it, and their contents.
fn files_beneath(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let beneath = files_beneath(&path).into_iter();
            files.extend(beneath.map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn damaged_locations_match_their_golden_files() {
    for case in CASES {
        let mut files = whole();
        (case.damage)(&mut files);
        if std::env::var_os("BLESS").is_some() {
            for (path, bytes) in &files {
                let path = folder(case).join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if !path.exists() {
                    fs::write(&path, bytes).unwrap();
                }
            }
        }
        let files = files.into_iter().map(|(path, bytes)| (path.into(), bytes));
        assert_eq!(
            files_beneath(&folder(case)),
            files.collect(),
            "{}",
            case.name
        );
    }
    let folders = fs::read_dir(folder(&CASES[0]).parent().unwrap()).unwrap();
    assert_eq!(
        folders.count(),
        CASES.len(),
        "every folder belongs to a case"
    );
}

/// A copy, because beginning an attempt writes a claim.
fn copy(case: &Case) -> (tempfile::TempDir, OpenLocation) {
    let temp = tempfile::tempdir().unwrap();
    for (path, bytes) in files_beneath(&folder(case)) {
        let path = temp.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let location = Location::from_path(temp.path()).open().unwrap();
    (temp, location)
}

/// An error with its causes, as the command line prints it.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

#[tokio::test]
async fn an_attempt_reports_damage_and_falls_back_to_an_intact_checkpoint() {
    for case in CASES {
        let name = case.name;
        let (temp, location) = copy(case);
        let before = files_beneath(temp.path());
        let settings = AttemptSettings::default();
        let attempt = match (Attempt::begin(location.clone(), settings).await, case.reads) {
            (Ok(attempt), _) => attempt,
            (Err(error), Err(reason)) => {
                // The location has records of another version, so nobody may write to it.
                assert_eq!(error.kind(), ErrorKind::Other, "{name}");
                assert!(chain(&error).contains(reason), "{name}: {}", chain(&error));
                assert_eq!(files_beneath(temp.path()), before, "nothing is written");
                continue;
            }
            (Err(error), Ok(_)) => panic!("{name}: {}", chain(&error)),
        };
        match (attempt.read().await, case.reads) {
            (Ok(Some(read)), Ok(expected)) => assert_eq!(read, expected, "{name}"),
            (Err(error), Err(reason)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}");
                assert!(chain(&error).contains(reason), "{name}: {}", chain(&error));
            }
            (read, _) => panic!("{name}: {read:?}"),
        }
        assert_eq!(
            attempt.prev_exists().await.map_err(|e| e.kind()),
            case.reads.map(|_| true).map_err(|_| ErrorKind::Corrupt),
            "{name}"
        );
        match (attempt.resume_point().await, case.resumes) {
            (Ok(ResumePoint::Resumed(checkpoint)), Some((sequence, None))) => {
                assert_eq!(checkpoint.sequence, sequence, "{name}");
            }
            (
                Ok(ResumePoint::FellBack {
                    checkpoint,
                    damaged,
                    reason,
                }),
                Some((sequence, Some((passed, why)))),
            ) => {
                assert_eq!((checkpoint.sequence, damaged), (sequence, passed), "{name}");
                assert!(reason.contains(why), "{name}: {reason}");
            }
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}"),
            (point, _) => panic!("{name}: {point:?}"),
        }
        // The attempt can save, and the next attempt resumes from that.
        attempt.write("after".into()).await.unwrap();
        attempt.settle().await;
        let next = Attempt::begin(location, AttemptSettings::default()).await;
        assert_eq!(next.unwrap().read().await.unwrap().unwrap(), "after");
        let left = files_beneath(temp.path());
        assert!(!left.keys().any(|path| path.contains('#')), "{name}");
        let is_foreign = |path: &&String| path.ends_with("README") || path.ends_with(".bak");
        let kept = left.keys().filter(is_foreign).count();
        assert_eq!(kept, if name == "foreign-files" { 4 } else { 0 }, "{name}");
    }
}

#[tokio::test]
async fn verify_reports_damaged_objects_and_the_checkpoints_they_cost() {
    for case in CASES {
        let name = case.name;
        let (temp, location) = copy(case);
        let before = files_beneath(temp.path());
        let report = match location.verify().await {
            Ok(report) => report,
            Err(error) => {
                assert_eq!(name, "newest-commit-of-version-2", "{}", chain(&error));
                assert_eq!(error.kind(), ErrorKind::Other);
                assert!(chain(&error).contains("format version 2"));
                assert!(chain(&error).contains("use a newer one"));
                continue;
            }
        };
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|finding| (finding.object.as_str(), &finding.costs[..]))
            .collect();
        assert_eq!(findings, case.findings, "{name}: {:?}", report.findings);
        assert_eq!(
            files_beneath(temp.path()),
            before,
            "{name}: nothing is written"
        );
    }
}
