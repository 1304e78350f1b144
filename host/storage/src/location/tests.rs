//! Valid and invalid names of locations.

mod causes;
mod directories;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

use super::Location;
use crate::error::ErrorKind;

fn parsed(text: &str) -> Location {
    text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

#[track_caller]
fn refused(text: &str) -> String {
    let error = text.parse::<Location>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidLocation, "{text:?}");
    error.to_string()
}

/// One line per place: all its spellings, the canonical one first.
const PLACES: &[&[&str]] = &[
    &["a"],
    &["A"],
    &[
        "a/b",
        "a//b",
        "a/./b",
        "a/b/",
        "./a/b",
        "a/b/.",
        "./a/.//b//",
    ],
    &["a/../b", "a/..//b/"],
    &["../a", "./../a"],
    &[".", "./", "./."],
    &["..", "./..", "../"],
    &["file:///", "/", "//", "/..", "/./", "file:/", "file:///../"],
    &[
        "file:///x",
        "/x",
        "//x",
        "/x/",
        "/../x",
        "file:/x",
        "file:///x/",
        "file:////x",
        "file://localhost/x",
        "FILE://LocalHost/x",
        "file:///%78",
    ],
    &["file:///x%231", "/x#1"],
    &["file:///x%232", "/x#2"],
    &["file:///x%3Fx=1", "/x?x=1", "file:///x%3fx=1"],
    &["file:///a%20b", "/a b", "file:///a b"],
    &["file:///a%2520b", "/a%20b"],
    &["file:///%09%0A", "/\t\n"],
    &["file:///s3:x", "/s3:x"],
    &["file:///%C3%A4", "/ä", "file:///ä", "file:///%c3%a4"],
    &["file:///a%5Cb", "/a\\b"],
    &["file:///~/x", "/~/x"],
    &["~/x"],
    &["a%20b"],
    &["a?x=1"],
    &["a#1"],
    &["run#7"],
    &["a\tb\nc"],
    &["./s3:x", ".//s3:x"],
    &["./s3:/b/x", "./s3://b/x"],
    &["./ ", ".// "],
    &["s3"],
    &["C:\\x"],
    &["C:/x", "C://x"],
    &["12:30"],
    &["a/s3:x"],
    &["-x"],
    &["None"],
    &["memory:///", "MEMORY:///"],
    &["memory:///x", "memory:///x/", "Memory:///x"],
    &["memory:///x%20y"],
    &["memory:///x y"],
    &["s3://b", "s3://b/", "S3://b", "s3a://b/"],
    &["s3://B"],
    &[
        "s3://b/x",
        "s3://b/x/",
        "S3://b/x",
        "s3a://b/x",
        "S3A://b/x",
    ],
    &["s3://b/X"],
    &["s3://b/run#1/ck"],
    &["s3://b/run#2/ck"],
    &["s3://b/x?x=1"],
    &["s3://b/x?versionId=2#f"],
    &["s3://b/a%20b"],
    &["s3://b/a b"],
    &["s3://b/a+b"],
    &["s3://b/a@b:c"],
    &["s3://b/%2E%2E/x"],
    &["s3://b/a\\b"],
    &["s3://b/ä"],
    &["s3://b/..."],
    &["gs://b/x", "gcs://b/x", "GS://b/x/", "GCS://b/x"],
    &["gs://my_bucket.example.com/x"],
    &[
        "az://c/x",
        "azure://c/x",
        "abfs://c/x",
        "abfss://c/x",
        "AZ://c/x",
        "wasb://c/x",
    ],
    &[
        "abfss://c@account.dfs.core.windows.net/x",
        "abfs://c@account.dfs.core.windows.net/x/",
        "abfs://c@account.blob.core.windows.net/x",
        "ABFS://c@Account.DFS.core.windows.net/x",
        "wasbs://c@account.blob.core.windows.net/x",
        "az://c@account.dfs.core.windows.net/x",
    ],
    &["abfss://c@account2.dfs.core.windows.net/x"],
    &["abfss://c2@account.dfs.core.windows.net/x"],
];

#[test]
fn spellings_of_one_place_are_equal_and_places_differ() {
    let mut canonical = HashSet::new();
    for spellings in PLACES {
        let first = parsed(spellings[0]);
        assert_eq!(first.to_string(), spellings[0]);
        for spelling in *spellings {
            let location = parsed(spelling);
            assert_eq!(location, first, "{spelling:?}");
            assert_eq!(location.to_string(), spellings[0], "{spelling:?}");
        }
        assert!(
            canonical.insert(first),
            "{:?} is another place",
            spellings[0]
        );
    }
}

#[test]
fn what_names_no_location_is_refused() {
    let wrong = [
        // Nothing.
        "",
        " ",
        "\t",
        "\n",
        "\u{a0}",
        // An unsupported scheme, or a malformed URL.
        "s3:x",
        "s3:",
        "s3:/b/x",
        "S3:/b/x",
        "gs:/b/x",
        "memory:x",
        "memory:/x",
        "memory://x",
        "file:x",
        "file:",
        "file://x",
        "az:c/x",
        "http://b/x",
        "https://s3.amazonaws.com/b/x",
        "ftp://b/x",
        "nonsense://",
        "run:1",
        "s4://b/x",
        "\"s3://b/x\"",
        "'s3://b/x'",
        " s3://b/x",
        "s3 ://b/x",
        "localhost:9000/b",
        "dir:///x",
        "x+y:z",
        // A host that is not this one.
        "file://host/x",
        "file://localhost:80/x",
        "file://user@localhost/x",
        "file://127.0.0.1/x",
        "file://localhost",
        // Parts that a file URL would lose or cannot express.
        "file:///x?y",
        "file:///x#1",
        "file:/x#",
        "file:///x?",
        "file:///%",
        "file:///%4",
        "file:///%zz",
        "file:///%00",
        "file:///a%2Fb",
        "file:///a%2fb",
        // No bucket.
        "s3://",
        "s3:///x",
        "gs://",
        "gs:///x",
        "az://",
        "abfs://@account.dfs.core.windows.net/x",
        "s3://./x",
        "s3://../x",
        "s3://-/x",
        // Parts that would be ignored.
        "s3://b:9000/x",
        "s3://user@b/x",
        "s3://user:secret@b/x",
        "s3://@b/x",
        "s3://b:/x",
        "s3://b?x=1/y",
        "s3://b#1",
        "s3://b?x",
        "gs://user:secret@b/x",
        "gs://b:443/x",
        "s3://b%2Fc/x",
        "s3://b c/x",
        "s3://b\\c/x",
        "memory://host/x",
        "az://c:80/x",
        "abfs://c:secret@account.dfs.core.windows.net/x",
        "abfs://c@account.dfs.core.windows.net:443/x",
        // Other hosts than Azure's.
        "abfs://c@account/x",
        "abfs://c@account.example.com/x",
        "abfs://c@.dfs.core.windows.net/x",
        "abfs://c@a.b.dfs.core.windows.net/x",
        "abfss://c@onelake.dfs.fabric.microsoft.com/x",
        "abfs://c@d@account.dfs.core.windows.net/x",
        // Invalid keys.
        "s3://b//x",
        "s3://b/x//",
        "s3://b//",
        "s3://b/x//y",
        "s3://b/./x",
        "s3://b/x/.",
        "s3://b/../x",
        "s3://b/x/..",
        "gs://b/x/../y",
        "az://c//x",
        "memory:////x",
        "memory:///x/../y",
        "s3://b/a\tb",
        "s3://b/a\nb",
        "s3://b/a\0b",
    ];
    for text in wrong {
        refused(text);
    }
}

#[test]
fn a_password_is_in_no_message() {
    for text in [
        "s3://user:secret@b/x",
        "s3://user:se/cret@b/x",
        "s3://user:se#cret@b/x",
        "s3://user:secret@/x",
        "s3:user:secret@b/x",
        "s3:/user:secret@b",
        "S3://secret@b/x",
        "ftp://user:secret@host/x",
        "https://user:secret@host/x?y",
        "file://user:secret@host/x",
        "memory://user:secret@host/x",
        "abfs://c:secret@account.dfs.core.windows.net/x",
        "gs://user:sec@ret@b//x",
    ] {
        let message = refused(text);
        assert!(
            !message.contains("secret") && !message.contains("cret"),
            "{message}"
        );
        assert!(!message.contains("sec@"), "{message}");
    }
}

#[test]
fn a_refusal_says_how_a_directory_of_that_name_is_written() {
    for text in ["s3:x", "run:1", "s3:/b/x"] {
        let message = refused(text);
        assert!(message.contains(&format!("./{text}")), "{message}");
        parsed(&format!("./{text}"));
    }
    let message = refused("file:///x#1");
    assert!(message.contains("%23"), "{message}");
}

#[test]
fn a_path_of_a_program_is_never_a_url() {
    for path in ["s3://b/x", "file:///x", "run:1", " ", "None", "a#b"] {
        let location = Location::from_path(path);
        let named = Path::new(path).components().collect::<std::path::PathBuf>();
        assert_eq!(location, Location::from_path(named));
        assert_eq!(parsed(&location.to_string()), location, "{path:?}");
        assert!(location.directory().unwrap().is_some());
    }
    assert!(Location::from_path("").open().is_err());
    assert!(Location::from_path("a\0b").open().is_err());
}

#[cfg(unix)]
#[test]
fn a_path_holds_any_byte() {
    use std::os::unix::ffi::OsStrExt;

    let name = OsStr::from_bytes(b"/x\xff/y");
    let location = Location::from_os_str(name).unwrap();
    assert_eq!(location.to_string(), "file:///x%FF/y");
    assert_eq!(parsed("file:///x%FF/y"), location);
    assert_eq!(Location::from_path(Path::new(name)), location);
    let error = Location::from_os_str(OsStr::from_bytes(b"s3://b/\xff")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLocation);
    let error = Location::from_os_str(OsStr::from_bytes(b"file:///\xff")).unwrap_err();
    assert!(error.to_string().contains("percent-encode"), "{error}");
}
