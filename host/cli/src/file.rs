//! The file of a task: a component in the binary or the text format, or compiled code.

use std::path::Path;

use wasmparser::{Parser, Payload};

use crate::exit::{Code, failure};

/// What a file contains.
pub(crate) enum TaskFile {
    /// A component in the binary format.
    Component(Vec<u8>),
    /// Compiled code, as `wasmtime compile` writes it.
    Compiled(Vec<u8>),
}

/// Reads the file of a task. A component in the text format is converted.
///
/// # Errors
/// With [`Code::NotComponent`] if the file cannot be read, or is neither a component nor compiled code.
pub(crate) fn open(path: &Path) -> anyhow::Result<TaskFile> {
    let name = path.display();
    let no_component = |what: String| failure(Code::NotComponent, what);
    let mut bytes = std::fs::read(path)
        .map_err(|error| no_component(format!("cannot read the task {name}: {error}")))?;
    if let Some(text) = text(&bytes) {
        bytes = wat::parse_str(text)
            .map_err(|error| no_component(format!("{name}: invalid text format: {error}")))?;
    }
    if wasmtime::Engine::detect_precompiled(&bytes).is_some() {
        return Ok(TaskFile::Compiled(bytes));
    }
    match bytes.get(..8) {
        Some(b"\0asm\x01\0\0\0") => Err(no_component(format!("{name}: {}", core_module(&bytes)))),
        Some([0, b'a', b's', b'm', ..]) => Ok(TaskFile::Component(bytes)),
        _ => Err(no_component(format!("{name}: not a WebAssembly component"))),
    }
}

/// Reads the file of a component that is composed, not run.
///
/// # Errors
/// With [`Code::NotComponent`] if the file cannot be read or is not a component.
#[cfg(feature = "compose")]
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    match open(path)? {
        TaskFile::Component(bytes) => Ok(bytes),
        TaskFile::Compiled(_) => Err(failure(
            Code::NotComponent,
            format!(
                "{}: compiled code cannot be composed; compose the component that it was compiled from",
                path.display()
            ),
        )),
    }
}

/// Returns the contents if they can be WebAssembly's text format, which begins with a parenthesis or a comment.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim_start().starts_with(['(', ';']).then_some(text)
}

/// Says how to make a component of a core module.
fn core_module(bytes: &[u8]) -> String {
    const WHAT: &str = "this is a core module, not a component; ";
    let Module {
        has_types,
        imports_preview1,
    } = Module::read(bytes);
    let adapt = match imports_preview1 {
        true => " --adapt wasi_snapshot_preview1.command.wasm",
        false => "",
    };
    let new = format!("`wasm-tools component new{adapt} MODULE -o TASK`");
    let adapter = match imports_preview1 {
        true => " (the adapter comes with wasmtime's releases and npm's @bytecodealliance/jco)",
        false => "",
    };
    match (has_types, imports_preview1) {
        (true, _) => {
            format!("{WHAT}it contains the types of a component, so convert it with {new}{adapter}")
        }
        (false, true) => format!(
            "{WHAT}it uses WASI preview 1. In Rust, build with --target wasm32-wasip2. Else add the types of the import \
             with `wasm-tools component embed --world program WIT MODULE`, and convert it with {new}{adapter}"
        ),
        (false, false) => format!(
            "{WHAT}in Rust, build with --target wasm32-wasip2. Else add its types with `wasm-tools component embed`, \
             and convert it with {new}"
        ),
    }
}

/// What a core module says about how it was built.
#[derive(Default)]
struct Module {
    /// Whether it contains the types of a component, as `wit-bindgen` and `wasm-tools component embed` add them.
    has_types: bool,
    imports_preview1: bool,
}

impl Module {
    /// Reads as much as is valid: this is for a message.
    fn read(bytes: &[u8]) -> Self {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Ok(Payload::ImportSection(imports)) => {
                    let mut imports = imports.into_imports().flatten();
                    module.imports_preview1 =
                        imports.any(|import| import.module == "wasi_snapshot_preview1");
                }
                Ok(Payload::CustomSection(section)) => {
                    module.has_types |= section.name().starts_with("component-type");
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        module
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn module(text: &str) -> String {
        core_module(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn the_message_for_a_core_module_depends_on_how_it_was_built() {
        let plain = module("(module)");
        assert!(plain.contains("wasm32-wasip2"), "{plain}");
        assert!(!plain.contains("--adapt"), "{plain}");

        let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
        let preview1 = module(&format!("(module {import})"));
        assert!(preview1.contains("component embed"), "{preview1}");
        assert!(preview1.contains("--adapt"), "{preview1}");

        let types = r#"(@custom "component-type:task" "")"#;
        let typed = module(&format!("(module {import} {types})"));
        assert!(!typed.contains("component embed"), "{typed}");
        assert!(typed.contains("--adapt"), "{typed}");
    }

    #[test]
    fn the_text_format_begins_with_a_parenthesis_or_a_comment() {
        assert!(text(b"\n (component)").is_some());
        assert!(text(b";; a comment\n(component)").is_some());
        for other in [&b""[..], b"hello", b"\0asm", b"(\xff"] {
            assert!(text(other).is_none(), "{other:?}");
        }
    }
}
