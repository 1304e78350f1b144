//! Restores arbitrary trees to arbitrary paths. Nothing outside the guest's directory may change. The target
//! must equal the checkpoint, or the error must say why not. A refused restore must change nothing.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use checkpoint_fuzz::disk::{MARKER, Sandbox, Snapshot, snapshot};
use checkpoint_fuzz::tree::{Commit, Forged, Verdict, is_kept};
use checkpoint_fuzz::{Place, run};
use checkpoint_storage::{Attempt, AttemptSettings, DirTree, ErrorKind, Existing, Limits, Result};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    to: To,
    there: There,
    replace: bool,
    forged: Forged,
}

/// The path that the guest restores to.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
enum To {
    Target,
    Dots,
    Root,
    New,
    /// Through a link to a directory inside.
    Door,
    /// Through a link to the outside.
    Out,
    Loop,
    /// A path below a file.
    Beside,
    Text(String),
}

/// What exists at `target` before the restore.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    EmptyDir,
    Dir,
    File,
    LinkToDir,
    LinkToOutside,
    LinkToNothing,
    LinkToItself,
    Interrupted,
    /// A directory whose marker is a link to the outside.
    MarkerLink,
    /// A directory whose marker is a directory.
    MarkerDir,
}

impl To {
    fn path(&self) -> &str {
        match self {
            Self::Target => "target",
            Self::Dots => "./target/.",
            Self::Root => ".",
            Self::New => "new/and/deep",
            Self::Door => "door/target",
            Self::Out => "out/target",
            Self::Loop => "loop/target",
            Self::Beside => "beside/target",
            Self::Text(path) => path,
        }
    }

    /// Returns the path without `.` components, because a path to a file may not end in one.
    fn plain(&self) -> PathBuf {
        Path::new(self.path()).components().collect()
    }
}

impl There {
    fn prepare(self, sandbox: &Sandbox) {
        sandbox.dir("elsewhere");
        sandbox.file("elsewhere/own", b"kept");
        sandbox.file("beside", b"kept");
        sandbox.link("door", "elsewhere");
        sandbox.link("out", "../outside");
        sandbox.link("loop", "loop");
        let filled = || {
            sandbox.dir("target/sub");
            sandbox.file("target/own", b"own");
            sandbox.file("target/sub/own", b"own");
            sandbox.link("target/a", "../../outside");
            sandbox.link("target/sub/link", "../../../outside/canary");
        };
        let marker = format!("target/{MARKER}");
        match self {
            Self::Nothing => {}
            Self::EmptyDir => sandbox.dir("target"),
            Self::Dir => filled(),
            Self::File => sandbox.file("target", b"own"),
            Self::LinkToDir => sandbox.link("target", "elsewhere"),
            Self::LinkToOutside => sandbox.link("target", "../outside"),
            Self::LinkToNothing => sandbox.link("target", "nothing"),
            Self::LinkToItself => sandbox.link("target", "target"),
            Self::Interrupted => {
                filled();
                sandbox.file(&marker, b"");
            }
            Self::MarkerLink => {
                filled();
                sandbox.link(&marker, "../../outside/canary");
            }
            Self::MarkerDir => {
                filled();
                sandbox.dir(&format!("{marker}/sub"));
            }
        }
    }

    /// Returns whether restoring any good checkpoint here succeeds.
    fn is_free(self, file: bool, replace: bool) -> bool {
        match self {
            Self::Nothing | Self::Interrupted => true,
            Self::EmptyDir => replace || !file,
            Self::Dir | Self::File | Self::LinkToDir | Self::LinkToNothing => replace,
            // A link or a directory does not count as a marker.
            Self::MarkerLink | Self::MarkerDir => replace,
            Self::LinkToOutside | Self::LinkToItself => false,
        }
    }

    /// Returns whether this is content that only [`Existing::Replace`] may remove.
    fn is_content(self) -> bool {
        match self {
            Self::Nothing | Self::EmptyDir => false,
            // Indistinguishable from the remains of an interrupted restore.
            Self::Interrupted => false,
            Self::Dir | Self::File | Self::MarkerLink | Self::MarkerDir => true,
            Self::LinkToDir | Self::LinkToOutside | Self::LinkToNothing | Self::LinkToItself => {
                true
            }
        }
    }
}

fuzz_target!(|input: Input| run(check(input)));

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.entries = 30;
    limits.checkpoint_bytes = 1 << 20;
    limits
}

async fn begin(place: &Place) -> Attempt {
    let settings = AttemptSettings::default().limits(limits());
    let begun = Attempt::begin(place.location.clone(), settings).await;
    begun.expect("an attempt begins even if the checkpoint is damaged")
}

fn beneath(sandbox: &Sandbox, path: &str) -> Result<DirTree<Dir>> {
    let dir = Dir::open_ambient_dir(sandbox.inside(), ambient_authority());
    DirTree::new(dir.unwrap(), path)
}

async fn check(input: Input) {
    let Input {
        to,
        there,
        replace,
        forged,
    } = input;
    let sandbox = Sandbox::default();
    let commit = forged.build(sandbox.is_roots());
    let place = Place::default();
    commit.put(&place).await;
    there.prepare(&sandbox);
    let target = match beneath(&sandbox, to.path()) {
        Ok(target) => target,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::InvalidPath),
    };
    let existing = match replace {
        true => Existing::Replace,
        false => Existing::Refuse,
    };
    let verdict = commit.verdict(&limits());
    let before = snapshot(&sandbox.inside());
    let attempt = begin(&place).await;
    let restored = attempt.restore(target, existing).await;
    sandbox.check();
    let after = snapshot(&sandbox.inside());
    if to == To::Target {
        let elsewhere = there != There::LinkToDir;
        assert_eq!(others(&after, elsewhere), others(&before, elsewhere));
    }
    match restored {
        Ok(sequence) => {
            assert_eq!((sequence, verdict), (Some(2), Verdict::Good));
            let is_lost = to == To::Target && there.is_content();
            assert!(
                replace || !is_lost,
                "the restore removed content that it should have refused to replace"
            );
            same_again(&sandbox, &to, &attempt, &commit).await;
            saved_and_restored(&sandbox, &to, &place).await;
        }
        Err(error) => {
            let text = format!("{error}: {:?}", std::error::Error::source(&error));
            match (error.kind(), verdict) {
                (ErrorKind::Corrupt, Verdict::Damaged) => assert_eq!(after, before),
                (ErrorKind::QuotaExceeded, Verdict::TooLarge) => assert_eq!(after, before),
                (ErrorKind::InvalidPath, Verdict::Damaged | Verdict::TooLarge) => panic!("{text}"),
                (ErrorKind::InvalidPath, _) => {
                    let free = to == To::Target && there.is_free(commit.is_file(), replace);
                    assert!(verdict == Verdict::Unholdable || !free, "{text}");
                    assert_eq!(after, before, "{text}");
                }
                // The first data is read before the target is looked at.
                (ErrorKind::Corrupt, Verdict::Unholdable) if commit.has_wrong_data() => {
                    assert_eq!(after, before);
                }
                (ErrorKind::Corrupt, Verdict::WrongData) => {
                    if after != before && !commit.is_file() && to == To::Target {
                        // A target that was partly replaced accepts another restore.
                        let target = beneath(&sandbox, "target").unwrap();
                        let good = Place::default();
                        Commit::empty_dir().put(&good).await;
                        let attempt = begin(&good).await;
                        attempt
                            .restore(target, Existing::Refuse)
                            .await
                            .expect(&text);
                    }
                }
                (kind, _) => panic!("{kind:?}, {verdict:?}: {text}"),
            }
        }
    }
}

/// Returns the part of a snapshot that is outside the target.
fn others(all: &Snapshot, elsewhere: bool) -> Snapshot {
    let mut others = all.clone();
    others.retain(|path, _| {
        !path.as_os_str().is_empty()
            && !path.starts_with("target")
            && (elsewhere || !path.starts_with("elsewhere"))
    });
    others
}

/// Asserts that a second restore returns the same result and changes nothing, with either [`Existing`].
async fn same_again(sandbox: &Sandbox, to: &To, attempt: &Attempt, commit: &Commit) {
    let at = fs::canonicalize(sandbox.inside().join(to.plain())).unwrap();
    assert!(at.starts_with(fs::canonicalize(sandbox.inside()).unwrap()));
    commit.check_restored(&snapshot(&at));
    let before = snapshot(&sandbox.inside());
    for existing in [Existing::Refuse, Existing::Replace] {
        let target = beneath(sandbox, to.path()).unwrap();
        let restored = attempt.restore(target, existing).await;
        assert_eq!(
            restored.expect("the target already equals the checkpoint"),
            Some(2)
        );
        assert_eq!(snapshot(&sandbox.inside()), before);
    }
}

/// Asserts that the restored tree can be saved and restored again, unchanged.
async fn saved_and_restored(sandbox: &Sandbox, to: &To, place: &Place) {
    let copy = Place::default();
    let attempt = begin(&copy).await;
    let source = beneath(sandbox, to.path()).unwrap();
    attempt
        .save(source)
        .await
        .expect("saving the restored tree must succeed");
    let stored = place.location.checkpoints().await.unwrap();
    let saved = copy.location.checkpoints().await.unwrap();
    let limits = Limits::default();
    let stored = stored[0].tree(&limits).await.unwrap();
    let saved = saved[0].tree(&limits).await.unwrap();
    let (stored, saved) = (stored.entries(), saved.entries());
    assert_eq!(stored.len(), saved.len());
    for (stored, saved) in stored.zip(saved) {
        assert!(
            is_kept(&stored, &saved),
            "{stored:?} was saved as {saved:?}"
        );
    }
    let at = fs::canonicalize(sandbox.inside().join(to.plain())).unwrap();
    let other = Sandbox::default();
    let target = beneath(&other, "copy").unwrap();
    attempt
        .restore(target, Existing::Refuse)
        .await
        .expect("what was saved can be restored");
    assert_eq!(snapshot(&other.inside().join("copy")), snapshot(&at));
}
