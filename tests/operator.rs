//! The commands with which an operator lists, exports, imports, verifies and prunes a location.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::cli::{Cli, Outcome};
use crate::support::noise::noise;
use crate::support::s3::Server;
use crate::support::{Place, tree};

fn operate(place: &Place, verb: &str, args: &[&str]) -> Outcome {
    let store = place.store();
    let mut line = vec![verb.to_owned(), store.to_str().unwrap().to_owned()];
    line.extend(args.iter().map(|arg| (*arg).to_owned()));
    Cli::new(line).outcome()
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.lines.join("\n")).unwrap_or_else(|_| panic!("{}", outcome.text()))
}

fn import(place: &Place, source: &str) -> Outcome {
    let store = place.store();
    Cli::new(["import", source, store.to_str().unwrap()]).outcome()
}

fn data_objects(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.store().join("data")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn an_imported_tree_is_listed_and_exported_unchanged() {
    let place = Place::new();
    let from = place.work().join("from");
    fs::create_dir_all(from.join("a/empty")).unwrap();
    fs::write(from.join("a/large"), noise(5, 3 << 20)).unwrap();
    fs::write(from.join("name with \u{1b}[31m"), "small").unwrap();
    symlink("a/large", from.join("link")).unwrap();
    assert_eq!(import(&place, from.to_str().unwrap()).code, Some(0));

    let shown = json(&operate(&place, "show", &["--json"]));
    let entries = shown["entries"].as_array().unwrap();
    let paths: Vec<_> = entries
        .iter()
        .map(|e| e["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "",
            "a",
            "a/empty",
            "a/large",
            "link",
            "name with \u{1b}[31m"
        ]
    );
    let plain = operate(&place, "show", &[]);
    assert!(
        !plain.text().contains('\u{1b}'),
        "an escape sequence reached the terminal"
    );

    let to = place.work().join("to");
    let exported = operate(&place, "export", &[to.to_str().unwrap()]);
    assert_eq!(exported.code, Some(0), "{}", exported.text());
    assert_eq!(tree(&to), tree(&from));
    // An export does not merge into a directory with other contents.
    fs::write(to.join("other"), "").unwrap();
    let refused = operate(&place, "export", &[to.to_str().unwrap()]).failed(1);
    assert!(refused.contains("--replace"), "{refused}");
    assert!(to.join("other").exists());
    // The marker of an interrupted restore does not change that.
    fs::write(to.join(".task-checkpoint-restoring"), "").unwrap();
    operate(&place, "export", &[to.to_str().unwrap()]).failed(1);
    assert!(to.join("other").exists());
    let replaced = operate(&place, "export", &[to.to_str().unwrap(), "--replace"]);
    assert_eq!(replaced.code, Some(0), "{}", replaced.text());
    assert_eq!(tree(&to), tree(&from));
    // A task can restore the imported checkpoint.
    let outcome = place.run("restore=/data/again");
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(tree(&place.work().join("again")), tree(&from));
}

#[test]
fn an_export_never_replaces_the_location_that_it_reads() {
    let (place, previous) = (Place::new(), Place::new());
    previous.run("write=old");
    let cli = place
        .cli()
        .options(["--prev".as_ref(), previous.store().as_os_str()]);
    cli.verbs("read exit=1").outcome();
    let link = place.work().join("link");
    symlink(place.store(), &link).unwrap();
    let whole = |place: &Place| tree(place.store().parent().unwrap());
    let before = [whole(&place), whole(&previous)];
    for target in [
        place.store(),
        link,
        place.store().join("log"),
        place.store().join("new"),
        place.store().join("log/09223372036854775799"),
        place.work().join("../store"),
        place.store().parent().unwrap().to_owned(),
        previous.store(),
        previous.store().parent().unwrap().to_owned(),
    ] {
        let target = target.to_str().unwrap();
        let error = operate(&place, "export", &[target, "--replace"]).failed(2);
        assert!(error.contains("the location"), "{error}");
        assert!([whole(&place), whole(&previous)] == before, "{target}");
    }
}

#[test]
fn a_file_is_not_exported_to_a_path_that_means_a_directory() {
    let (place, directory) = (Place::new(), Place::new());
    place.run("write=x");
    fs::write(directory.work().join("file"), "x").unwrap();
    directory.run("save=/data");
    for end in ["/", "/."] {
        let to = format!("{}{end}", place.work().join("to").display());
        for replace in [None, Some("--replace")] {
            let options: Vec<_> = [Some(to.as_str()), replace].into_iter().flatten().collect();
            let refused = operate(&place, "export", &options).failed(1);
            assert!(refused.contains("name the file"), "{refused}");
        }
        assert!(!place.work().join("to").exists());
        // A directory is.
        let to = format!("{}{end}", directory.work().join("to").display());
        assert_eq!(operate(&directory, "export", &[&to]).code, Some(0));
        fs::remove_dir_all(directory.work().join("to")).unwrap();
    }
}

#[test]
fn every_listed_checkpoint_can_be_exported() {
    let place = Place::new();
    place.run("write=one write=two write=three write=four");
    let listed = json(&operate(&place, "ls", &["--json"]));
    let listed = listed["checkpoints"].as_array().unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|c| c["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(listed, [5, 4, 3]);
    let to = place.work().join("to");
    operate(&place, "export", &[to.to_str().unwrap(), "--seq", "4"]);
    assert_eq!(fs::read(&to).unwrap(), b"three");
    let missing = operate(&place, "export", &["elsewhere", "--seq", "2"]).failed(66);
    assert!(missing.contains("no checkpoint 2"), "{missing}");
}

#[test]
fn importing_a_missing_path_claims_nothing() {
    let place = Place::new();
    let missing = place.work().join("missing");
    import(&place, missing.to_str().unwrap()).failed(1);
    assert!(!place.store().exists());
}

#[test]
fn verify_names_the_damage_and_the_checkpoints_it_costs() {
    let place = Place::new();
    for seed in [1, 2] {
        let file = place.work().join("file");
        fs::write(&file, noise(seed, 100_000)).unwrap();
        assert_eq!(import(&place, file.to_str().unwrap()).code, Some(0));
    }
    let clean = operate(&place, "verify", &[]);
    assert_eq!(clean.code, Some(0), "{}", clean.text());
    let before = tree(&place.store());

    let object = data_objects(&place).pop().unwrap();
    let mut bytes = fs::read(&object).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&object, bytes).unwrap();
    let damaged = tree(&place.store());
    let outcome = operate(&place, "verify", &["--json"]);
    assert_eq!(outcome.code, Some(65), "{}", outcome.text());
    let report = json(&outcome);
    assert_eq!(report["findings"][0]["object"], "data/3-0");
    assert_eq!(report["findings"][0]["costs"], serde_json::json!([4]));
    assert_eq!(report["whole_checkpoints"], serde_json::json!([2]));
    assert_eq!(tree(&place.store()), damaged, "verify changed the location");
    assert_ne!(before, damaged);
}

#[test]
fn pruning_deletes_exactly_what_its_dry_run_lists() {
    let place = Place::new();
    for seed in 0..3 {
        let file = place.work().join("file");
        fs::write(&file, noise(seed, 100_000)).unwrap();
        import(&place, file.to_str().unwrap());
    }
    let before = tree(&place.store());
    let plan = operate(&place, "prune", &["--keep", "1", "--dry-run"]);
    assert_eq!(plan.code, Some(0), "{}", plan.text());
    assert!(plan.stderr.contains("[4, 2]"), "{}", plan.text());
    assert_eq!(
        tree(&place.store()),
        before,
        "a dry run changed the location"
    );
    let done = operate(&place, "prune", &["--keep", "1"]);
    assert!(done.stderr.contains("[4, 2]"), "{}", done.text());
    assert_eq!(data_objects(&place).len(), 1);
    let to = place.work().join("to");
    operate(&place, "export", &[to.to_str().unwrap()]);
    assert_eq!(fs::read(to).unwrap(), noise(2, 100_000));
}

#[test]
fn doctor_accepts_suitable_storage_and_leaves_no_files() {
    let place = Place::new();
    let outcome = operate(&place, "doctor", &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert_eq!(outcome.lines.len(), 5);
    assert!(outcome.lines.iter().all(|line| line.starts_with("yes ")));
    assert!(!place.store().exists());
    place.run("write=one");
    let before = tree(&place.store());
    assert_eq!(operate(&place, "doctor", &[]).code, Some(0));
    assert_eq!(tree(&place.store()), before);

    let server = Server::start();
    let url = "s3://bucket/task";
    let outcome = Cli::new(["doctor", url]).envs(server.env()).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
}

#[test]
fn every_command_can_print_one_json_object() {
    let place = Place::new();
    let (file, store) = (place.work().join("file"), place.store());
    let store = store.to_str().unwrap();
    fs::write(&file, noise(1, 100_000)).unwrap();
    let result = |verb: &str, args: &[&str]| {
        let outcome = operate(&place, verb, &[args, &["--json"]].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        assert_eq!(outcome.stderr, "", "all output must be in the object");
        let mut result = json(&outcome);
        // The time differs from run to run.
        if let Some(saved_at) = result.get_mut("saved_at") {
            assert!(saved_at.as_str().unwrap().ends_with('Z'), "{saved_at}");
            *saved_at = "then".into();
        }
        result
    };
    let import = |expected: u64| {
        let line = ["import", file.to_str().unwrap(), store, "--json"];
        let imported = json(&Cli::new(line).outcome());
        let uploaded = imported["uploaded_bytes"].as_u64().unwrap();
        assert!(uploaded > 0);
        let expected = serde_json::json!({
            "location": store,
            "sequence": expected,
            "logical_bytes": 100_000,
            "uploaded_bytes": uploaded,
        });
        assert_eq!(imported, expected);
    };
    import(2);
    fs::write(&file, noise(2, 100_000)).unwrap();
    import(4);

    let to = place.work().join("to");
    let exported = result("export", &[to.to_str().unwrap()]);
    let expected = serde_json::json!({
        "location": store,
        "target": to.to_str().unwrap(),
        "stored_in": format!("file://{}", place.store().canonicalize().unwrap().display()),
        "sequence": 4,
        "attempt": 0,
        "saved_at": "then",
        "files": 1,
        "logical_bytes": 100_000,
        "schema": null,
        "annotations": {},
        "damaged": [],
    });
    assert_eq!(exported, expected);

    let verified = result("verify", &[]);
    let expected = serde_json::json!({
        "location": store,
        "records": 4,
        "objects": 2,
        "object_bytes": verified["object_bytes"].as_u64().unwrap(),
        "whole_checkpoints": [2, 4],
        "findings": [],
    });
    assert_eq!(verified, expected);

    let pruned = |dry_run: bool, kept: u64| {
        serde_json::json!({
            "location": store,
            "dry_run": dry_run,
            "deleted": [2],
            "kept": [kept],
            "given_up": [],
        })
    };
    let plan = result("prune", &["--keep", "1", "--dry-run"]);
    assert_eq!(plan, pruned(true, 4));
    assert_eq!(result("prune", &["--keep", "1"]), pruned(false, 6));
    assert_eq!(
        result("ls", &[])["checkpoints"][0]["sequence"],
        serde_json::json!(6),
        "prune reports other checkpoints as kept than ls lists"
    );

    let doctor = result("doctor", &[]);
    assert_eq!(doctor["fit"], true);
    let probes = doctor["probes"].as_array().unwrap();
    assert!(probes.iter().all(|probe| probe["fault"].is_null()));
}

#[test]
fn annotations_of_a_checkpoint_are_listed() {
    let place = Place::new();
    place.run("schema=model/2=refuse annotate=step=7 write=one");
    let listed = json(&operate(&place, "ls", &["--json"]));
    assert_eq!(listed["checkpoints"][0]["schema"], "model/2");
    assert_eq!(listed["checkpoints"][0]["annotations"]["step"], "7");
    let shown = operate(&place, "show", &[]);
    let said = ["schema \"model/2\"", "annotation \"step\": \"7\""];
    assert_eq!(shown.lines[1..3], said, "{}", shown.text());
}

#[test]
fn a_location_that_does_not_exist_has_an_exit_code_of_its_own() {
    let place = Place::new();
    let target = place.work().join("target");
    let target = target.to_str().unwrap();
    let lines: [(&str, &[&str]); 8] = [
        ("ls", &[]),
        ("ls", &["--json"]),
        ("show", &[]),
        ("show", &["7"]),
        ("export", &[target]),
        ("verify", &[]),
        ("prune", &["--keep", "2"]),
        ("prune", &["--keep", "2", "--dry-run"]),
    ];
    for (verb, args) in lines {
        let outcome = operate(&place, verb, args);
        let error = outcome.failed(66);
        assert!(error.contains("no such location"), "{verb}: {error}");
        assert!(outcome.lines.is_empty(), "{}", outcome.text());
    }
    assert!(!place.store().exists(), "nothing is claimed");
    // A directory that holds something else is no location either.
    fs::create_dir_all(place.store().join("log")).unwrap();
    fs::write(place.store().join("notes"), "").unwrap();
    operate(&place, "ls", &[]).failed(66);

    let server = Server::start();
    for verb in ["ls", "verify", "show"] {
        let cli = Cli::new([verb, "s3://bucket/nowhere"]).envs(server.env());
        cli.outcome().failed(66);
    }
}

#[test]
fn listing_and_pruning_an_empty_location_do_nothing() {
    let place = Place::new();
    // It is claimed, and holds no checkpoint.
    place.run("read").printed(["read none"]);
    let before = tree(&place.store());
    let listed = json(&operate(&place, "ls", &["--json"]));
    assert_eq!(listed["checkpoints"], serde_json::json!([]));
    let pruned = json(&operate(&place, "prune", &["--keep", "2", "--json"]));
    assert_eq!(pruned["deleted"], serde_json::json!([]));
    assert_eq!(pruned["kept"], serde_json::json!([]));
    assert_eq!(operate(&place, "verify", &[]).code, Some(0));
    for (verb, args) in [("show", &[][..]), ("export", &["target"])] {
        let error = operate(&place, verb, args).failed(66);
        assert!(error.contains("no checkpoint"), "{error}");
    }
    assert_eq!(tree(&place.store()), before, "nothing is claimed");
}

#[test]
fn a_tree_that_cannot_be_saved_fences_nobody() {
    let place = Place::new();
    place.run("write=one");
    let before = tree(&place.store());
    let from = place.work().join("from");
    // After enough that is whole to make a data object.
    fs::create_dir_all(from.join("z")).unwrap();
    fs::write(from.join("a"), noise(1, 3 << 20)).unwrap();
    let pipe = from.join("z/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    import(&place, from.to_str().unwrap()).failed(1);
    fs::remove_file(&pipe).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&pipe).unwrap();
    import(&place, from.to_str().unwrap()).failed(1);
    drop(socket);
    fs::remove_file(&pipe).unwrap();
    let not_unicode = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    fs::write(from.join("z").join::<&std::ffi::OsStr>(not_unicode), "").unwrap();
    import(&place, from.to_str().unwrap()).failed(1);
    assert_eq!(tree(&place.store()), before);
}

#[test]
fn progress_is_shown_to_terminals_only() {
    let place = Place::new();
    let file = place.work().join("file");
    fs::write(&file, noise(1, 20 << 20)).unwrap();
    let imported = import(&place, file.to_str().unwrap());
    let to = place.work().join("to");
    let exported = operate(&place, "export", &[to.to_str().unwrap()]);
    for outcome in [imported, exported] {
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.text());
        assert!(!outcome.stderr.contains(['\r', '\u{1b}']));
    }
    assert_eq!(operate(&place, "verify", &[]).stderr, "");
}
