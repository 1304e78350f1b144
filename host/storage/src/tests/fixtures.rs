//! Damaged locations that were made once and are read for ever: `testdata/damaged` holds them, one
//! folder each. What an attempt and an operator are told of each is a line of [`CASES`].
//!
//! `BLESS=1` makes the files that are missing. One that is there is never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::hostile::{Cbor, Chunk, commit, data_object, file, record};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Claim, Record, WriteId};
use crate::location::{Location, OpenLocation};
use crate::{Attempt, AttemptSettings, ResumePoint};

/// The files of a location, by their paths in it.
type Files = BTreeMap<&'static str, Vec<u8>>;

const CLAIM: &str = "log/00000000000000000001";
const OLDER: &str = "log/00000000000000000002";
const NEWEST: &str = "log/00000000000000000003";
const ABOVE: &str = "log/00000000000000000004";

struct Case {
    /// The name of the folder.
    name: &'static str,
    /// What happened to the files of [`whole`].
    damage: fn(&mut Files),
    /// What a new attempt reads.
    reads: Result<&'static str, &'static str>,
    /// From which checkpoint it goes on and, where it has passed over something newer, what that was
    /// and why.
    resumes: Option<(u64, Option<(u64, &'static str)>)>,
    /// What `verify` finds, and which checkpoints that costs.
    findings: &'static [(&'static str, &'static [u64])],
}

const CASES: &[Case] = &[
    Case {
        name: "whole",
        damage: |_| (),
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[],
    },
    Case {
        name: "newest-commit-cut",
        damage: |files| cut(files, NEWEST),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "does not match its hash")))),
        findings: &[(NEWEST, &[3])],
    },
    Case {
        name: "newest-commit-flipped-bit",
        damage: |files| flip(files, NEWEST),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "does not match its hash")))),
        findings: &[(NEWEST, &[3])],
    },
    Case {
        name: "newest-commit-other-hash",
        damage: |files| {
            let other = *blake3::hash(b"something else").as_bytes();
            *files.get_mut(NEWEST).unwrap().last_chunk_mut().unwrap() = other;
        },
        reads: Ok("older"),
        resumes: Some((2, Some((3, "does not match its hash")))),
        findings: &[(NEWEST, &[3])],
    },
    Case {
        name: "newest-commit-empty",
        damage: |files| drop(files.insert(NEWEST, Vec::new())),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "cut short")))),
        findings: &[(NEWEST, &[3])],
    },
    Case {
        name: "newest-commit-is-text",
        damage: |files| drop(files.insert(NEWEST, b"<Error>NoSuchKey</Error>".repeat(4))),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "not a record")))),
        findings: &[(NEWEST, &[3])],
    },
    // It can be read by another program, so it is no damage, and nothing older is given instead.
    Case {
        name: "newest-commit-of-version-2",
        damage: |files| drop(files.insert(NEWEST, record(2, 2, b"of the future"))),
        reads: Err("format version 2"),
        resumes: None,
        findings: &[],
    },
    Case {
        name: "record-of-unknown-kind",
        damage: |files| drop(files.insert(ABOVE, record(1, 3, b"of another kind"))),
        reads: Ok("newest"),
        resumes: Some((3, Some((4, "unknown kind 3")))),
        findings: &[(ABOVE, &[4])],
    },
    Case {
        name: "data-missing",
        damage: |files| drop(files.remove("data/1-1").unwrap()),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "data object 1-1 is missing")))),
        findings: &[("data/1-1", &[3])],
    },
    Case {
        name: "data-cut",
        damage: |files| cut(files, "data/1-1"),
        reads: Ok("older"),
        resumes: Some((
            2,
            Some((3, "data object 1-1 is missing or of another size")),
        )),
        findings: &[("data/1-1", &[3])],
    },
    Case {
        name: "data-flipped-bit",
        damage: |files| flip(files, "data/1-1"),
        reads: Ok("older"),
        resumes: Some((2, Some((3, "data object 1-1 is damaged")))),
        findings: &[("data/1-1", &[3])],
    },
    Case {
        name: "data-of-the-older-missing",
        damage: |files| drop(files.remove("data/1-0").unwrap()),
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[("data/1-0", &[2])],
    },
    Case {
        name: "all-data-missing",
        damage: |files| files.retain(|path, _| path.starts_with("log/")),
        reads: Err("no checkpoint can be restored"),
        resumes: None,
        findings: &[("data/1-0", &[2]), ("data/1-1", &[3])],
    },
    Case {
        name: "claim-flipped-bit",
        damage: |files| flip(files, CLAIM),
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[(CLAIM, &[])],
    },
    // Whether the unreadable record was a claim or a commit, nobody can tell.
    Case {
        name: "newest-claim-flipped-bit",
        damage: |files| {
            files.insert(ABOVE, claim(4));
            flip(files, ABOVE);
        },
        reads: Ok("newest"),
        resumes: Some((3, Some((4, "does not match its hash")))),
        findings: &[(ABOVE, &[4])],
    },
    Case {
        name: "only-a-damaged-claim",
        damage: |files| {
            files.retain(|path, _| *path == CLAIM);
            flip(files, CLAIM);
        },
        reads: Err("no checkpoint can be restored"),
        resumes: None,
        findings: &[(CLAIM, &[1])],
    },
    Case {
        name: "all-records-damaged",
        damage: |files| {
            [CLAIM, OLDER, NEWEST]
                .iter()
                .for_each(|path| cut(files, path))
        },
        reads: Err("no checkpoint can be restored"),
        resumes: None,
        findings: &[(CLAIM, &[1]), (OLDER, &[2]), (NEWEST, &[3])],
    },
    // The newest commit still names what is gone, so it was not pruned.
    Case {
        name: "hole-in-the-log",
        damage: |files| drop(files.remove(OLDER).unwrap()),
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[(OLDER, &[2])],
    },
    Case {
        name: "foreign-files",
        damage: |files| {
            for path in [
                "README",
                "log/README",
                "log/7",
                "log/00000000000000000009.bak",
                "data/notes",
                "data/01-1",
                "data/1-1.bak",
                "data/1-1-1",
            ] {
                files.insert(path, b"of somebody else".to_vec());
            }
        },
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[],
    },
    Case {
        name: "staging-files",
        damage: |files| {
            for path in ["log/00000000000000000004#1", "data/1-2#1"] {
                files.insert(path, b"half of some".to_vec());
            }
        },
        reads: Ok("newest"),
        resumes: Some((3, None)),
        findings: &[],
    },
];

fn cut(files: &mut Files, path: &str) {
    let bytes = files.get_mut(path).unwrap();
    bytes.truncate(bytes.len() / 2);
}

/// In the payload of a record, or in the only chunk of a data object.
fn flip(files: &mut Files, path: &str) {
    let byte = if path.starts_with("log/") { 20 } else { 3 };
    files.get_mut(path).unwrap()[byte] ^= 0x10;
}

fn claim(epoch: u64) -> Vec<u8> {
    let claim = Claim {
        epoch,
        write_id: WriteId([epoch as u8; 16]),
        attempt: 0,
        component: None,
        inherits: None,
    };
    Record::Claim(claim).encode().unwrap()
}

/// One attempt's two checkpoints, each in a data object of its own.
fn whole() -> Files {
    let checkpoint = |contents: &str, counter, retains: &[u64]| {
        let size_bytes = contents.len() as u64;
        let object = data_object(contents.as_bytes());
        let chunk = Chunk {
            object: 0,
            offset: 0,
            stored_bytes: size_bytes,
            size_bytes,
            codec: 0,
            hash: blake3::hash(contents.as_bytes()).into(),
        };
        let reference = [1, counter, object.len() as u64].map(Cbor::Uint).to_vec();
        let retains = retains.iter().copied().map(Cbor::Uint).collect();
        let payload = commit(vec![
            (4, Cbor::Array(retains)),
            (5, Cbor::Array(vec![file("", size_bytes)])),
            (7, Cbor::Array(vec![Cbor::Array(reference)])),
            (8, Cbor::Array(vec![chunk.encoded()])),
        ]);
        (record(1, 2, &payload), object)
    };
    let (older, older_data) = checkpoint("older", 0, &[2]);
    let (newest, newest_data) = checkpoint("newest", 1, &[3, 2]);
    Files::from([
        (CLAIM, claim(1)),
        (OLDER, older),
        (NEWEST, newest),
        ("data/1-0", older_data),
        ("data/1-1", newest_data),
    ])
}

fn folder(case: &Case) -> PathBuf {
    let damaged = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/damaged");
    Path::new(damaged).join(case.name)
}

/// The paths of all files beneath a directory, from there, with what they hold.
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
fn damaged_locations_are_as_they_were_made() {
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
    assert_eq!(folders.count(), CASES.len(), "each is read by a case");
}

/// A copy that may be written, as beginning an attempt does.
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
async fn an_attempt_is_told_of_damage_and_given_what_is_whole() {
    for case in CASES {
        let name = case.name;
        let (temp, location) = copy(case);
        let before = files_beneath(temp.path());
        let settings = AttemptSettings::default();
        let attempt = match (Attempt::begin(location.clone(), settings).await, case.reads) {
            (Ok(attempt), _) => attempt,
            (Err(error), Err(reason)) => {
                // Of another version: nothing can be said of the location, so nobody may write to it.
                assert_eq!(error.kind(), ErrorKind::Other, "{name}");
                assert!(chain(&error).contains(reason), "{name}: {}", chain(&error));
                assert_eq!(files_beneath(temp.path()), before, "nobody is fenced");
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
        // The task goes on, and the next attempt finds what it saved.
        attempt.write("after".into()).await.unwrap();
        attempt.settle().await;
        let next = Attempt::begin(location, AttemptSettings::default()).await;
        assert_eq!(next.unwrap().read().await.unwrap().unwrap(), "after");
        let left = files_beneath(temp.path());
        assert!(!left.keys().any(|path| path.contains('#')), "{name}");
        let foreign = |path: &&String| path.ends_with("README") || path.ends_with(".bak");
        let kept = left.keys().filter(foreign).count();
        assert_eq!(kept, if name == "foreign-files" { 4 } else { 0 }, "{name}");
    }
}

#[tokio::test]
async fn an_operator_is_told_what_is_damaged_and_what_it_costs() {
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
        assert_eq!(files_beneath(temp.path()), before, "{name}: only read");
    }
}
