//! Plugs the import into a task, as a component.

use std::io::{self, Read};

use anyhow::Context;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeKind, PackageId, PlugError};

use crate::exit::{Code, failure};

/// The components, which the build script has compressed: each after its size, in the order of [`Plug`].
const COMPONENTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/components.zst"));

/// A component that is plugged into a task.
#[derive(Clone, Copy, Debug)]
enum Plug {
    /// The import over WASI 0.2, with directories only.
    Local,
    /// The import with S3 as well, over `wasi:http`.
    S3,
    /// The same two with version 0.3 as well, which need a host with WASI 0.3.
    LocalP3,
    S3P3,
}

impl Plug {
    fn bytes(self) -> io::Result<Vec<u8>> {
        let mut components = zstd::Decoder::new(COMPONENTS)?;
        for _ in 0..self as usize {
            let mut other = sized(&mut components)?;
            io::copy(&mut other, &mut io::sink())?;
        }
        let mut bytes = Vec::new();
        sized(&mut components)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Returns the next component.
fn sized<R: Read>(mut components: R) -> io::Result<io::Take<R>> {
    let mut size = [0; 8];
    components.read_exact(&mut size)?;
    Ok(components.take(u64::from_le_bytes(size)))
}

/// The prefix of the imports that are plugged.
const OURS: &str = "task:checkpoint/";

/// Imports through which a task could see the directory of its checkpoints, or the credentials.
const SEEING: [&str; 2] = ["wasi:cli/environment", "wasi:filesystem/preopens"];

/// The import that only the native host provides. It takes descriptors of WASI 0.3, which the component does not
/// understand.
const NATIVE: &str = "task:checkpoint/files@0.3.";

/// The storage that a composed task can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Directories,
    S3,
}

/// A task with the import plugged in.
pub(crate) struct Composed {
    /// The component.
    pub(crate) bytes: Vec<u8>,
    /// Whether it needs a host with WASI 0.3.
    pub(crate) needs_p3: bool,
}

/// Returns `task` composed with the import. The result imports nothing but WASI.
///
/// # Errors
/// If the task does not import `task:checkpoint`, if it imports anything else that neither the plugged component nor
/// WASI provides, or if an unknown version of WASI would let it see its checkpoints.
pub(crate) fn compose(task: &[u8], store: StoreKind) -> anyhow::Result<Composed> {
    let mut graph = CompositionGraph::new();
    let task = register(&mut graph, "checkpoint:task", task)?;
    let imports = imports(&graph, task);
    if !imports.iter().any(|name| name.starts_with(OURS)) {
        let what = "it imports nothing from task:checkpoint, so there is nothing to plug in; run it with `wasmtime run` as it is";
        return Err(failure(Code::UnknownImport, what));
    }
    if let Some(name) = imports.iter().find(|name| name.starts_with(NATIVE)) {
        let what = format!(
            "it imports {name}, which a composed task cannot use; use the interface `paths` of the same package instead"
        );
        return Err(failure(Code::UnknownImport, what));
    }
    let needs_p3 = imports.iter().any(|name| is_p3(name));
    let plug = match (store, needs_p3) {
        (StoreKind::Directories, false) => Plug::Local,
        (StoreKind::Directories, true) => Plug::LocalP3,
        (StoreKind::S3, false) => Plug::S3,
        (StoreKind::S3, true) => Plug::S3P3,
    };
    let host = plug.bytes().context("cannot unpack the import")?;
    let host = register(&mut graph, "checkpoint:host", &host)?;
    match wac_graph::plug(&mut graph, vec![host], task) {
        // If nothing was plugged, `check` names the first import that is left open.
        Ok(()) | Err(PlugError::NoPlugHappened) => {}
        Err(error) => return Err(anyhow::Error::new(error).context("cannot compose it")),
    }
    check(&imports, &plugged(&graph, task))?;
    let bytes = graph.encode(EncodeOptions::default());
    let bytes = bytes.context("cannot compose it")?;
    Ok(Composed { bytes, needs_p3 })
}

/// Returns whether only the component with version 0.3 provides an import.
fn is_p3(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    version.starts_with("0.3.") && (name.starts_with(OURS) || SEEING.contains(&name))
}

fn register(graph: &mut CompositionGraph, name: &str, bytes: &[u8]) -> anyhow::Result<PackageId> {
    let package = Package::from_bytes(name, None, bytes, graph.types_mut()).map_err(|error| {
        let what = format!("not a component that can be composed: {error:#}");
        failure(Code::NotComponent, what)
    })?;
    Ok(graph.register_package(package)?)
}

fn imports(graph: &CompositionGraph, package: PackageId) -> Vec<String> {
    let world = &graph.types()[graph[package].ty()];
    world.imports.keys().cloned().collect()
}

/// Returns the imports of the task that are plugged.
fn plugged(graph: &CompositionGraph, task: PackageId) -> Vec<String> {
    let instances = graph.node_ids().filter(|id| {
        let node = &graph[*id];
        node.package() == Some(task) && matches!(node.kind(), NodeKind::Instantiation(_))
    });
    let given = instances.flat_map(|id| graph.get_instantiation_arguments(id));
    given.map(|(name, _)| name.to_owned()).collect()
}

/// Checks that `wasmtime run` provides every import that is left open, and that the task cannot see its checkpoints.
fn check(imports: &[String], plugged: &[String]) -> anyhow::Result<()> {
    let open = imports.iter().filter(|name| !plugged.contains(name));
    for name in open {
        if SEEING.iter().any(|seeing| name.starts_with(seeing)) {
            let what = format!(
                "it imports {name} in a version that cannot be plugged, so the task could see where its checkpoints are stored; build it for WASI 0.2 or 0.3"
            );
            return Err(failure(Code::UnknownImport, what));
        }
        if !name.starts_with("wasi:") {
            let what = format!(
                "it imports {name}, which neither the plugged component nor `wasmtime run` provides"
            );
            return Err(failure(Code::UnknownImport, what));
        }
    }
    Ok(())
}
