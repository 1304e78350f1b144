//! What each damaged location holds, and what an attempt and an operator must make of it.

use super::Files;
use crate::error::Result;
use crate::tests::forge::{COMMIT, Cbor, Chunk, claim, commit, data_object, object_ref, record};
use crate::tests::forged::file;

const CLAIM: &str = "log/09223372036854775807";
const OLDER: &str = "log/09223372036854775806";
const NEWEST: &str = "log/09223372036854775805";
const ABOVE: &str = "log/09223372036854775804";

pub(super) struct Case {
    /// The name of the folder.
    pub(super) name: &'static str,
    /// The damage that is done to the files of [`whole`].
    pub(super) damage: fn(&mut Files),
    /// What a new attempt reads.
    pub(super) reads: Result<&'static str, &'static str>,
    /// The checkpoint that it resumes from. If it fell back: the newer one that is damaged, and the reason.
    pub(super) resumes: Option<(u64, Option<(u64, &'static str)>)>,
    /// The objects that `verify` reports, and the checkpoints that each costs.
    pub(super) findings: &'static [(&'static str, &'static [u64])],
}

pub(super) const CASES: &[Case] = &[
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
    // A newer program can read it, so it is not damage and nothing falls back.
    Case {
        name: "newest-commit-of-version-2",
        damage: |files| drop(files.insert(NEWEST, record(2, COMMIT, b"of the future"))),
        reads: Err("format version 2"),
        resumes: None,
        findings: &[],
    },
    Case {
        name: "record-of-unknown-kind",
        damage: |files| drop(files.insert(ABOVE, record(1, 3, b"of another kind"))),
        reads: Ok("newest"),
        resumes: Some((3, Some((4, "unknown record kind 3")))),
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
    // Nobody can tell whether the unreadable record is a claim or a commit.
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
    // The newest commit still names the missing record, so it was not pruned.
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
                "log/09223372036854775799.bak",
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
            for path in ["log/09223372036854775804#1", "data/1-2#1"] {
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

/// Flips a bit in the payload of a record, or in the only chunk of a data object.
fn flip(files: &mut Files, path: &str) {
    let byte = if path.starts_with("log/") { 20 } else { 3 };
    files.get_mut(path).unwrap()[byte] ^= 0x10;
}

/// Two checkpoints of one attempt, each with a data object of its own.
pub(super) fn whole() -> Files {
    let checkpoint = |contents: &str, counter, retains: &[u64]| {
        let size_bytes = contents.len() as u64;
        let object = data_object([contents.as_bytes()]);
        let reference = object_ref(1, counter, object.len() as u64);
        let chunk = Chunk {
            object: counter,
            ..Chunk::raw(contents.as_bytes())
        };
        let payload = commit([
            (4, Cbor::uints(retains.iter().copied())),
            (5, Cbor::Array(vec![file("", size_bytes)])),
            (7, Cbor::Array(vec![reference])),
            (8, Cbor::Array(vec![chunk.encoded()])),
        ]);
        (record(1, COMMIT, &payload), object)
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
