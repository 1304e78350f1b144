//! Plugs the import, as a component, into a task.

use anyhow::Context;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeKind, PackageId, PlugError};

use crate::exit::{Code, failure};

/// The import over WASI, for directories.
const LOCAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/component.wasm"));
/// The same with S3, over `wasi:http`.
const S3: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/component-s3.wasm"));

/// What a task imports of ours begins with this.
const OURS: &str = "task:checkpoint/";

/// Through these a task could see the directory of its checkpoints, and the credentials.
const SEEING: [&str; 2] = ["wasi:cli/environment", "wasi:filesystem/preopens"];

/// Which storage a composed task can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Directories,
    S3,
}

/// A component that is `task` with its checkpoints in itself: it imports nothing but WASI.
///
/// # Errors
/// If the task does not import `task:checkpoint`, if something else of what it imports stays open, or if
/// it could see more than its own through a version of WASI that is not known here.
pub(crate) fn compose(task: &[u8], store: StoreKind) -> anyhow::Result<Vec<u8>> {
    let host = match store {
        StoreKind::Directories => LOCAL,
        StoreKind::S3 => S3,
    };
    let mut graph = CompositionGraph::new();
    let host = register(&mut graph, "checkpoint:host", host)?;
    let task = register(&mut graph, "checkpoint:task", task)?;
    let imports = imports(&graph, task);
    if !imports.iter().any(|name| name.starts_with(OURS)) {
        let what = "it imports nothing of task:checkpoint, so there is nothing to plug in; `wasmtime run` runs it as it is";
        return Err(failure(Code::UnknownImport, what));
    }
    match wac_graph::plug(&mut graph, vec![host], task) {
        // Then all that it imports stays open, and is named below.
        Ok(()) | Err(PlugError::NoPlugHappened) => {}
        Err(error) => return Err(anyhow::Error::new(error).context("it cannot be composed")),
    }
    check(&imports, &plugged(&graph, task))?;
    let composed = graph.encode(EncodeOptions::default());
    composed.context("it cannot be composed")
}

fn register(graph: &mut CompositionGraph, name: &str, bytes: &[u8]) -> anyhow::Result<PackageId> {
    let package = Package::from_bytes(name, None, bytes, graph.types_mut()).map_err(|error| {
        let what = format!("this is no component that can be composed: {error:#}");
        failure(Code::NotComponent, what)
    })?;
    Ok(graph.register_package(package)?)
}

fn imports(graph: &CompositionGraph, package: PackageId) -> Vec<String> {
    let world = &graph.types()[graph[package].ty()];
    world.imports.keys().cloned().collect()
}

/// What of its imports the task has been given.
fn plugged(graph: &CompositionGraph, task: PackageId) -> Vec<String> {
    let instances = graph.node_ids().filter(|id| {
        let node = &graph[*id];
        node.package() == Some(task) && matches!(node.kind(), NodeKind::Instantiation(_))
    });
    let given = instances.flat_map(|id| graph.get_instantiation_arguments(id));
    given.map(|(name, _)| name.to_owned()).collect()
}

/// Whether `wasmtime run` has all that stays open, and what is to be kept from the task is.
fn check(imports: &[String], plugged: &[String]) -> anyhow::Result<()> {
    let open = imports.iter().filter(|name| !plugged.contains(name));
    for name in open {
        if SEEING.iter().any(|seeing| name.starts_with(seeing)) {
            let what = format!(
                "it imports {name}, in a version that cannot be plugged: the task could see where its checkpoints lie"
            );
            return Err(failure(Code::UnknownImport, what));
        }
        if !name.starts_with("wasi:") {
            let what = format!(
                "it imports {name}, which stays open: neither this component nor `wasmtime run` has it"
            );
            return Err(failure(Code::UnknownImport, what));
        }
    }
    Ok(())
}
