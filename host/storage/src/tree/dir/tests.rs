//! Trees on a real disk.

mod races;
mod slashes;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tempfile::TempDir;

use super::DirTree;
use crate::cancel::Cancel;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::tree::target::{Existing, MAX_DEPTH, RESTORING, TargetState};
use crate::tree::walk::{TreeSource, TreeTarget};
use crate::tree::{Entry, Node, Tree};

fn beneath(dir: &Path, path: &str) -> crate::error::Result<DirTree<Dir>> {
    let dir = Dir::open_ambient_dir(dir, ambient_authority()).unwrap();
    DirTree::new(dir, path)
}

fn at(temp: &TempDir, path: &str) -> DirTree<Dir> {
    beneath(temp.path(), path).unwrap()
}

fn read(tree: &DirTree<Dir>) -> crate::error::Result<(Tree, Vec<u8>)> {
    let mut reader = tree.reader(&Limits::default(), &Cancel::never())?;
    let mut contents = Vec::new();
    // A small buffer, so that files end within it and beyond it.
    let mut buffer = [0; 3];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((reader.finish()?, contents)),
            read => contents.extend_from_slice(&buffer[..read]),
        }
    }
}

fn write(tree_at: &DirTree<Dir>, tree: &Tree, contents: &[u8]) -> crate::error::Result<()> {
    let mut writer = tree_at.writer(tree, Existing::Replace, &Cancel::never())?;
    for piece in contents.chunks(3) {
        writer.write(piece)?;
    }
    writer.finish()
}

fn kind<T: std::fmt::Debug>(result: crate::error::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn set_time(path: &Path, nanoseconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    let file = fs::File::open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn everything_that_a_tree_can_hold_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let from = temp.path().join("from");
    for dir in ["", "empty", "ünter [*?] \\", "a", "a/b", "read-only"] {
        fs::create_dir(from.join(dir)).unwrap();
    }
    for (name, contents, mode) in [
        ("secret", "1", 0o600),
        ("a/b/program", "22", 0o755),
        ("a-b", "", 0o644),
        ("ünter [*?] \\/file", "4444", 0o640),
        ("read-only/file", "5", 0o444),
    ] {
        fs::write(from.join(name), contents).unwrap();
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        set_time(&from.join(name), 1_234_567_890_123_456_789);
    }
    for (target, name) in [
        ("/etc/passwd", "absolute"),
        ("../../x", "a/up"),
        ("no", "dangling"),
    ] {
        symlink(target, from.join(name)).unwrap();
    }
    fs::set_permissions(from.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
    set_time(&from.join("a"), 987_654_321_000_000_001);

    let (tree, contents) = read(&at(&temp, "from")).unwrap();
    let to = at(&temp, "made/to");
    assert_eq!(to.state().unwrap(), TargetState::Absent);
    write(&to, &tree, &contents).unwrap();
    assert_eq!(to.state().unwrap(), TargetState::Dir);
    assert_eq!(read(&to).unwrap(), (tree, contents));
    let file = fs::metadata(temp.path().join("made/to/a/b/program")).unwrap();
    assert_eq!(
        (file.mode() & 0o777, file.mtime_nsec()),
        (0o755, 123_456_789)
    );
}

#[test]
fn no_path_leads_out() {
    let temp = tempfile::tempdir().unwrap();
    let inside = temp.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(temp.path().join("secret"), "secret").unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink(temp.path(), inside.join("absolute")).unwrap();
    for path in ["..", "../secret", "/etc", "a/../../secret", "a\0b"] {
        assert_eq!(
            kind(beneath(&inside, path)),
            ErrorKind::InvalidPath,
            "{path}"
        );
    }
    let (tree, contents) = read(&at(&temp, "secret")).unwrap();
    for path in ["up/secret", "absolute/secret", "up", "absolute"] {
        let tree_at = beneath(&inside, path).unwrap();
        assert_eq!(kind(read(&tree_at)), ErrorKind::InvalidPath, "{path}");
        // A restore may replace a link. It does not follow it.
        let _ = write(&tree_at, &tree, &contents);
    }
    assert_eq!(fs::read(temp.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}

#[test]
fn what_no_tree_can_hold_is_refused_without_waiting() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = temp.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(kind(read(&at(&temp, "pipe"))), ErrorKind::InvalidPath);
    assert_eq!(kind(read(&at(&temp, ""))), ErrorKind::InvalidPath);
    assert_eq!(kind(read(&at(&temp, "missing"))), ErrorKind::InvalidPath);

    use std::os::unix::ffi::OsStrExt;
    let odd = tempfile::tempdir().unwrap();
    fs::write(odd.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    assert_eq!(kind(read(&at(&odd, ""))), ErrorKind::InvalidPath);
}

#[test]
fn a_restore_that_was_interrupted_is_known_and_made_again() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("from")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(temp.path().join("from").join(name), name).unwrap();
    }
    let (tree, contents) = read(&at(&temp, "from")).unwrap();
    let to = at(&temp, "to");
    // The contents end after the first file.
    kind(write(&to, &tree, &contents[..1]));
    assert!(temp.path().join("to/a").exists());
    assert_eq!(to.state().unwrap(), TargetState::Interrupted);
    assert_eq!(kind(read(&to)), ErrorKind::InvalidPath);
    write(&to, &tree, &contents).unwrap();
    assert_eq!(read(&to).unwrap(), (tree, contents));
    assert!(!temp.path().join("to").join(RESTORING).exists());
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("from"), "contents").unwrap();
    let (tree, contents) = read(&at(&temp, "from")).unwrap();
    let to = at(&temp, "to");
    kind(write(&to, &tree, &contents[..3]));
    assert_eq!(to.state().unwrap(), TargetState::Absent);
    assert_eq!(
        fs::read_dir(temp.path()).unwrap().count(),
        1,
        "nothing else stays"
    );
    write(&to, &tree, &contents).unwrap();
    assert_eq!(read(&to).unwrap(), (tree.clone(), contents.clone()));
    // A file cannot replace a directory.
    assert_eq!(
        kind(write(&at(&temp, ""), &tree, &contents)),
        ErrorKind::InvalidPath
    );
}

#[test]
fn the_directory_itself_is_emptied_and_filled() {
    let temp = tempfile::tempdir().unwrap();
    let from = tempfile::tempdir().unwrap();
    fs::create_dir(from.path().join("d")).unwrap();
    fs::write(from.path().join("d/f"), "f").unwrap();
    fs::create_dir(temp.path().join("old")).unwrap();
    fs::write(temp.path().join("old/file"), "").unwrap();
    symlink(from.path(), temp.path().join("link")).unwrap();
    let (tree, contents) = read(&at(&from, ".")).unwrap();
    let to = at(&temp, "./");
    write(&to, &tree, &contents).unwrap();
    assert_eq!(read(&to).unwrap(), (tree, contents));
    assert!(from.path().join("d/f").exists(), "links are not followed");
}

#[test]
fn a_directory_that_is_being_replaced_is_marked_before_it_is_emptied() {
    let temp = tempfile::tempdir().unwrap();
    for (dir, name) in [("from", "new"), ("to", "old")] {
        fs::create_dir(temp.path().join(dir)).unwrap();
        fs::write(temp.path().join(dir).join(name), name).unwrap();
    }
    let (tree, contents) = read(&at(&temp, "from")).unwrap();
    let to = at(&temp, "to");
    assert_eq!(to.state().unwrap(), TargetState::Dir);
    // The process dies here.
    drop(
        to.writer(&tree, Existing::Replace, &Cancel::never())
            .unwrap(),
    );
    assert_eq!(to.state().unwrap(), TargetState::Interrupted);
    write(&to, &tree, &contents).unwrap();
    assert_eq!(read(&to).unwrap(), (tree, contents));
}

#[test]
fn something_of_another_kind_is_replaced_if_permitted() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "file").unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    fs::write(temp.path().join("dir/in it"), "in it").unwrap();
    let of_file = read(&at(&temp, "file")).unwrap();
    let of_dir = read(&at(&temp, "dir")).unwrap();
    for (make, saved) in [
        ("dir", &of_file),
        ("empty", &of_file),
        ("interrupted", &of_file),
        ("file", &of_dir),
        ("link to nothing", &of_dir),
    ] {
        let target = tempfile::tempdir().unwrap();
        let path = target.path().join("target");
        let to = at(&target, "target");
        match make {
            "dir" => fs::create_dir_all(path.join("old")).unwrap(),
            "empty" => fs::create_dir(&path).unwrap(),
            "file" => fs::write(&path, "old").unwrap(),
            "interrupted" => drop(
                to.writer(&of_dir.0, Existing::Refuse, &Cancel::never())
                    .unwrap(),
            ),
            _ => symlink("nowhere", &path).unwrap(),
        }
        // Only the remains of a restore may be lost.
        let refused = to
            .writer(&saved.0, Existing::Refuse, &Cancel::never())
            .map(drop);
        assert_eq!(refused.is_ok(), make == "interrupted", "{make}");
        write(&to, &saved.0, &saved.1).expect(make);
        assert_eq!(&read(&to).unwrap(), saved, "{make}");
    }
}

#[test]
fn a_tree_that_no_disk_can_hold_removes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let to = at(&temp, "target");
    let entry = |path: String| Entry {
        path,
        node: Node::Dir,
        mode: 0o755,
        modified: SystemTime::UNIX_EPOCH,
    };
    let deep: Vec<_> = (1..=MAX_DEPTH).map(|n| vec!["d"; n].join("/")).collect();
    for paths in [vec!["n".repeat(256)], vec![RESTORING.to_owned()], deep] {
        fs::create_dir(temp.path().join("target")).unwrap();
        fs::write(temp.path().join("target/old"), "old").unwrap();
        let paths = std::iter::once(String::new()).chain(paths);
        let tree = Tree::new(paths.map(entry).collect()).unwrap();
        let refused = to
            .writer(&tree, Existing::Replace, &Cancel::never())
            .map(drop);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidPath);
        assert_eq!(fs::read(temp.path().join("target/old")).unwrap(), b"old");
        fs::remove_dir_all(temp.path().join("target")).unwrap();
    }
}

#[test]
fn what_no_restore_could_write_is_not_saved() {
    let temp = tempfile::tempdir().unwrap();
    let from = temp.path().join("from");
    for make_marker in [
        |marker: &Path| fs::create_dir(marker).unwrap(),
        |marker: &Path| symlink("nowhere", marker).unwrap(),
    ] {
        fs::create_dir(&from).unwrap();
        make_marker(&from.join(RESTORING));
        let refused = read(&at(&temp, "from")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidPath);
        assert!(refused.to_string().contains("reserved"), "{refused}");
        fs::remove_dir_all(&from).unwrap();
    }
    // Only the root of a restore has a marker.
    fs::create_dir_all(from.join("inner")).unwrap();
    fs::write(from.join("inner").join(RESTORING), "kept").unwrap();
    read(&at(&temp, "from")).unwrap();
}

#[test]
fn the_entries_of_a_directory_count_before_the_first_is_read() {
    let temp = tempfile::tempdir().unwrap();
    // Reading the first would be another error.
    let names = (0..9).map(|n| OsString::from(n.to_string()));
    for name in names.chain([OsString::from_vec(b"\x01\xff".to_vec())]) {
        fs::write(temp.path().join(name), "").unwrap();
    }
    let limits = Limits {
        tree_bytes: 9 * 64,
        ..Limits::default()
    };
    let reader = at(&temp, "").reader(&limits, &Cancel::never());
    assert_eq!(reader.err().unwrap().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(kind(read(&at(&temp, ""))), ErrorKind::InvalidPath);
}

#[test]
fn a_file_comes_back_under_the_longest_name_that_there_is() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["n".repeat(255), "ü".repeat(127)] {
        let to = at(&temp, &name);
        fs::write(temp.path().join(&name), "saved").unwrap();
        let (tree, contents) = read(&to).unwrap();
        // Replaces a directory, which is removed first.
        fs::remove_file(temp.path().join(&name)).unwrap();
        fs::create_dir(temp.path().join(&name)).unwrap();
        write(&to, &tree, &contents).unwrap();
        assert_eq!(fs::read(temp.path().join(&name)).unwrap(), b"saved");
    }
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}

#[test]
fn a_path_that_no_disk_can_hold_makes_no_parents() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("saved"), "").unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    let to = at(&temp, &format!("new/{}", "n".repeat(256)));
    for saved in ["saved", "dir"] {
        let (tree, contents) = read(&at(&temp, saved)).unwrap();
        let refused = write(&to, &tree, &contents);
        assert_eq!(kind(refused), ErrorKind::InvalidPath);
        assert!(!temp.path().join("new").exists());
    }
}

/// Creates nested directories, each with a file in it.
fn nest(dir: &Path, depth: usize) {
    let mut dir = Dir::open_ambient_dir(dir, ambient_authority()).unwrap();
    for _ in 0..depth {
        dir.write("file", "old").unwrap();
        dir.create_dir("d").unwrap();
        dir = dir.open_dir("d").unwrap();
    }
}

#[test]
fn however_deep_directories_are_nested_they_are_removed_with_little_stack() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "new").unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    for saved in ["file", "dir"] {
        fs::create_dir(temp.path().join("to")).unwrap();
        nest(&temp.path().join("to"), 5000);
        // Left by an interrupted removal.
        let left = temp.path().join("to/.task-checkpoint-removing-1/in/it");
        fs::create_dir_all(left).unwrap();
        let (from, to) = (at(&temp, saved), at(&temp, "to"));
        let restore = move || {
            let (tree, contents) = read(&from).unwrap();
            write(&to, &tree, &contents).unwrap();
            assert_eq!(read(&to).unwrap(), (tree, contents));
        };
        let small = std::thread::Builder::new().stack_size(256 << 10);
        small.spawn(restore).unwrap().join().unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3);
        let _ = fs::remove_file(temp.path().join("to"));
    }
}

#[test]
fn directories_that_their_owner_may_not_write_are_removed() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("to");
    fs::create_dir_all(to.join("a/b/c")).unwrap();
    fs::write(to.join("a/b/file"), "old").unwrap();
    for (name, mode) in [
        ("a/b/file", 0o400),
        ("a/b/c", 0),
        ("a/b", 0o500),
        ("a", 0o100),
    ] {
        fs::set_permissions(to.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let tree = Tree::single_file(3, SystemTime::UNIX_EPOCH);
    write(&at(&temp, "to"), &tree, b"new").unwrap();
    assert_eq!(fs::read(to).unwrap(), b"new");
}

#[test]
fn an_ambient_target_does_not_believe_a_marker_beside_other_files() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("to");
    fs::create_dir(&to).unwrap();
    fs::write(to.join(RESTORING), "").unwrap();
    let operators = DirTree::ambient(&to).unwrap();
    // A marker alone permits clearing nothing that could be lost.
    assert_eq!(operators.state().unwrap(), TargetState::Interrupted);
    fs::write(to.join("mine"), "mine").unwrap();
    assert_eq!(operators.state().unwrap(), TargetState::Dir);
    assert_eq!(at(&temp, "to").state().unwrap(), TargetState::Interrupted);
    let tree = Tree::single_file(0, SystemTime::UNIX_EPOCH);
    let refused = operators
        .writer(&tree, Existing::Refuse, &Cancel::never())
        .map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidPath);
    assert_eq!(fs::read(to.join("mine")).unwrap(), b"mine");
}

#[test]
fn only_a_file_is_a_marker() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("from")).unwrap();
    fs::write(temp.path().join("from/file"), "new").unwrap();
    let (tree, contents) = read(&at(&temp, "from")).unwrap();
    let to = temp.path().join("to");
    for make_marker in [
        |marker: &Path| fs::create_dir(marker).unwrap(),
        |marker: &Path| symlink("nowhere", marker).unwrap(),
    ] {
        fs::create_dir(&to).unwrap();
        make_marker(&to.join(RESTORING));
        assert_eq!(at(&temp, "to").state().unwrap(), TargetState::Dir);
        // It is replaced like any other content.
        write(&at(&temp, "to"), &tree, &contents).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        fs::remove_dir_all(&to).unwrap();
    }
}
