//! Finds imports that this program does not provide, and names what does. Compiling a component in Python or
//! JavaScript takes many seconds, so they are found before.

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{Parser, Payload, ValidPayload, Validator, WasmFeatures};

use crate::exit::{Code, failure};

/// The packages of WASI 0.2 that every task gets. WASI 0.3 has the same, without `io`.
const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// The interfaces of `task:checkpoint`, in versions 0.2 and 0.3.
const OURS: [&str; 5] = ["checkpointer", "files", "paths", "streams", "types"];

/// Whether this program was built with WASI 0.3.
const HAS_P3: bool = cfg!(feature = "p3");

/// Checks what a component in the binary format imports. With `p3`, WASI 0.3 is provided besides 0.2.
///
/// # Errors
/// With [`Code::UnknownImport`] if there is an import that is certainly not provided. The linker finds those that have a
/// name that is provided, and another type.
pub(crate) fn check(component: &[u8], p3: bool) -> anyhow::Result<()> {
    let missing: Vec<_> = needed(component)
        .iter()
        .filter_map(|name| Some(format!("{name} ({})", provider(name, p3)?)))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let names = missing.join("; ");
            let what = format!("it imports what wasm-checkpoint does not provide: {names}");
            Err(failure(Code::UnknownImport, what))
        }
    }
}

/// Returns the names of the imports that something must provide. Returns none if the component is invalid, which the
/// compiler reports. Does not look into functions, so it takes milliseconds.
fn needed(component: &[u8]) -> Vec<String> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut names = Vec::new();
    // The components and modules that have begun and not ended.
    let mut open = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else {
            break;
        };
        match &payload {
            Payload::Version { .. } => open += 1,
            Payload::ComponentImportSection(section) if open == 1 => {
                let imports = section.clone().into_iter().flatten();
                names.extend(imports.map(|import| import.name.name.to_owned()));
            }
            _ => {}
        }
        match validator.payload(&payload) {
            Ok(ValidPayload::End(types)) if open == 1 => {
                names.retain(|name| needs(&types, name));
                return names;
            }
            Ok(ValidPayload::End(_)) => open -= 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Vec::new()
}

/// Returns whether something must provide an import. An interface that only names types needs no provider.
fn needs(types: &Types, import: &str) -> bool {
    let item = types.as_ref().component_item_for_import(import);
    match item.map(|item| item.ty) {
        Some(ComponentEntityType::Instance(instance)) => {
            let mut exports = types[instance].exports.values();
            exports.any(|item| !matches!(item.ty, ComponentEntityType::Type { .. }))
        }
        Some(ComponentEntityType::Type { .. }) | None => false,
        Some(_) => true,
    }
}

/// Returns who provides an import; `None` if this program does.
fn provider(name: &str, p3: bool) -> Option<String> {
    const PLUG: &str = "plug in a component that exports it, e.g. with `wac plug`";
    let Some((package, rest)) = name.split_once('/') else {
        return Some(PLUG.into());
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    match package.split_once(':') {
        Some(("task", "checkpoint")) if is(version, "0.3") && !p3 && HAS_P3 => {
            Some("add `-S p3`, which is experimental, or build the task for version 0.2".into())
        }
        Some(("task", "checkpoint")) if !(is(version, "0.2") || p3 && is(version, "0.3")) => Some(
            "this program provides version 0.2; build the task with the WIT of this program".into(),
        ),
        Some(("task", "checkpoint")) if !OURS.contains(&interface) => {
            Some("build the task with the WIT of this program".into())
        }
        Some(("task", "checkpoint")) => None,
        Some(("wasi", package)) if WASI.contains(&package) && is(version, "0.2") => None,
        Some(("wasi", package)) if p3 && WASI.contains(&package) && is(version, "0.3") => None,
        Some(("wasi", package)) if WASI.contains(&package) && is(version, "0.3") && HAS_P3 => {
            Some("add `-S p3`, which is experimental, or build the task for WASI 0.2".into())
        }
        Some(("wasi", package)) if WASI.contains(&package) => {
            Some("this program provides WASI 0.2; build the task for it".into())
        }
        // What the stock command line provides by an option of the same name, in a version that may be another.
        Some(("wasi", package @ ("config" | "http" | "keyvalue" | "nn" | "tls"))) => Some(format!(
            "`wasm-checkpoint compose` the task, and run it with `wasmtime run -S {package}`"
        )),
        _ => Some(PLUG.into()),
    }
}

/// Returns whether a version is a release `minor.x`.
fn is(version: &str, minor: &str) -> bool {
    match version.strip_prefix(minor) {
        Some("") => true,
        Some(patch) => patch.starts_with('.') && patch[1..].parse::<u32>().is_ok(),
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_is_provided_is_not_reported() {
        for name in [
            "wasi:cli/environment@0.2.12",
            "wasi:sockets/tcp@0.2.0",
            "task:checkpoint/files@0.2.0",
        ] {
            assert_eq!(provider(name, false), None, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_reported_with_its_provider() {
        for (name, hint) in [
            ("wasi:http/types@0.2.12", "-S http"),
            ("wasi:cli/environment@0.3.0", "WASI 0.2"),
            ("wasi:cli/environment@0.4.0", "WASI 0.2"),
            ("wasi:cli/run@0.2.0-rc-2023-11-10", "WASI 0.2"),
            ("task:checkpoint/files@0.1.0", "version 0.2"),
            ("task:checkpoint/files@0.4.0", "version 0.2"),
            ("task:checkpoint/other@0.2.0", "WIT of this program"),
            ("my:package/interface", "wac plug"),
            ("log", "wac plug"),
        ] {
            let found = provider(name, false).unwrap();
            assert!(found.contains(hint), "{name}: {found}");
        }
    }

    #[test]
    fn wasi_0_3_is_provided_only_on_request() {
        for name in ["wasi:filesystem/types@0.3.0", "task:checkpoint/files@0.3.0"] {
            assert_eq!(provider(name, true), None);
            if HAS_P3 {
                assert!(provider(name, false).unwrap().contains("-S p3"));
            }
        }
        let other = provider("task:checkpoint/other@0.3.0", true);
        assert!(other.unwrap().contains("WIT of this program"));
        assert!(provider("wasi:http/types@0.3.0", true).is_some());
        assert!(provider("wasi:cli/environment@0.4.0", true).is_some());
    }

    #[test]
    fn every_missing_import_is_named() {
        let function = r#"(instance (export "f" (func)))"#;
        let component = wat::parse_str(format!(
            r#"(component
                (component (import "inner:package/interface" {function}))
                (core module (import "core" "func" (func)))
                (import "a:b/c@1.0.0" {function})
                (import "wasi:io/poll@0.2.0" {function})
                (import "plain" (func)))"#
        ));
        let error = check(&component.unwrap(), false).unwrap_err().to_string();
        for name in ["a:b/c@1.0.0", "plain"] {
            assert!(error.contains(name), "{error}");
        }
        for name in ["wasi:io", "inner:package", "core"] {
            assert!(!error.contains(name), "{error}");
        }
    }

    #[test]
    fn an_interface_of_types_alone_needs_no_provider() {
        let component = wat::parse_str(
            r#"(component
                (import "a:b/types" (instance
                    (type $t (record (field "x" u32)))
                    (export "t" (type (eq $t))))))"#,
        );
        check(&component.unwrap(), false).unwrap();
    }

    #[test]
    fn the_compiler_reports_what_is_invalid() {
        let component = wat::parse_str(r#"(component (import "plain" (func)))"#).unwrap();
        check(&component[..component.len() - 1], false).unwrap();
        check(b"", false).unwrap();
    }
}
