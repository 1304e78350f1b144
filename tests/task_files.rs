//! What `run` takes: components in the binary and the text format, with the async ABI, and compiled code.

use std::fs;

use crate::support::Place;
use crate::support::cli::guest;
use wasmtime::{Config, Engine};

const NO_COMPONENT: i32 = 121;
const UNKNOWN_IMPORT: i32 = 122;

/// Exports `wasi:cli/run` from the function `run` of the instance `$core`.
const RUN: &str = r#"
    (func $run (result (result)) (canon lift (core func $core "run")))
    (instance $command (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $command))"#;

fn succeeds(place: &Place, name: &str, text: &str) {
    let path = place.work().join(name);
    fs::write(&path, text).unwrap();
    let outcome = place.cli().task(&path, [""; 0]).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
}

fn fails(place: &Place, code: i32, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = place.work().join(name);
    fs::write(&path, contents).unwrap();
    place.cli().task(&path, [""; 0]).outcome().failed(code)
}

#[test]
fn a_component_in_the_text_format_runs() {
    let place = Place::new();
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $core (instantiate $m))
            {RUN})"#
    );
    succeeds(&place, "task.wat", &text);
    succeeds(&place, "commented.wat", &format!("\n;; a task\n{text}"));
}

#[test]
fn a_mistake_in_the_text_format_is_located() {
    let place = Place::new();
    let error = fails(&place, NO_COMPONENT, "task.wat", "(component\n  (wrong))");
    assert!(error.contains("task.wat"), "{error}");
    assert!(error.contains("2:4"), "{error}");
}

#[test]
fn a_component_that_uses_the_async_abi_runs() {
    let text = format!(
        r#"(component
            (core func $new (canon waitable-set.new))
            (core func $drop (canon waitable-set.drop))
            (core instance $abi (export "new" (func $new)) (export "drop" (func $drop)))
            (core module $m
                (import "abi" "new" (func $new (result i32)))
                (import "abi" "drop" (func $drop (param i32)))
                (func (export "run") (result i32) (call $drop (call $new)) i32.const 0))
            (core instance $core (instantiate $m (with "abi" (instance $abi))))
            {RUN})"#
    );
    succeeds(&Place::new(), "task.wat", &text);
}

#[test]
fn the_async_abi_is_bounded_by_the_limit_of_handles() {
    let place = Place::new();
    let text = format!(
        r#"(component
            (core func $new (canon waitable-set.new))
            (core instance $abi (export "new" (func $new)))
            (core module $m
                (import "abi" "new" (func $new (result i32)))
                (func (export "run") (result i32) (loop (drop (call $new)) (br 0)) i32.const 0))
            (core instance $core (instantiate $m (with "abi" (instance $abi))))
            {RUN})"#
    );
    let path = place.work().join("task.wat");
    fs::write(&path, text).unwrap();
    let outcome = place.cli().task(&path, [""; 0]).outcome();
    outcome.trapped();
    assert!(
        outcome.text().contains("--max-handles"),
        "{}",
        outcome.text()
    );
}

#[test]
fn missing_imports_are_found_before_compiling() {
    let place = Place::new();
    // The compiler would refuse the module.
    let text = r#"(component
        (import "wasi:http/types@0.2.12" (instance (export "f" (func))))
        (import "other:package/interface" (instance (export "f" (func))))
        (core module (func (result i32))))"#;
    let error = fails(&place, UNKNOWN_IMPORT, "task.wat", text);
    assert!(error.contains("wasi:http/types@0.2.12"), "{error}");
    assert!(error.contains("wasmtime run -S http"), "{error}");
    assert!(error.contains("other:package/interface"), "{error}");
    assert!(!place.store().exists());
}

#[test]
fn a_command_of_another_version_of_wasi_is_named() {
    let run = RUN.replace("run@0.2.0", "run@0.3.0");
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $core (instantiate $m))
            {run})"#
    );
    let error = fails(&Place::new(), NO_COMPONENT, "task.wat", text);
    assert!(error.contains("wasi:cli/run@0.3.0"), "{error}");
    assert!(error.contains("WASI 0.2"), "{error}");
}

#[test]
fn a_core_module_is_refused_with_how_to_make_a_component() {
    let error = fails(&Place::new(), NO_COMPONENT, "task.wat", "(module)");
    assert!(error.contains("core module"), "{error}");
    assert!(error.contains("wasm-tools component new"), "{error}");
}

/// Returns what `wasmtime compile` makes of a guest.
fn compiled(config: &mut Config) -> Vec<u8> {
    let engine = Engine::new(config).unwrap();
    let component = fs::read(guest("verbs")).unwrap();
    engine.precompile_component(&component).unwrap()
}

#[test]
fn compiled_code_runs_only_if_it_is_allowed() {
    let place = Place::new();
    let code = compiled(Config::new().epoch_interruption(true));
    let error = fails(&place, NO_COMPONENT, "task.cwasm", &code);
    assert!(error.contains("--allow-precompiled"), "{error}");
    assert!(!place.store().exists());

    let path = place.work().join("task.cwasm");
    let allowed = place.cli().options(["--allow-precompiled"]);
    let outcome = allowed.task(&path, ["write=one"]).outcome();
    outcome.printed(["write 2"]);
    place.run("read").printed(["read \"one\""]);
}

#[test]
fn compiled_code_of_other_settings_is_refused() {
    let place = Place::new();
    let path = place.work().join("task.cwasm");
    fs::write(&path, compiled(&mut Config::new())).unwrap();
    let allowed = place.cli().options(["--allow-precompiled"]);
    let error = allowed.task(&path, ["read"]).outcome().failed(NO_COMPONENT);
    assert!(error.contains("epoch-interruption"), "{error}");
    assert!(!place.store().exists());
}
