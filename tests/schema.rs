//! Tasks that change their schema, and tasks that save typed state.

use crate::support::cli::Host;
use crate::support::{Place, on_each_host};

on_each_host![
    a_changed_schema_is_refused_ignored_or_allowed_as_declared,
    typed_state_round_trips_and_rejects_other_types,
    whatever_is_given_comes_with_its_checkpoint,
];

fn a_changed_schema_is_refused_ignored_or_allowed_as_declared(host: Host) {
    let place = Place::on(host);
    place
        .run("schema=weights/1=refuse write=one")
        .printed(["schema declared", "write 2"]);
    let outcome = place.run("schema=weights/2=refuse prev-exists read resume");
    assert_eq!(outcome.lines[1..], ["error: schema-mismatch"; 3]);
    place
        .run("schema=weights/1=refuse read")
        .printed(["schema declared", "read \"one\""]);
    place
        .run("schema=weights/2=allow read")
        .printed(["schema declared", "read \"one\""]);
    place
        .run("schema=weights/2=start-fresh prev-exists read resume write=two read")
        .printed([
            "schema declared",
            "prev-exists false",
            "read none",
            "resume fresh",
            "write 7",
            "read \"two\"",
        ]);
    // Without a declaration, any checkpoint is returned.
    place.run("read").printed(["read \"two\""]);
}

fn whatever_is_given_comes_with_its_checkpoint(host: Host) {
    let place = Place::on(host);
    place
        .run("schema=weights/1=refuse annotate=step=1 write=one")
        .printed(["schema declared", "write 2"]);
    let verbs =
        "which which-stream which-restored=/data/file annotate=step=2 write=two which which-stream";
    let found = r#"2 of 0, [("step", "1")], weights/1"#;
    let own = r#"4 of 0, [("step", "2")], no schema"#;
    place.run(verbs).printed([
        format!("which {found}"),
        format!("which-stream {found}"),
        format!("which-restored {found}"),
        "write 4".into(),
        format!("which {own}"),
        format!("which-stream {own}"),
    ]);
}

fn typed_state_round_trips_and_rejects_other_types(host: Host) {
    let place = Place::on(host);
    place
        .run("load store=2 load")
        .printed(["load none", "store 2", "load step 2 with [0.5, 0.5]"]);
    place.run("load").printed(["load step 2 with [0.5, 0.5]"]);
    let outcome = place.run("write=other load");
    assert_eq!(outcome.lines[1], "error: schema-mismatch");
}
