//! The guarantees of the interfaces `files` and `paths`, through the command line.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::cli::Host;
use crate::support::{Place, on_each_host, tree};

on_each_host![
    a_restored_directory_equals_the_saved_one,
    many_files_round_trip,
    a_path_is_resolved_against_the_directories_of_the_task,
    a_descriptor_and_a_path_save_and_restore_the_same,
    restoring_over_other_content_is_refused,
    restoring_over_other_content_replaces_it_on_request,
    a_second_restore_is_a_no_op_with_the_same_result,
    a_restored_directory_that_was_deleted_is_restored_again,
    restoring_without_a_checkpoint_leaves_the_target_alone,
    a_saved_file_replaces_the_one_before_it,
    a_deleted_file_does_not_stay_in_the_checkpoint,
    a_file_can_replace_a_directory_and_vice_versa,
    a_path_inside_a_saved_directory_may_change_its_type,
    saving_a_missing_path_is_an_error_and_stores_nothing,
    no_path_escapes_the_directories_of_the_task,
    a_link_in_a_checkpoint_is_not_followed_when_it_is_restored,
    an_interrupted_restore_is_completed_by_the_next,
];

fn a_restored_directory_equals_the_saved_one(host: Host) {
    let place = Place::on(host);
    let model = place.work().join("model");
    for dir in ["empty", "deep/er/still", "dir ?[*"] {
        fs::create_dir_all(model.join(dir)).unwrap();
    }
    let names = [
        "a?b",
        "a[b]",
        "*",
        "-rf",
        "ä ö 漢字 🦀",
        " ",
        "a\\b",
        "a:b",
        "new\nline",
        ".hidden",
        "_dst_cp",
        "%2F",
        "deep/er/still/file",
        "dir ?[*/x",
    ];
    for name in names {
        fs::write(model.join(name), name).unwrap();
    }
    fs::write(model.join("nothing in it"), "").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for (name, mode) in [("run.sh", 0o755), ("secret", 0o600), ("read only", 0o444)] {
        let path = model.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(old).unwrap();
        // WASI does not expose permission bits.
        if host == Host::Native {
            let mode = fs::Permissions::from_mode(mode);
            file.set_permissions(mode).unwrap();
        }
    }
    if host == Host::Native {
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(model.join("empty"), mode).unwrap();
    }
    symlink("deep/er", model.join("link to a directory")).unwrap();
    symlink("run.sh", model.join("link to a file")).unwrap();
    symlink("nowhere", model.join("dangling")).unwrap();
    symlink("../../outside", model.join("outward")).unwrap();

    place.run("save=/data/model").printed(["save 2"]);
    place.run("restore=/data/again").printed(["restore 2"]);
    assert_eq!(tree(&place.work().join("again")), tree(&model));
}

fn many_files_round_trip(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=1000 save=/data/model restore=/data/again")
        .printed(["files made", "save 2", "restore 2"]);
    let again = tree(&place.work().join("again"));
    assert_eq!(again.len(), 1000);
    assert_eq!(again, tree(&place.work().join("model")));
}

fn a_path_is_resolved_against_the_directories_of_the_task(host: Host) {
    let place = Place::on(host);
    let (outer, inner) = (place.work().join("outer"), place.work().join("inner"));
    for dir in [&outer, &inner] {
        fs::create_dir(dir).unwrap();
    }
    let cli = place.cli().dir(&outer, ".").dir(&inner, "/deep/er");
    cli.verbs(
        "file=state=x save=state restore=./copies/a restore=/copies/b restore=deep/er/c restore=/deep/er/./d \
         restore=/data/e",
    )
    .outcome()
    .printed([
        "file made",
        "save 2",
        "restore 2",
        "restore 2",
        "restore 2",
        "restore 2",
        "restore 2",
    ]);
    let restored = [
        outer.join("copies/a"),
        outer.join("copies/b"),
        inner.join("c"),
        inner.join("d"),
        place.work().join("e"),
    ];
    for path in restored {
        assert_eq!(fs::read_to_string(&path).unwrap(), "x", "{path:?}");
    }
    // Only `/data` is given here.
    for path in [
        "",
        "/",
        "state",
        "/database/x",
        "/data/../x",
        "/data/e/../../x",
        "../x",
        // The checkpoint is one file.
        "/data/x/",
        "/data/x/.",
    ] {
        for verb in ["save", "restore", "restore-replacing", "save-in-background"] {
            place
                .run(&format!("{verb}={path}"))
                .printed(["error: invalid-path"]);
        }
    }
}

fn a_descriptor_and_a_path_save_and_restore_the_same(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=3 save-at=model restore=/data/a save=/data/model restore-at=b")
        .printed([
            "files made",
            "save-at 2",
            "restore 2",
            "save 3",
            "restore-at 3",
        ]);
    let saved = tree(&place.work().join("model"));
    assert_eq!(tree(&place.work().join("a")), saved);
    assert_eq!(tree(&place.work().join("b")), saved);
    // An empty path is the directory of the descriptor.
    place
        .run("save-at= restore=/data/model/all")
        .printed(["save-at 5", "restore 5"]);
    assert!(place.work().join("model/all/model").is_dir());
}

fn restoring_over_other_content_is_refused(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=2 save=/data/model")
        .printed(["files made", "save 2"]);
    fs::create_dir(place.work().join("full")).unwrap();
    fs::write(place.work().join("full/mine"), "mine").unwrap();
    let before = tree(&place.work());
    place
        .run("restore=/data/full")
        .printed(["error: invalid-path"]);
    assert_eq!(tree(&place.work()), before);
}

fn restoring_over_other_content_replaces_it_on_request(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=2 save=/data/model")
        .printed(["files made", "save 2"]);
    fs::create_dir_all(place.work().join("full/00001/deep")).unwrap();
    fs::write(place.work().join("full/mine"), "mine").unwrap();
    place
        .run("restore-replacing=/data/full")
        .printed(["restore-replacing 2"]);
    assert_eq!(
        tree(&place.work().join("full")),
        tree(&place.work().join("model"))
    );
}

fn a_second_restore_is_a_no_op_with_the_same_result(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=3 save=/data/model")
        .printed(["files made", "save 2"]);
    place.run("restore=/data/again").printed(["restore 2"]);
    let inodes = || {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(place.work().join("again")).unwrap();
        let mut inodes: Vec<_> = entries
            .map(|e| e.unwrap().metadata().unwrap().ino())
            .collect();
        inodes.sort();
        inodes
    };
    let before = inodes();
    place
        .run("restore=/data/again restore=/data/again")
        .printed(["restore 2", "restore 2"]);
    assert_eq!(inodes(), before);
}

fn a_restored_directory_that_was_deleted_is_restored_again(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=3 save=/data/model")
        .printed(["files made", "save 2"]);
    place
        .run("restore=/data/again remove=/data/again restore=/data/again restore=/data/other")
        .printed(["restore 2", "remove done", "restore 2", "restore 2"]);
    let model = tree(&place.work().join("model"));
    assert_eq!(tree(&place.work().join("again")), model);
    assert_eq!(tree(&place.work().join("other")), model);
}

fn restoring_without_a_checkpoint_leaves_the_target_alone(host: Host) {
    let place = Place::on(host);
    place.run("restore=/data/target").printed(["restore none"]);
    assert!(tree(&place.work()).is_empty());
}

fn a_saved_file_replaces_the_one_before_it(host: Host) {
    let place = Place::on(host);
    place
        .run("file=/data/a=one save=/data/a file=/data/b=two save=/data/b read")
        .printed(["file made", "save 2", "file made", "save 3", "read \"two\""]);
    place
        .run("read restore=/data/c")
        .printed(["read \"two\"", "restore 3"]);
    assert_eq!(fs::read(place.work().join("c")).unwrap(), b"two");
}

fn a_deleted_file_does_not_stay_in_the_checkpoint(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=3 save=/data/model remove=/data/model/00001 save=/data/model")
        .printed(["files made", "save 2", "remove done", "save 3"]);
    place.run("restore=/data/again").printed(["restore 3"]);
    let again = tree(&place.work().join("again"));
    assert_eq!(again.keys().collect::<Vec<_>>(), ["00000", "00002"]);
}

fn a_file_can_replace_a_directory_and_vice_versa(host: Host) {
    let place = Place::on(host);
    place
        .run("file=/data/f=one save=/data/f files=/data/d=2 save=/data/d restore=/data/d2")
        .printed(["file made", "save 2", "files made", "save 3", "restore 3"]);
    assert_eq!(
        tree(&place.work().join("d2")),
        tree(&place.work().join("d"))
    );
    place.run("save=/data/f restore=/data/f2 read").printed([
        "save 5",
        "restore 5",
        "read \"one\"",
    ]);
    assert_eq!(fs::read(place.work().join("f2")).unwrap(), b"one");
}

fn a_path_inside_a_saved_directory_may_change_its_type(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model/x=1 save=/data/model remove=/data/model/x file=/data/model/x=file save=/data/model")
        .printed(["files made", "save 2", "remove done", "file made", "save 3"]);
    place.run("restore=/data/again").printed(["restore 3"]);
    assert_eq!(fs::read(place.work().join("again/x")).unwrap(), b"file");
}

fn saving_a_missing_path_is_an_error_and_stores_nothing(host: Host) {
    let place = Place::on(host);
    place.run("save=/data/missing prev-exists read").printed([
        "error: invalid-path",
        "prev-exists false",
        "read none",
    ]);
    place.run("write=one save=/data/missing read").printed([
        "write 3",
        "error: invalid-path",
        "read \"one\"",
    ]);
    assert!(!place.store().join("data").exists());
}

fn no_path_escapes_the_directories_of_the_task(host: Host) {
    let place = Place::on(host);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), place.work().join("absolute")).unwrap();
    let climb =
        Path::new("../../../../../../../..").join(outside.path().strip_prefix("/").unwrap());
    symlink(&climb, place.work().join("relative")).unwrap();
    let dots = format!("/data/{}", climb.display());
    let paths = [
        outside.path().to_str().unwrap().to_owned(),
        dots,
        "/data/..".into(),
        "/data/../../etc".into(),
        "/".into(),
        "/etc".into(),
        "/data/absolute".into(),
        "/data/relative".into(),
    ];
    for path in paths {
        for verbs in [
            format!("save={path}/secret"),
            format!("write=x restore={path}/target"),
            format!("restore-replacing={path}/secret"),
        ] {
            let outcome = place.run(&verbs);
            let last = outcome.lines.last().map(String::as_str);
            assert_eq!(
                last,
                Some("error: invalid-path"),
                "{verbs}: {}",
                outcome.text()
            );
        }
    }
    let left = tree(outside.path());
    assert_eq!(left.keys().collect::<Vec<_>>(), ["secret"]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

fn a_link_in_a_checkpoint_is_not_followed_when_it_is_restored(host: Host) {
    let place = Place::on(host);
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(place.work().join("model")).unwrap();
    symlink(outside.path(), place.work().join("model/link")).unwrap();
    let outcome = place.run("save=/data/model restore=/data/again");
    // WASI has no absolute links, so a restore may leave them out, but must not follow them.
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    let again = place.work().join("again/link");
    assert!(!again.exists() || again.is_symlink(), "{}", outcome.text());
    assert!(tree(outside.path()).is_empty());
}

fn an_interrupted_restore_is_completed_by_the_next(host: Host) {
    let place = Place::on(host);
    place
        .run("files=/data/model=300 save=/data/model")
        .printed(["files made", "save 2"]);
    // An interrupted restore leaves this marker.
    let again = place.work().join("again");
    fs::create_dir(&again).unwrap();
    fs::write(again.join(".task-checkpoint-restoring"), "").unwrap();
    fs::write(again.join("00000"), "half").unwrap();
    place.run("restore=/data/again").printed(["restore 2"]);
    assert_eq!(tree(&again), tree(&place.work().join("model")));
}
