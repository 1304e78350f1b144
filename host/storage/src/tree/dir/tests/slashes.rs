//! Paths that can only mean a directory.

use std::fs;

use super::{DirTree, at, kind, read, write};
use crate::error::ErrorKind;

#[test]
fn a_file_is_neither_read_from_nor_written_to_a_path_that_ends_in_a_slash() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "old").unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    let (file, contents) = read(&at(&temp, "file")).unwrap();
    for path in ["file/", "file//", "file/.", "file/./"] {
        let ambient = DirTree::ambient(&temp.path().join(path)).unwrap();
        for tree in [at(&temp, path), ambient] {
            assert_eq!(kind(read(&tree)), ErrorKind::InvalidPath, "{path}");
            let written = write(&tree, &file, b"new");
            assert_eq!(kind(written), ErrorKind::InvalidPath, "{path}");
        }
        assert_eq!(fs::read(temp.path().join("file")).unwrap(), contents);
    }
    for path in ["new/", "dir/", "dir/."] {
        let written = write(&at(&temp, path), &file, b"new");
        assert_eq!(kind(written), ErrorKind::InvalidPath, "{path}");
    }
    assert!(!temp.path().join("new").exists() && temp.path().join("dir").is_dir());
}

#[test]
fn a_directory_is_read_from_and_written_to_a_path_that_ends_in_a_slash() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    fs::write(temp.path().join("dir/a"), "a").unwrap();
    let (tree, contents) = read(&at(&temp, "dir/")).unwrap();
    for path in ["new/", "other/.", "dir/"] {
        write(&at(&temp, path), &tree, &contents).unwrap();
        assert_eq!(
            read(&at(&temp, path)).unwrap(),
            (tree.clone(), b"a".to_vec())
        );
    }
}
