//! Misuses the import in the way that its argument selects, and prints the results. The host must survive
//! all of it.
//!
//! | argument | what the guest tries |
//! |---|---|
//! | `paths` | saving from and restoring to paths outside its directory |
//! | `not-a-directory` | passing a file as a directory |
//! | `forged-handle`, `dropped-handle`, `wrong-handle` | passing a handle that does not exist, was dropped or has another type |
//! | `long-path`, `many-annotations`, `overlapping-annotations` | passing lists and strings of extreme length |
//! | `aliased-annotations` | passing gigabytes of annotations, all of which are one string in the guest's memory |
//! | `many-streams` | opening several streams at once |
//! | `commit-while-writing`, `contents-twice` | using a stream out of order |
//! | `commit-of-more` | committing more than was written |
//! | `save-within-save` | saving while a stream is open |
//! | `listings` | holding many listings of a directory open |
//! | `many-files` | holding many files open |
//! | `idle` | nothing, for comparison |
//! | `open-listings=N` | holding so many listings open, each read in part |
//! | `unread-streams=N` | holding so many streams of a file open, each with data that nobody reads |
//! | `unfinished-writes=N` | writing to so many streams at once |
//! | `random` | asking for as many random bytes as the host gives at once |
//! | `polls` | waiting for a million events at once |
//! | `reads` | reading the checkpoint again and again, while the result of the last read is held |
//! | `background=SIZE` | saving so many bytes in the background, faster than they can be stored |
//! | `saves=PATH` | saving a directory in both ways at once, while a stream of each kind is open |
//! | `restores` | restoring the checkpoint to two directories |
//! | `nest=N` | nesting so many directories, and restoring over them |
//! | `failing-calls` | making thousands of calls that fail |
//! | `blocks=SIZE` | blocking in a system call, while it holds so much memory |
//! | `grow` | using more memory than there is |
//! | `deep`, `wide` | saving a directory that is too deep, or has too many entries |

use std::collections::HashSet;
use std::fs;
use std::io::Write;

use task_checkpoint::bindings::task::checkpoint::types::Error;
use task_checkpoint::bindings::task::checkpoint::{checkpointer, files, streams};
use task_checkpoint::{SaveOptions, SaveStream};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, OpenFlags, PathFlags,
};
use wasip2::io::poll::poll;
use wasip2::random::random::get_random_bytes;

fn main() {
    let argument = std::env::args().nth(1).expect("missing argument");
    let (argument, value) = argument.split_once('=').unwrap_or((&argument, ""));
    match argument {
        "idle" => {}
        "open-listings" => {
            let listed = open_directory("listed");
            let listings = listings(&listed, number(value));
            for listing in &listings {
                listing.read_directory_entry().expect("an entry");
            }
            println!("{} listings", listings.len());
        }
        "unread-streams" => {
            let file = open_file();
            let streams: Vec<_> = (0..number(value))
                .map(|_| {
                    let stream = file.read_via_stream(0).expect("a stream");
                    // Reads nothing yet, but makes the host begin to read.
                    stream.read(1 << 20).expect("nothing");
                    stream.subscribe().block();
                    stream
                })
                .collect();
            println!("{} streams", streams.len());
        }
        "unfinished-writes" => {
            let file = open_file();
            let piece = vec![1; 1 << 16];
            let streams: Vec<_> = (0..number(value))
                .map(|n| file.write_via_stream(n as u64 * 4096).expect("a stream"))
                .collect();
            for _ in 0..20 {
                for stream in &streams {
                    if stream.check_write().expect("a permit") >= 1 << 16 {
                        stream.write(&piece).expect("a write");
                    }
                }
            }
            println!("{} streams", streams.len());
        }
        "random" => {
            for _ in 0..3 {
                println!("{} bytes", get_random_bytes(64 << 20).len());
            }
        }
        "polls" => {
            let ready = subscribe_duration(0);
            let all = vec![&ready; 1_000_000];
            for _ in 0..3 {
                println!("{} events", poll(&all).len());
            }
        }
        "reads" => {
            let mut last = None;
            for _ in 0..3 {
                let read = checkpointer::read();
                say("read", read.map(|read| last = read));
            }
            drop(last);
        }
        "background" => {
            let contents = vec![1; number(value)];
            for _ in 0..20 {
                let saved = checkpointer::write_in_background(&contents, &[]);
                say("write", saved);
            }
            say("flush", checkpointer::flush());
        }
        "saves" => saves(value),
        "restores" => {
            for path in ["one", "two"] {
                say(
                    "restore",
                    files::restore(&data(), path, files::Existing::Replace),
                );
            }
        }
        "nest" => {
            checkpointer::write(b"x", &[]).expect("a save");
            files::save(&data(), "kept", &[]).expect("a save");
            let mut inner = data();
            let name = "n".repeat(100);
            for _ in 0..number(value) {
                inner.create_directory_at(&name).expect("a directory");
                inner = open_in(&inner, &name);
            }
            drop(inner);
            let restored = files::restore(&data(), &name, files::Existing::Replace);
            say("restore", restored);
        }
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
        "aliased-annotations" => {
            let key = "k".repeat(1 << 20);
            let alias = || {
                // SAFETY: nobody changes or drops these strings, which are all the same.
                unsafe { String::from_raw_parts(key.as_ptr().cast_mut(), key.len(), key.len()) }
            };
            let pairs: Vec<_> = (0..3000).map(|_| (alias(), String::new())).collect();
            let pairs = std::mem::ManuallyDrop::new(pairs);
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
                checkpointer::read().map(|read| read.map(|contents| contents.bytes.len())),
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
                checkpointer::read().map(|read| read.map(|contents| contents.bytes.len())),
            );
            stream
                .write_all(&[2; 3_000_000])
                .expect("the stream must accept the data");
            stream.commit().expect("a commit");
            say(
                "read",
                checkpointer::read().map(|read| read.map(|contents| contents.bytes.len())),
            );
        }
        "listings" => {
            let listings = listings(&open_directory("listed"), 200);
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
        "failing-calls" => {
            let dir = data();
            for _ in 0..5000 {
                files::save(&dir, "..", &[]).expect_err("the path must be refused");
            }
            println!("5000 failures");
        }
        "blocks" => {
            let memory = vec![1_u8; number(value)];
            // Nobody reads it.
            let mut stdout = std::io::stdout();
            while stdout.write_all(&memory).is_ok() {}
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

/// Saves a directory in the foreground and the background, while a stream of each kind is open.
fn saves(path: &str) {
    let mut writing = SaveStream::begin().expect("the stream must open");
    writing
        .write_all(&[1; 3_000_000])
        .expect("the stream must accept the data");
    checkpointer::write(&[1; 3_000_000], &[]).expect("a save");
    let reading = streams::read().expect("the stream must open");
    let reading = reading.expect("a checkpoint");
    reading.contents.blocking_read(10).expect("data");
    for n in 0..4 {
        say("save", files::save(&data(), path, &[]));
        // The next save has another tree.
        fs::write(format!("/data/{path}/more-{n}"), "").expect("a file");
        let saved = files::save_in_background(&data(), path, &[]);
        say("save-in-background", saved);
    }
    say("flush", checkpointer::flush());
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

fn open_directory(name: &str) -> Descriptor {
    open_in(&data(), name)
}

fn open_in(dir: &Descriptor, name: &str) -> Descriptor {
    let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    let opened = dir.open_at(PathFlags::empty(), name, OpenFlags::DIRECTORY, flags);
    opened.expect("a directory")
}

fn listings(dir: &Descriptor, count: usize) -> Vec<DirectoryEntryStream> {
    let open = || dir.read_directory().expect("a listing");
    std::iter::repeat_with(open).take(count).collect()
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
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
