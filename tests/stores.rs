//! Where checkpoints are stored by default, and that no task sees them as files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::cli::{Cli, guest};
use crate::support::{Place, tree};

/// A run with this directory for its state, and no location.
fn run(place: &Place) -> Cli {
    Cli::run([""; 0]).envs([("XDG_STATE_HOME", state(place))])
}

fn state(place: &Place) -> PathBuf {
    place.store().join("state")
}

/// The locations that are there by default.
fn locations(place: &Place) -> Vec<PathBuf> {
    let root = fs::read_dir(state(place).join("wasm-checkpoint"));
    let entries = root.into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn copies(place: &Place) -> [PathBuf; 2] {
    ["a", "b"].map(|dir| {
        let dir = place.work().join(dir);
        fs::create_dir(&dir).unwrap();
        let task = dir.join("main.wasm");
        fs::copy(guest("verbs"), &task).unwrap();
        task
    })
}

#[test]
fn tasks_of_one_name_have_locations_of_their_own() {
    let place = Place::new();
    let [a, b] = copies(&place);
    let printed = |task: &Path, verb: &str| run(&place).task(task, [verb]).outcome();
    let first = printed(&a, "write=one");
    first.printed(["write 2"]);
    printed(&b, "read").printed(["read none"]);
    printed(&a, "read").printed(["read \"one\""]);
    let found = locations(&place);
    assert_eq!(found.len(), 2, "{found:?}");
    let said = found
        .iter()
        .any(|path| first.stderr.contains(path.to_str().unwrap()));
    assert!(said, "the location is named: {}", first.text());

    // However the task is named.
    let here = run(&place).working_directory(a.parent().unwrap());
    let outcome = here.task(Path::new("../a/./main.wasm"), ["read"]).outcome();
    outcome.printed(["read \"one\""]);
    let link = place.work().join("link");
    symlink(a.parent().unwrap(), &link).unwrap();
    printed(&link.join("main.wasm"), "read").printed(["read \"one\""]);
}

#[test]
fn the_default_lies_beneath_the_home_directory_where_nothing_else_is_said() {
    let place = Place::new();
    for state in [None, Some(""), Some("relative")] {
        let home = place.store().join(state.unwrap_or("none"));
        let mut cli = Cli::run([""; 0]).envs([("HOME", &home)]);
        cli = match state {
            Some(state) => cli.envs([("XDG_STATE_HOME", state)]),
            None => cli.without("XDG_STATE_HOME"),
        };
        cli.verbs("write=one").outcome().printed(["write 2"]);
        assert!(home.join(".local/state/wasm-checkpoint").is_dir());
    }
}

#[test]
fn without_a_home_a_location_has_to_be_named() {
    for home in [None, Some(""), Some("relative")] {
        let cli = Cli::run([""; 0]).without("XDG_STATE_HOME");
        let cli = match home {
            None => cli.without("HOME"),
            Some(home) => cli.envs([("HOME", home)]),
        };
        let error = cli.verbs("write=one").outcome().failed(78);
        assert!(error.contains("--store"), "{error}");
    }
}

#[test]
fn the_working_directory_can_be_given_and_shows_no_checkpoint() {
    let place = Place::new();
    let cli = run(&place).working_directory(&place.work());
    let outcome = cli
        .options(["--dir", "."])
        .verbs("write=one list=.")
        .outcome();
    outcome.printed(["write 2", "list 0"]);
}

#[test]
fn a_directory_that_shows_compiled_tasks_is_refused() {
    let place = Place::new();
    // Whoever writes to it chooses what the next run executes.
    let cache = place.work().join("cache");
    let inner = cache.join("wasmtime/modules");
    fs::create_dir_all(&inner).unwrap();
    for dir in [&place.work(), &cache, &inner] {
        let cli = run(&place).envs([("XDG_CACHE_HOME", &cache)]);
        let error = cli.dir(dir, "/x").verbs("read").outcome().failed(2);
        assert!(error.contains("the compiled code of all tasks"), "{error}");
    }
}

#[test]
fn a_directory_that_shows_checkpoints_is_refused_before_anything_begins() {
    let place = Place::new();
    let (store, work) = (place.store(), place.work());
    fs::create_dir_all(store.join("within")).unwrap();
    fs::create_dir_all(state(&place).join("wasm-checkpoint/other")).unwrap();
    symlink(&store, work.join("link")).unwrap();
    let before = tree(store.parent().unwrap());
    let dotted = work.join("../store");
    let around: [&Path; 5] = [
        store.parent().unwrap(),
        Path::new("/"),
        &store,
        &dotted,
        &work.join("link"),
    ];
    let in_it = [store.join("within"), work.join("link/within")];
    let in_default = [state(&place), state(&place).join("wasm-checkpoint/other")];
    let refused = |cli: Cli, option: &str, dir: &Path| {
        let mut mapping = dir.as_os_str().to_owned();
        mapping.push("::/x");
        let outcome = cli
            .options([option.as_ref(), mapping.as_os_str()])
            .verbs("write=one");
        let error = outcome.outcome().failed(2);
        assert!(error.contains(dir.to_str().unwrap()), "{error}");
        assert_eq!(tree(store.parent().unwrap()), before);
    };
    for option in ["--dir", "--dir-ro"] {
        for dir in around {
            refused(
                run(&place).options(["--store".as_ref(), store.as_os_str()]),
                option,
                dir,
            );
        }
        for dir in &in_it {
            refused(
                run(&place).options(["--store".as_ref(), store.as_os_str()]),
                option,
                dir,
            );
            let previous = ["--store", "memory:///x", "--prev"];
            refused(run(&place).options(previous).options([&store]), option, dir);
        }
        for dir in &in_default {
            refused(run(&place).options(["--store", "memory:///x"]), option, dir);
            refused(run(&place), option, dir);
        }
    }
    // It need not be there yet, nor need its name be plain.
    let missing = work.join("new/../checkpoints");
    let options = ["--store".as_ref(), missing.as_os_str()];
    let cli = run(&place)
        .options(options)
        .options(["--dir".as_ref(), work.as_os_str()]);
    let outcome = cli.verbs("write=one").outcome();
    assert!(matches!(outcome.code, Some(2 | 78)), "{}", outcome.text());
    assert_eq!(tree(store.parent().unwrap()), before);
}

#[test]
fn a_directory_can_be_given_for_reading_only() {
    let place = Place::new();
    let work = place.work();
    fs::write(work.join("kept"), "").unwrap();
    let mut mapping = work.as_os_str().to_owned();
    mapping.push("::/ro");
    let cli = || run(&place).options(["--dir-ro".as_ref(), mapping.as_os_str()]);
    let saved = cli()
        .verbs("list=/ro save=/ro restore=/ro/target")
        .outcome();
    assert_eq!(saved.lines[..2], ["list 1", "save 2"], "{}", saved.text());
    assert!(saved.lines[2].starts_with("error: "), "{}", saved.text());
    for verbs in ["file=/ro/new=x", "remove=/ro/kept", "files=/ro/dir=1"] {
        assert_ne!(cli().verbs(verbs).outcome().code, Some(0), "{verbs}");
    }
    let names: Vec<_> = fs::read_dir(&work).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// A task that was given the parent of a directory can replace it with a link.
#[test]
fn directories_are_checked_again_before_each_attempt() {
    let place = Place::new();
    let (store, given) = (place.store(), place.work().join("given"));
    fs::create_dir(&given).unwrap();
    let line = ["run", "--retries", "1", "--retry-delay", "2s", "--store"];
    let cli = Cli::new(line).options([&store]).dir(&given, "/given");
    let mut running = cli.verbs("write=one list=/given trap").start();
    assert!(running.until_said("retrying in"));
    fs::remove_dir(&given).unwrap();
    symlink(&store, &given).unwrap();
    let outcome = running.finish();
    let error = outcome.failed(2);
    assert!(error.contains("the checkpoints of this run"), "{error}");
    assert_eq!(outcome.lines, ["write 2", "list 0"], "{}", outcome.text());
}
