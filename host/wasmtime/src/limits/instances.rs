//! The size of a component's instances, from its file.
//!
//! Wasmtime allocates the globals, function references and element segments of an instance without asking the
//! store's limiter. It also resolves nested instantiations when it compiles, so a few hundred bytes that
//! instantiate each other would make it work for hours. So this counts before anything is compiled, without
//! recursion, and never less than what is allocated. Modules and components that a component receives from
//! outside cannot be counted, so they exceed every limit; no compiler produces such components.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, ElementKind, ExternalKind, Instance, Parser, Payload, TypeRef,
};

/// What an instance of any module takes.
const INSTANCE_BYTES: u64 = 1024;
/// A function: what an import takes, and a reference to it. Not every function has one.
const FUNCTION_BYTES: u64 = 64;
const GLOBAL_BYTES: u64 = 32;
/// A memory, table or tag, without its contents.
const ITEM_BYTES: u64 = 64;
/// An element of a segment, which each instance holds until it is dropped.
const ELEMENT_BYTES: u64 = 16;
/// A segment.
const SEGMENT_BYTES: u64 = 80;
/// A function or a resource that a component defines for its modules.
const CANONICAL_BYTES: u64 = 128;

/// The instances of a module or component, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) instances: u64,
    pub(super) bytes: u64,
}

impl Size {
    /// More than any limit permits.
    const UNKNOWN: Self = Self {
        instances: u64::MAX,
        bytes: u64::MAX,
    };

    fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn add_bytes(&mut self, count: u64, each: u64) {
        self.bytes = self.bytes.saturating_add(count.saturating_mul(each));
    }
}

/// A module or component that is being read.
#[derive(Default)]
struct Scope {
    is_module: bool,
    /// What an instance of it takes, with all instances that it makes.
    size: Size,
    modules: Vec<Size>,
    components: Vec<Size>,
}

/// Returns the size of an instance of a component. Of an invalid component, counts what comes before the error;
/// compiling it reports that.
pub(super) fn measure(component: &[u8]) -> Size {
    // Wasmtime may accept the text format, of which nothing is known here.
    if !component.starts_with(b"\0asm") {
        return Size::UNKNOWN;
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        // What follows an error is never compiled.
        let Ok(payload) = payload else {
            break;
        };
        match payload {
            Payload::Version { encoding, .. } => {
                let mut scope = Scope {
                    is_module: encoding == wasmparser::Encoding::Module,
                    ..Scope::default()
                };
                if scope.is_module {
                    scope.size = Size {
                        instances: 1,
                        bytes: INSTANCE_BYTES,
                    };
                }
                scopes.push(scope);
            }
            Payload::End(_) => {
                let Some(ended) = scopes.pop() else {
                    break;
                };
                let Some(outer) = scopes.last_mut() else {
                    return ended.size;
                };
                match ended.is_module {
                    true => outer.modules.push(ended.size),
                    false => outer.components.push(ended.size),
                }
            }
            payload => {
                if read(&mut scopes, payload).is_err() {
                    break;
                }
            }
        }
    }
    // An incomplete file: count what was read of it.
    scopes.first().map_or(Size::default(), |scope| scope.size)
}

fn read(scopes: &mut [Scope], payload: Payload<'_>) -> wasmparser::Result<()> {
    let Some((scope, outer)) = scopes.split_last_mut() else {
        return Ok(());
    };
    match payload {
        Payload::ImportSection(imports) => {
            for import in imports.into_imports() {
                let each = match import?.ty {
                    TypeRef::Func(_) | TypeRef::FuncExact(_) => FUNCTION_BYTES,
                    TypeRef::Global(_) => GLOBAL_BYTES,
                    TypeRef::Memory(_) | TypeRef::Table(_) | TypeRef::Tag(_) => ITEM_BYTES,
                };
                scope.size.add_bytes(1, each);
            }
        }
        Payload::FunctionSection(functions) => {
            scope
                .size
                .add_bytes(functions.count().into(), FUNCTION_BYTES);
        }
        Payload::GlobalSection(globals) => {
            scope.size.add_bytes(globals.count().into(), GLOBAL_BYTES);
        }
        Payload::TableSection(tables) => scope.size.add_bytes(tables.count().into(), ITEM_BYTES),
        Payload::MemorySection(memories) => {
            scope.size.add_bytes(memories.count().into(), ITEM_BYTES);
        }
        Payload::TagSection(tags) => scope.size.add_bytes(tags.count().into(), ITEM_BYTES),
        Payload::DataSection(data) => scope.size.add_bytes(data.count().into(), SEGMENT_BYTES),
        Payload::ElementSection(segments) => {
            for segment in segments {
                let segment = segment?;
                let count = match segment.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                };
                scope.size.add_bytes(1, SEGMENT_BYTES);
                // An active segment is dropped once it is written to its table.
                if !matches!(segment.kind, ElementKind::Active { .. }) {
                    scope.size.add_bytes(count.into(), ELEMENT_BYTES);
                }
            }
        }
        Payload::InstanceSection(instances) => {
            for instance in instances {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    let made = scope.modules.get(module_index as usize).copied();
                    scope.size.add(made.unwrap_or(Size::UNKNOWN));
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances {
                if let ComponentInstance::Instantiate {
                    component_index, ..
                } = instance?
                {
                    let made = scope.components.get(component_index as usize).copied();
                    let mut made = made.unwrap_or(Size::UNKNOWN);
                    made.add_bytes(1, INSTANCE_BYTES);
                    // An instance of an empty component is work for the compiler too.
                    made.instances = made.instances.max(1);
                    scope.size.add(made);
                }
            }
        }
        Payload::ComponentCanonicalSection(functions) => {
            scope
                .size
                .add_bytes(functions.count().into(), CANONICAL_BYTES);
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports {
                // Whoever instantiates this chooses them, so nothing bounds them here.
                match import?.ty {
                    ComponentTypeRef::Module(_) => scope.modules.push(Size::UNKNOWN),
                    ComponentTypeRef::Component(_) => scope.components.push(Size::UNKNOWN),
                    _ => {}
                }
            }
        }
        // An export is a new item of its kind.
        Payload::ComponentExportSection(exports) => {
            for export in exports {
                let export = export?;
                let index = export.index as usize;
                match export.kind {
                    ComponentExternalKind::Module => {
                        let size = scope.modules.get(index).copied();
                        scope.modules.push(size.unwrap_or(Size::UNKNOWN));
                    }
                    ComponentExternalKind::Component => {
                        let size = scope.components.get(index).copied();
                        scope.components.push(size.unwrap_or(Size::UNKNOWN));
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases {
                read_alias(scope, outer, alias?);
            }
        }
        _ => {}
    }
    Ok(())
}

fn read_alias(scope: &mut Scope, outer: &[Scope], alias: ComponentAlias<'_>) {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => match kind {
            ComponentExternalKind::Module => scope.modules.push(Size::UNKNOWN),
            ComponentExternalKind::Component => scope.components.push(Size::UNKNOWN),
            _ => {}
        },
        ComponentAlias::Outer { kind, count, index } => {
            let found = |of: fn(&Scope) -> &Vec<Size>, this: &Scope| {
                let distance = count as usize;
                let scope = match distance {
                    0 => Some(this),
                    _ => outer
                        .len()
                        .checked_sub(distance)
                        .and_then(|at| outer.get(at)),
                };
                let size = scope.and_then(|scope| of(scope).get(index as usize));
                size.copied().unwrap_or(Size::UNKNOWN)
            };
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let size = found(|scope| &scope.modules, scope);
                    scope.modules.push(size);
                }
                ComponentOuterAliasKind::Component => {
                    let size = found(|scope| &scope.components, scope);
                    scope.components.push(size);
                }
                _ => {}
            }
        }
        ComponentAlias::CoreInstanceExport { kind, .. } => match kind {
            ExternalKind::Func | ExternalKind::FuncExact => {
                scope.size.add_bytes(1, FUNCTION_BYTES);
            }
            _ => {}
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        measure(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn a_program_as_compilers_produce_it_is_small() {
        let size = size(
            r#"(component
                (core module $main (memory (export "memory") 17) (global i32 (i32.const 0))
                    (table 2 funcref) (elem (i32.const 0) func $f $f) (func $f))
                (core module $shim (func))
                (core instance (instantiate $main))
                (core instance (instantiate $shim)))"#,
        );
        assert_eq!(size.instances, 2);
        assert!(size.bytes < 4096, "{size:?}");
    }

    #[test]
    fn instances_of_instances_are_multiplied() {
        let mut nested = String::from("(component $c0 (core module $m (func)) ");
        nested.push_str(&"(core instance (instantiate $m))".repeat(10));
        nested.push(')');
        for level in 1..20 {
            let inner = level - 1;
            let instances = format!("(instance (instantiate $c{inner}))").repeat(10);
            nested.push_str(&format!(
                "(component $c{level} (alias outer 1 $c{inner} (component $c{inner})) {instances})"
            ));
        }
        let made = |level| {
            size(&format!(
                "(component {nested} (instance (instantiate $c{level})))"
            ))
        };
        assert_eq!(made(3).instances, 10_000);
        assert_eq!(made(19).instances, u64::MAX, "it saturates");
    }

    #[test]
    fn globals_and_elements_count_for_every_instance() {
        let globals = "(global i64 (i64.const 1))".repeat(1000);
        let elements = "$f ".repeat(1000);
        let text = format!(
            "(component (core module $m {globals} (func $f) (elem func {elements}))
                (core instance (instantiate $m)) (core instance (instantiate $m)))"
        );
        assert!(
            size(&text).bytes >= 2 * 1000 * (16 + 16),
            "{:?}",
            size(&text)
        );
    }

    #[test]
    fn the_text_format_is_not_counted() {
        assert_eq!(measure(b"(component)"), Size::UNKNOWN);
        assert_eq!(size("(component)"), Size::default());
    }

    #[test]
    fn an_exported_module_keeps_its_size() {
        let size = size(
            r#"(component
                (component $c (core module $m (func)) (export $e "m" (core module $m))
                    (core instance (instantiate $e)))
                (instance (instantiate $c)))"#,
        );
        assert_eq!(size.instances, 1);
    }

    #[test]
    fn what_comes_from_outside_exceeds_every_limit() {
        for text in [
            r#"(component (component $c (import "m" (core module $m)) (core instance (instantiate $m)))
                (core module $m) (instance (instantiate $c (with "m" (core module $m)))))"#,
            r#"(component (component $c (import "c" (component $d)) (instance (instantiate $d)))
                (component $d) (instance (instantiate $c (with "c" (component $d)))))"#,
        ] {
            assert_eq!(size(text).instances, u64::MAX, "{text}");
        }
    }
}
