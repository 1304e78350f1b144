//! Resolves a guest's paths against the directories that its host gave it.

use checkpoint_storage::{Error, ErrorKind, Result, means_a_directory};

/// Finds the directory that contains `path`, among the guest's directories and the names that the guest has for
/// them. Returns it, and the path relative to it.
///
/// The directory with the longest name counts, and the last of several with the same name, as in the C library of
/// WASI. There, the working directory is `/`, so absolute and relative paths are the same; of the directories `/` and
/// `.`, the one that is written like the path counts.
///
/// # Errors
/// [`ErrorKind::InvalidPath`] if the path is empty or in none of the directories.
pub fn locate<D>(
    directories: impl IntoIterator<Item = (D, String)>,
    path: &str,
) -> Result<(D, String)> {
    if path.is_empty() {
        // Would mean a whole directory, which no slip should save or replace.
        return Err(Error::new(ErrorKind::InvalidPath, "the path is empty"));
    }
    let beneath = directories.into_iter().filter_map(|(dir, name)| {
        let rest = beneath(&name, path)?;
        let is_written_alike = name.starts_with('/') == path.starts_with('/');
        Some(((parts(&name).count(), is_written_alike), dir, rest))
    });
    let found = beneath.max_by_key(|(length, ..)| *length);
    let (_, dir, rest) = found.ok_or_else(|| {
        let what = format!(
            "{path:?} is in none of the task's directories; give the task one that contains it, for example with --dir"
        );
        Error::new(ErrorKind::InvalidPath, what)
    })?;
    Ok((dir, rest))
}

/// Returns `path` relative to the directory `name`, or `None` if it is not beneath it.
fn beneath(name: &str, path: &str) -> Option<String> {
    let mut rest = parts(path);
    for part in parts(name) {
        if rest.next() != Some(part) {
            return None;
        }
    }
    let mut rest = rest.collect::<Vec<_>>().join("/");
    // `DirTree` refuses a file there.
    if means_a_directory(path) && !rest.is_empty() {
        rest.push('/');
    }
    Some(rest)
}

/// Splits a path into its names.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use checkpoint_storage::ErrorKind;

    use super::locate;

    /// Returns the position of the directory that contains a path, and the path in it.
    fn found(names: &[&str], path: &str) -> Option<(usize, String)> {
        let names = names.iter().map(|&name| name.to_owned());
        match locate(names.enumerate(), path) {
            Ok(found) => Some(found),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidPath);
                None
            }
        }
    }

    fn at(position: usize, rest: &str) -> Option<(usize, String)> {
        Some((position, rest.to_owned()))
    }

    #[test]
    fn a_path_is_relative_to_the_directory_that_contains_it() {
        assert_eq!(found(&["/data"], "/data/a/b"), at(0, "a/b"));
        assert_eq!(found(&["/data/"], "/data"), at(0, ""));
        assert_eq!(found(&["/"], "/data/a"), at(0, "data/a"));
        assert_eq!(found(&["."], "work/./a"), at(0, "work/a"));
        assert_eq!(found(&["work"], "./work/a"), at(0, "a"));
    }

    #[test]
    fn a_path_that_can_only_mean_a_directory_remains_one() {
        assert_eq!(found(&["."], "work//a/"), at(0, "work/a/"));
        assert_eq!(found(&["/data"], "/data/a/."), at(0, "a/"));
        assert_eq!(found(&["/data"], "/data/."), at(0, ""));
        assert_eq!(found(&["/data"], "/data/a./"), at(0, "a./"));
        assert_eq!(found(&["/data"], "/data/a."), at(0, "a."));
    }

    #[test]
    fn absolute_and_relative_paths_are_the_same() {
        assert_eq!(found(&["."], "/work"), at(0, "work"));
        assert_eq!(found(&["/"], "work"), at(0, "work"));
        assert_eq!(found(&["/work"], "work/a"), at(0, "a"));
    }

    #[test]
    fn the_longest_name_counts_then_the_same_spelling_then_the_last() {
        assert_eq!(found(&["/a/b", "/", "/a"], "/a/b/c"), at(0, "c"));
        assert_eq!(found(&["/", ".", "/other"], "/a"), at(0, "a"));
        assert_eq!(found(&[".", "/"], "a"), at(0, "a"));
        assert_eq!(found(&["/a", "/a"], "/a/b"), at(1, "b"));
    }

    #[test]
    fn a_directory_does_not_contain_a_path_that_only_starts_like_its_name() {
        assert_eq!(found(&["/data"], "/database"), None);
        assert_eq!(found(&["/data/a"], "/data"), None);
        assert_eq!(found(&["/data"], "../work"), None);
        assert_eq!(found(&[], "/data"), None);
    }

    #[test]
    fn an_empty_path_is_invalid_and_a_dot_is_the_directory() {
        assert_eq!(found(&[".", "/"], ""), None);
        assert_eq!(found(&["."], "."), at(0, ""));
    }

    #[test]
    fn parent_components_are_left_to_the_directory() {
        assert_eq!(found(&["/data"], "/data/../a"), at(0, "../a"));
    }
}
