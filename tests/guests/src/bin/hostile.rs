//! Misuses the import in the way that its argument selects, and prints the results. The host must survive
//! all of it.
//!
//! | argument | what the guest tries |
//! |---|---|
//! | `paths` | saving from and restoring to paths outside its directory |
//! | `not-a-directory` | passing a file as a directory |
//! | `forged-handle`, `dropped-handle`, `wrong-handle` | passing a handle that does not exist, was dropped or has another type |
//! | `long-path`, `many-annotations`, `overlapping-annotations` | passing lists and strings of extreme length |
//! | `many-streams` | opening several streams at once |
//! | `commit-while-writing`, `contents-twice` | using a stream out of order |
//! | `commit-of-more` | committing more than was written |
//! | `save-within-save` | saving while a stream is open |
//! | `listings` | holding many listings of a directory open |
//! | `many-files` | holding many files open |
//! | `grow` | using more memory than there is |
//! | `deep`, `wide` | saving a directory that is too deep, or has too many entries |

use std::collections::HashSet;
use std::fs;
use std::io::Write;

use task_checkpoint::bindings::task::checkpoint::types::Error;
use task_checkpoint::bindings::task::checkpoint::{checkpointer, files, streams};
use task_checkpoint::{SaveOptions, SaveStream};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, OpenFlags, PathFlags,
};

fn main() {
    let argument = std::env::args().nth(1).expect("missing argument");
    match argument.as_str() {
        "paths" => paths(),
        "not-a-directory" => {
            let file = open_file();
            say("save", files::save(&file, "", &[]));
            say(
                "restore",
                files::restore(&file, "", files::Existing::Replace),
            );
        }
        "forged-handle" => {
            // SAFETY: deliberately not a handle; the host must reject it.
            let forged = unsafe { Descriptor::from_handle(12_345) };
            say("save", files::save(&forged, "a", &[]));
        }
        "dropped-handle" => {
            let dir = data();
            // SAFETY: deliberately a dropped handle; the host must reject it.
            let again = unsafe { Descriptor::from_handle(dir.handle()) };
            drop(dir);
            say("save", files::save(&again, "a", &[]));
        }
        "wrong-handle" => {
            let stream = streams::SaveStream::begin(&[]).expect("a stream");
            // SAFETY: deliberately a handle of another type; the host must reject it.
            let wrong = unsafe { Descriptor::from_handle(stream.handle()) };
            say("save", files::save(&wrong, "a", &[]));
        }
        "long-path" => {
            let path = "a/".repeat(30_000_000);
            say("save", files::save(&data(), &path, &[]));
            let path = "a".repeat(60_000_000);
            say(
                "restore",
                files::restore(&data(), &path, files::Existing::Refuse),
            );
        }
        "many-annotations" => {
            let many: Vec<_> = (0..300_000)
                .map(|n| (n.to_string(), String::new()))
                .collect();
            say("write", checkpointer::write(b"x", &many));
        }
        "overlapping-annotations" => {
            // Every pair passes a megabyte of key, so that a short list costs the host much memory.
            let key = "k".repeat(1 << 20);
            let pairs = vec![(key, String::new()); 8];
            say("write", checkpointer::write(b"x", &pairs));
        }
        "many-streams" => {
            let first = streams::SaveStream::begin(&[]).expect("the stream must open");
            say("begin", streams::SaveStream::begin(&[]));
            drop(first);
            say("begin", streams::SaveStream::begin(&[]));
            checkpointer::write(b"x", &[]).expect("a save");
            let first = streams::read().expect("the stream must open");
            say("read", streams::read());
            drop(first);
            say("read", streams::read());
        }
        "commit-while-writing" => {
            let stream = streams::SaveStream::begin(&[]).expect("the stream must open");
            let contents = stream.contents().expect("contents");
            say("commit", streams::SaveStream::commit(stream, 0));
            // The stream is closed now.
            println!("write {}", contents.check_write().is_err());
        }
        "commit-of-more" => {
            let stream = streams::SaveStream::begin(&[]).expect("the stream must open");
            let contents = stream.contents().expect("contents");
            contents
                .blocking_write_and_flush(&[1; 10])
                .expect("the stream must open");
            drop(contents);
            say("commit", streams::SaveStream::commit(stream, 11));
            say(
                "read",
                checkpointer::read().map(|read| read.map(|bytes| bytes.len())),
            );
        }
        "contents-twice" => {
            let stream = streams::SaveStream::begin(&[]).expect("the stream must open");
            let _first = stream.contents().expect("contents");
            say("contents", stream.contents());
        }
        "save-within-save" => {
            let mut stream = SaveStream::begin().expect("the stream must open");
            stream
                .write_all(&[1; 3_000_000])
                .expect("the stream must accept the data");
            SaveOptions::new().write("inner").expect("a save");
            say(
                "read",
                checkpointer::read().map(|read| read.map(|bytes| bytes.len())),
            );
            stream
                .write_all(&[2; 3_000_000])
                .expect("the stream must accept the data");
            stream.commit().expect("a commit");
            say(
                "read",
                checkpointer::read().map(|read| read.map(|bytes| bytes.len())),
            );
        }
        "listings" => {
            let listed = data().open_at(
                PathFlags::empty(),
                "listed",
                OpenFlags::DIRECTORY,
                DescriptorFlags::READ,
            );
            let listed = listed.expect("a directory");
            let listings: Vec<_> = (0..200)
                .map(|_| listed.read_directory().expect("a listing"))
                .collect();
            let count = |listing: &DirectoryEntryStream| {
                let mut names = HashSet::new();
                while let Some(entry) = listing.read_directory_entry().expect("an entry") {
                    assert_eq!(entry.type_, DescriptorType::RegularFile);
                    assert!(names.insert(entry.name), "an entry is listed twice");
                }
                names.len()
            };
            let counts: HashSet<_> = listings.iter().map(count).collect();
            assert_eq!(counts.len(), 1);
            for entries in counts {
                println!("{} listings of {entries} entries", listings.len());
            }
        }
        "many-files" => {
            let files: Vec<_> = (0..1000).map(|_| open_file()).collect();
            println!("{} files", files.len());
        }
        "grow" => {
            let all: Vec<_> = (0..1000).map(|_| vec![1_u8; 1 << 20]).collect();
            println!("{} MiB", all.len());
        }
        "deep" => {
            let mut path = "/data/deep".to_owned();
            for _ in 0..200 {
                path.push_str("/d");
            }
            fs::create_dir_all(path).expect("directories");
            say("save", files::save(&data(), "deep", &[]));
        }
        "wide" => {
            fs::create_dir("/data/wide").expect("a directory");
            for n in 0..2_000 {
                fs::write(format!("/data/wide/{n}"), "").expect("a file");
            }
            say("save", files::save(&data(), "wide", &[]));
        }
        other => panic!("unknown argument {other:?}"),
    }
}

fn paths() {
    for path in [
        "..",
        "../outside",
        "a/../../outside",
        "/etc/passwd",
        "/",
        "link-to-outside",
        "link-to-outside/file",
        "a\0b",
    ] {
        say(path, files::save(&data(), path, &[]));
    }
    checkpointer::write(b"mine", &[]).expect("a save");
    for path in ["..", "../outside", "/tmp/outside", "link-to-outside/new"] {
        say(
            path,
            files::restore(&data(), path, files::Existing::Replace),
        );
    }
}

fn data() -> Descriptor {
    let mut directories = get_directories();
    let data = directories.iter().position(|(_, name)| name == "/data");
    directories
        .swap_remove(data.expect("/data must be preopened"))
        .0
}

fn open_file() -> Descriptor {
    let create = OpenFlags::CREATE;
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let opened = data().open_at(PathFlags::empty(), "file", create, flags);
    opened.expect("a file")
}

fn say<T>(what: &str, answer: Result<T, Error>) {
    let answer = match answer {
        Ok(_) => "ok",
        Err(Error::InvalidPath(_)) => "invalid-path",
        Err(Error::QuotaExceeded(_)) => "quota-exceeded",
        Err(Error::Other(_)) => "other",
        Err(_) => "another error",
    };
    println!("{what:?} {answer}");
}
