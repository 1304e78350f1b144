//! Random trees round-trip.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::{Recipe, block_on, config, recipes};
use crate::tests::{begin, dir_tree, memory};
use crate::tree::target::Existing;

/// A file, directory or link on disk.
#[derive(Clone, Debug)]
struct Made {
    what: What,
    mode: u32,
    seconds: i64,
    nanoseconds: u32,
}

#[derive(Clone, Debug)]
enum What {
    File(Recipe),
    Dir(BTreeMap<String, Made>),
    Link(String),
}

fn made(what: impl Strategy<Value = What>) -> impl Strategy<Value = Made> {
    // The range that most disks support: from 1901 to 2446.
    let seconds = prop_oneof![-(1i64 << 31)..1i64 << 33, Just(-1), Just(0)];
    let nanoseconds = prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000u32];
    (what, 0..=0o777u32, seconds, nanoseconds).prop_map(|(what, mode, seconds, nanoseconds)| Made {
        // The test must be able to read it and remove it.
        mode: match what {
            What::Dir(_) => mode | 0o700,
            What::File(_) | What::Link(_) => mode | 0o400,
        },
        seconds,
        what,
        nanoseconds,
    })
}

fn names() -> impl Strategy<Value = String> {
    let awkward = [
        "?",
        "[a]*",
        "%41",
        "%2F",
        "\\",
        "..\\up",
        ".hidden",
        "...",
        " ",
        "-rf",
        "a\nb",
        "a#1",
        "~",
        "_dst_cp",
        "CON",
        "a-b",
        "a",
        "a.",
        "ä",
        "a\u{308}",
        "\u{202e}txt",
    ];
    prop_oneof![
        prop::sample::select(awkward.to_vec()).prop_map(str::to_owned),
        prop::collection::vec(any::<char>(), 1..12).prop_map(String::from_iter),
        "[a-c]{1,3}".prop_map(|name| name),
        Just("n".repeat(255)),
    ]
    .prop_filter("not a file name", |name| {
        !name.contains(['/', '\0']) && !matches!(name.as_str(), "." | "..")
    })
}

fn trees() -> impl Strategy<Value = Made> {
    let link = prop_oneof![
        Just("nowhere".to_owned()),
        Just("/etc/passwd".to_owned()),
        Just("..".to_owned()),
        Just("../../..".to_owned()),
        Just(".".to_owned()),
        names(),
    ];
    let leaf = made(prop_oneof![
        4 => recipes().prop_map(What::File),
        1 => Just(What::Dir(BTreeMap::new())),
        1 => link.prop_map(What::Link),
    ]);
    let tree = leaf.prop_recursive(8, 24, 6, |inner| {
        let entries = prop::collection::btree_map(names(), inner, 0..6);
        made(entries.prop_map(What::Dir))
    });
    let rooted = tree.prop_map(|tree| match tree.what {
        // A link at the root would be followed.
        What::Link(_) => Made {
            mode: 0o755,
            what: What::Dir(BTreeMap::from([("link".to_owned(), tree.clone())])),
            ..tree
        },
        What::Dir(_) | What::File(_) => tree,
    });
    // Nested in further directories, for long and deep paths.
    (rooted, 0..40usize).prop_map(|(tree, levels)| {
        (0..levels).fold(tree, |tree, level| Made {
            mode: 0o750,
            what: What::Dir(BTreeMap::from([(format!("level {level}"), tree.clone())])),
            ..tree
        })
    })
}

fn create(made: &Made, at: &Path) {
    match &made.what {
        What::File(recipe) => fs::write(at, recipe.make()).unwrap(),
        What::Link(target) => symlink(target, at).unwrap(),
        What::Dir(entries) => {
            fs::create_dir(at).unwrap();
            for (name, entry) in entries {
                create(entry, &at.join(name));
            }
        }
    }
    if !matches!(made.what, What::Link(_)) {
        fs::set_permissions(at, fs::Permissions::from_mode(made.mode)).unwrap();
    }
    let time = Timespec {
        tv_sec: made.seconds,
        tv_nsec: made.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything that a checkpoint keeps of a file, directory or link.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    what: KeptWhat,
    mode: Option<u32>,
    modified: (i64, i64),
}

#[derive(Debug, PartialEq, Eq)]
enum KeptWhat {
    File { size: u64, hash: blake3::Hash },
    Dir,
    Link(PathBuf),
}

/// Everything at a path and below it, by relative path, as the standard library sees it.
fn snapshot(at: &Path) -> BTreeMap<PathBuf, Kept> {
    fn add(root: &Path, at: &Path, seen: &mut BTreeMap<PathBuf, Kept>) {
        let metadata = fs::symlink_metadata(at).unwrap();
        let what = if metadata.is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                add(root, &entry.unwrap().path(), seen);
            }
            KeptWhat::Dir
        } else if metadata.is_symlink() {
            KeptWhat::Link(fs::read_link(at).unwrap())
        } else {
            KeptWhat::File {
                size: metadata.len(),
                hash: blake3::hash(&fs::read(at).unwrap()),
            }
        };
        let mode = (!metadata.is_symlink()).then(|| metadata.mode() & 0o7777);
        let kept = Kept {
            what,
            mode,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        seen.insert(at.strip_prefix(root).unwrap().to_owned(), kept);
    }
    let mut seen = BTreeMap::new();
    add(at, at, &mut seen);
    seen
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn every_tree_round_trips_with_all_its_metadata(tree in trees()) {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        create(&tree, &from);
        let saved = snapshot(&from);
        block_on(async {
            let (_, location) = memory();
            let saved = begin(&location).await.save(dir_tree(&from)).await.unwrap();
            let next = begin(&location).await;
            // The second restore is a no-op with the same result.
            for _ in 0..2 {
                let restored = next.restore(dir_tree(&to), Existing::Refuse).await.unwrap();
                assert_eq!(restored, Some(saved.sequence));
            }
            let found = location.verify().await.unwrap().findings;
            assert!(found.is_empty(), "{found:?}");
        });
        prop_assert_eq!(snapshot(&to), saved);
        prop_assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "no files beside them");
    }
}
