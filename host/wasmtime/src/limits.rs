//! Limits on what one guest can make the host hold.

mod instances;
mod meter;

use checkpoint_storage::Limits;
use wasmtime::Store;

pub(crate) use self::meter::Meter;
use crate::ctx::CheckpointView;

/// What a resource takes: a stream holds a piece of 64 KiB.
const HANDLE_BYTES: u64 = 66 << 10;

/// How many calls between the host and the components of a guest may be running at a time, besides
/// [`GuestLimits::handles`]. The export that the host calls is one of them.
const CALLS: usize = 64;

/// How often the description of a tree may be in memory: as the guest's files are read, encoded, cut, and compared.
const TREES: u64 = 10;

/// What a call, a background save and a stream of each kind take together, besides the description of a tree. A restore and
/// a read stream have five windows, each of at most 18 MiB to decode and 8 MiB that is decoded, and a spare buffer. A save
/// has four data objects of 16 MiB in flight, besides either six batches of at most 8 MiB or, while it copies what is left
/// of mostly dead objects, such windows.
const PIPELINE_BYTES: u64 = 4 * (224 << 20);

/// What one guest may make the host hold, besides what
/// [`Limits`](checkpoint_storage::Limits) say about its checkpoints.
///
/// Pass them to [`CheckpointCtx::limits`](crate::CheckpointCtx::limits), [check](Self::check) the guest before it
/// is compiled, and call [`limit_store`] for each store. A guest that exceeds a limit traps,
/// except that growing a memory or a table fails in the guest, which may handle it. The other guests of the
/// host are unaffected. A guest with WASI needs [`add_wasi_to_linker`](crate::add_wasi_to_linker), too: a listing
/// of `wasmtime_wasi` holds a whole directory in memory.
///
/// With them, one guest on this host holds at most this much memory:
///
/// | what | bytes |
/// |---|---|
/// | its memories and tables | [`memory_bytes`](Self::memory_bytes) |
/// | its instances: globals, functions, element segments | [`instance_bytes`](Self::instance_bytes) |
/// | the strings and annotations of one call | 2 × [`call_bytes`](Self::call_bytes) |
/// | background saves of bytes, and the arguments of calls in flight (version 0.3) | [`background_bytes`](checkpoint_storage::Limits::background_bytes) |
/// | the result of one `read` | 2 × [`read_bytes`](checkpoint_storage::Limits::read_bytes) |
/// | the descriptions of trees that are saved or restored | 10 × [`tree_bytes`](checkpoint_storage::Limits::tree_bytes) |
/// | resources, such as files, streams and pollables | 66 KiB × [`handles`](Self::handles) |
/// | a save or a restore, a background save, and a stream of each kind at a time | 896 MiB |
///
/// [`peak_bytes`](Self::peak_bytes) computes the sum. The benchmark `bounded` compares it with the peak memory of
/// hosts under attack. A guest can also ask WASI for random bytes, as many at once as `max_random_size` of
/// `wasmtime_wasi::WasiCtxBuilder` permits.
///
/// Compiling is not included, nor is compiled code: it belongs to the host's engine. Both grow with the file of the
/// component, and no setting limits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestLimits {
    /// The size of all linear memories and tables of the guest together, in bytes. Default 2 GiB: half of what
    /// a 32-bit guest can address, so that one guest does not exhaust a small machine.
    pub memory_bytes: usize,
    /// The size of everything else that instantiating the guest allocates, in bytes: its globals, references to
    /// functions and element segments, for every instance. Default 64 MiB; a large program needs less than one.
    pub instance_bytes: usize,
    /// The number of core instances, and of memories and tables each. Default 1000; a program that a compiler
    /// produces has fewer than 20.
    pub instances: usize,
    /// What the guest may pass to the host in one call, in bytes as the host represents them. Default 2 GiB, so
    /// that a guest can save everything that it holds in one `write`.
    pub call_bytes: usize,
    /// The number of resources that the guest may hold: open files, directories, streams, pollables. Default
    /// 512: each may be an open file of the host's process, which usually may open 1024.
    pub handles: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            instance_bytes: 64 << 20,
            instances: 1000,
            call_bytes: 2 << 30,
            handles: 512,
        }
    }
}

impl GuestLimits {
    /// Sets the size of the guest's memories and tables together. Also the maximum that it may pass to the host
    /// in one call, since it cannot hold more.
    #[must_use]
    pub fn memory_bytes(mut self, memory_bytes: usize) -> Self {
        self.memory_bytes = memory_bytes;
        self.call_bytes = memory_bytes;
        self
    }

    /// Sets the size of everything else that instantiating the guest allocates.
    #[must_use]
    pub fn instance_bytes(mut self, instance_bytes: usize) -> Self {
        self.instance_bytes = instance_bytes;
        self
    }

    /// Sets the number of resources that the guest may hold.
    #[must_use]
    pub fn handles(mut self, handles: usize) -> Self {
        self.handles = handles;
        self
    }

    /// Returns the most memory that one guest makes this host hold, in bytes: the sum of the table above.
    #[must_use]
    pub fn peak_bytes(&self, limits: &Limits) -> u64 {
        let terms = [
            self.memory_bytes as u64,
            self.instance_bytes as u64,
            (self.call_bytes as u64).saturating_mul(2),
            limits.background_bytes,
            limits.read_bytes.saturating_mul(2),
            limits.tree_bytes.saturating_mul(TREES),
            (self.handles as u64).saturating_mul(HANDLE_BYTES),
            PIPELINE_BYTES,
        ];
        terms.into_iter().fold(0, u64::saturating_add)
    }

    /// Checks the static size of a component in the binary format. Call it before the component is compiled: a
    /// small file can declare instances of gigabytes, which no limit of a store would notice, or instances of
    /// instances that take hours to compile.
    ///
    /// # Errors
    /// [`TooLarge`] if its instances would exceed the limits, or cannot be counted.
    pub fn check(&self, component: &[u8]) -> Result<(), TooLarge> {
        let found = instances::measure(component);
        let too_large = |what, found, limit| Err(TooLarge { what, found, limit });
        if found.instances > self.instances as u64 {
            return too_large("instances", found.instances, self.instances as u64);
        }
        if found.bytes > self.instance_bytes as u64 {
            let limit = self.instance_bytes as u64;
            return too_large("bytes of instances", found.bytes, limit);
        }
        Ok(())
    }
}

/// The error for a component whose instances exceed the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    what: &'static str,
    found: u64,
    limit: u64,
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, found, limit } = self;
        match found {
            &u64::MAX => write!(
                f,
                "the component declares too many {what} to count, or is not in the binary format; \
                 this host permits {limit}"
            ),
            found => write!(
                f,
                "the component declares {found} {what}, and this host permits {limit}"
            ),
        }
    }
}

impl std::error::Error for TooLarge {}

/// Applies the [limits](crate::CheckpointCtx::limits) of a store's guest to the store: its memories, tables and
/// instances, its resources, and what it passes in one call. Call it before the guest is instantiated.
///
/// Replaces the store's own limiter, its hostcall fuel, and the capacity of the table of resources that
/// [`CheckpointView`] returns.
pub fn limit_store<T: CheckpointView + 'static>(store: &mut Store<T>) {
    let view = store.data_mut().checkpoint();
    let limits = *view.ctx.meter.limits();
    view.table.set_max_capacity(limits.handles);
    store.limiter(|state| &mut state.checkpoint().ctx.meter);
    store.set_hostcall_fuel(limits.call_bytes);
    // Wasmtime counts a handle for each component that holds it, the guest's own resources, and each call that is
    // running.
    let handles = limits.handles.saturating_mul(8).saturating_add(CALLS);
    store.set_max_component_handles(handles);
    // What a guest holds through the async ABI: streams and futures, and a few entries for each call that is running.
    // A guest that may hold nothing can still be called.
    #[cfg(feature = "async")]
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(limits.handles.saturating_add(4 * CALLS));
    }
}
