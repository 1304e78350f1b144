//! What `run` takes: components in the binary and the text format, with the async ABI, and compiled code.

use std::fs;

use crate::support::Place;
#[cfg(target_os = "linux")]
use crate::support::cli::Cli;
use crate::support::cli::guest;
use wasmtime::{Config, Engine};

const NO_COMPONENT: i32 = 121;
const UNKNOWN_IMPORT: i32 = 122;
const TIMED_OUT: i32 = 124;

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

/// Wasmtime reserves more than this for the task's memory.
#[cfg(target_os = "linux")]
const ADDRESS_SPACE: u32 = 4 << 20;

#[cfg(target_os = "linux")]
#[test]
fn a_system_that_refuses_memory_is_not_called_a_trap_of_the_task() {
    let place = Place::new();
    let store = place.store();
    let options = ["--store".as_ref(), store.as_os_str()];
    let outcome = Cli::run_within(ADDRESS_SPACE, options)
        .verbs("read")
        .outcome();
    let error = outcome.failed(1);
    assert!(error.contains("the task cannot run here"), "{error}");
    assert!(error.contains("os error 12"), "{error}");
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

/// A command of WASI 0.3 that asks it for the time and `task:checkpoint` for advice. `body` follows.
fn p3_command(body: &str) -> String {
    format!(
        r#"(component
            (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
                (export "now" (func (result u64)))))
            (import "task:checkpoint/checkpointer@0.2.0" (instance $checkpointer
                (export "save-due" (func (result bool)))))
            (core func $now (canon lower (func $clock "now")))
            (core func $due (canon lower (func $checkpointer "save-due")))
            (core instance $host (export "now" (func $now)) (export "due" (func $due)))
            (core module $m
                (import "host" "now" (func $now (result i64)))
                (import "host" "due" (func $due (result i32)))
                (func (export "run") (result i32)
                    (if (i64.eqz (call $now)) (then unreachable))
                    (drop (call $due))
                    {body}
                    i32.const 0))
            (core instance $core (instantiate $m (with "host" (instance $host))))
            (func $run async (result (result)) (canon lift (core func $core "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.3.0" (instance $command)))"#
    )
}

#[test]
fn a_command_of_wasi_0_3_runs_only_on_request() {
    let place = Place::new();
    let error = fails(&place, UNKNOWN_IMPORT, "task.wat", p3_command(""));
    assert!(
        error.contains("wasi:clocks/monotonic-clock@0.3.0"),
        "{error}"
    );
    assert!(error.contains("-S p3"), "{error}");
    let run = RUN.replace("run@0.2.0", "run@0.3.0");
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $core (instantiate $m))
            {run})"#
    );
    let error = fails(&place, NO_COMPONENT, "bare.wat", text);
    assert!(error.contains("wasi:cli/run@0.3.0"), "{error}");
    assert!(error.contains("-S p3"), "{error}");
    assert!(!place.store().exists());

    let path = place.work().join("task.wat");
    let outcome = place.cli().options(["-S", "p3"]).task(&path, [""; 0]);
    let outcome = outcome.outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
}

#[test]
fn a_command_of_wasi_0_3_ends_at_the_timeout() {
    let place = Place::new();
    let path = place.work().join("task.wat");
    fs::write(&path, p3_command("(loop (br 0))")).unwrap();
    let cli = place.cli().options(["-S", "p3", "--timeout", "200ms"]);
    let outcome = cli.task(&path, [""; 0]).outcome();
    assert_eq!(outcome.code, Some(TIMED_OUT), "{}", outcome.text());
}

/// A task of WASI 0.2 does not notice.
#[test]
fn a_command_of_wasi_0_2_runs_with_wasi_0_3_beside_it() {
    let place = Place::new();
    let cli = place.cli().options(["-S", "p3"]);
    cli.verbs("file=/data/x=text save=/data/x read")
        .outcome()
        .printed(["file made", "save 2", "read \"text\""]);
}

#[test]
fn an_unknown_part_of_wasi_is_refused() {
    let place = Place::new();
    let path = place.work().join("task.wat");
    fs::write(&path, p3_command("")).unwrap();
    let outcome = place.cli().options(["-S", "http"]).task(&path, [""; 0]);
    let error = outcome.outcome();
    assert_eq!(error.code, Some(2), "{}", error.text());
    let error = error.stderr;
    assert!(error.contains("p3"), "{error}");
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
