//! A guest that calls the import in any order and checks each result.

mod files;
pub mod model;
mod streams;

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, Existing, Limits, SchemaChange};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Engine, Memory, MemoryType, Ref, RefType, Store, Table, TableType};
use wasmtime_checkpoint::bindings::task::checkpoint::checkpointer::{self, Host as _};
use wasmtime_checkpoint::bindings::task::checkpoint::types::{Error, Saved};
use wasmtime_checkpoint::{
    CheckpointCtx, CheckpointCtxView, CheckpointView, GuestLimits, limit_store,
};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::Place;
use crate::disk::{Sandbox, snapshot};
use model::{Annotations, Content, Given, Model};

/// Maximum time for the end of an attempt. Memory answers at once.
const END: Duration = Duration::from_secs(60);

/// The longest text of an error, in bytes. It may quote a path.
const MAX_TEXT: usize = 10_000;

/// What grows.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Growth {
    NewMemory,
    NewTable,
    Memory,
    Table,
}

/// A handle that the guest passes as a directory.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    Dir,
    ReadOnly,
    File,
    Dropped,
    Forged(u8),
}

/// The limits of all attempts of an input.
#[derive(Arbitrary, Debug)]
pub struct Caps {
    /// Which limits are small. The others have their defaults.
    small: u16,
    /// How small the limits on sizes are.
    scale: u8,
}

impl Caps {
    /// Returns whether a limit is small, and how small.
    fn cap<T: TryFrom<u64>>(&self, number: u32, limit: &mut T, base: u64) {
        if (self.small >> number) & 1 == 1 {
            let cap = base * (u64::from(self.scale) + 16) / 64;
            *limit = T::try_from(cap).unwrap_or_else(|_| panic!("{cap} is out of range"));
        }
    }

    /// Returns the limits on what is stored.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        self.cap(0, &mut limits.checkpoint_bytes, 20_000);
        self.cap(1, &mut limits.stored_bytes, 50_000);
        self.cap(2, &mut limits.entries, 4);
        self.cap(3, &mut limits.path_bytes, 8);
        self.cap(4, &mut limits.saves_per_minute, 6);
        self.cap(5, &mut limits.annotation_bytes, 32);
        self.cap(6, &mut limits.tree_bytes, 200);
        // Bytes are a tree of one entry.
        limits.tree_bytes = limits.tree_bytes.max(64);
        self.cap(7, &mut limits.read_bytes, 5_000);
        self.cap(8, &mut limits.spool_bytes, 30_000);
        self.cap(9, &mut limits.background_bytes, 5_000);
        limits
    }

    /// Returns the limits on what the guest holds.
    pub fn guest_limits(&self) -> GuestLimits {
        let mut limits = GuestLimits::default();
        let (mut memory_bytes, mut handles) = (limits.memory_bytes, limits.handles);
        self.cap(10, &mut memory_bytes, 8 * PAGE as u64);
        self.cap(11, &mut handles, 8);
        self.cap(12, &mut limits.instance_bytes, 2000);
        self.cap(13, &mut limits.instances, 2);
        // The guest's directories take some from the beginning.
        limits.memory_bytes(memory_bytes).handles(handles + HELD)
    }
}

/// The size of a page of a guest's memory.
const PAGE: usize = 1 << 16;

/// How many resources each guest holds from the beginning.
const HELD: usize = 4;

/// The state of a guest's store.
struct State {
    ctx: CheckpointCtx,
    table: ResourceTable,
}

impl CheckpointView for State {
    fn checkpoint(&mut self) -> CheckpointCtxView<'_> {
        CheckpointCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }
}

/// Returns the engine of all guests. It compiles nothing.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::default)
}

/// One attempt, and the handles that its guest holds.
pub struct Guest {
    store: Store<State>,
    model: Model,
    limits: Limits,
    guest_limits: GuestLimits,
    /// Its memories and tables, and their size.
    memories: Vec<Memory>,
    tables: Vec<Table>,
    used_bytes: usize,
    /// Whether a newer attempt has begun.
    pub is_fenced: bool,
    /// Positions of the checkpoint that it found and of its newest save.
    found: Option<u64>,
    newest: u64,
    handles: [u32; 4],
    saving: Option<streams::Saving>,
    reading: Option<streams::Reading>,
}

impl Guest {
    /// Takes over the location from the previous attempt.
    pub async fn begin(place: &Place, before: Option<&Self>, disk: &Sandbox, caps: &Caps) -> Self {
        let limits = caps.limits();
        let settings = AttemptSettings::default().limits(limits);
        let begun = Attempt::begin(place.location.clone(), settings).await;
        let attempt = Arc::new(begun.expect("a store in memory accepts every claim"));
        let left = before.map_or_else(|| vec![None], |before| before.model.left());
        let found = place
            .location
            .checkpoints()
            .await
            .expect("nothing must be damaged");
        let found = found.first();
        let content = match found {
            None => None,
            Some(found) => {
                let copy = Sandbox::default();
                let to = checkpoint_storage::DirTree::ambient(&copy.inside().join("copy"));
                let restored = found.restore(to.unwrap(), Existing::Refuse, &limits).await;
                restored.expect("a saved checkpoint must be restorable");
                let metadata = found.info().metadata;
                Some(Content {
                    annotations: metadata.annotations,
                    schemas: vec![metadata.schema],
                    ..Content::of_disk(snapshot(&copy.inside().join("copy")))
                })
            }
        };
        let is_found = |left: &Option<Content>| match (left, &content) {
            (None, None) => true,
            (Some(left), Some(found)) => {
                left.tree == found.tree
                    && left.annotations == found.annotations
                    && left.schemas.contains(&found.schemas[0])
            }
            _ => false,
        };
        assert!(
            left.iter().any(is_found),
            "found {content:?}, expected one of {left:?}"
        );

        let guest_limits = caps.guest_limits();
        let state = State {
            ctx: CheckpointCtx::new(attempt).limits(guest_limits),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(engine(), state);
        limit_store(&mut store);
        let table = &mut store.data_mut().table;
        let dir = |perms| {
            let inside = fs::File::open(disk.inside()).unwrap();
            Descriptor::Dir(Dir::new(
                inside,
                perms,
                OpenMode::READ | OpenMode::WRITE,
                true,
            ))
        };
        let file = fs::File::open("/dev/null").unwrap();
        let file = File::new(file, FsPerms::ReadWrite, OpenMode::READ, true);
        let mut push = |descriptor| table.push(descriptor).unwrap().rep();
        let dropped = push(dir(FsPerms::ReadWrite));
        let handles = [
            push(dir(FsPerms::ReadWrite)),
            push(dir(FsPerms::ReadOnly)),
            push(Descriptor::File(file)),
        ];
        // Reserves the number of the dropped handle; otherwise the next resource would reuse it.
        drop(
            table
                .delete(Resource::<Descriptor>::new_own(dropped))
                .unwrap(),
        );
        let taken = table.push(0u8).unwrap().rep();
        Self {
            store,
            model: Model::new(content),
            limits,
            guest_limits,
            memories: Vec::new(),
            tables: Vec::new(),
            used_bytes: 0,
            is_fenced: false,
            found: found.map(|found| found.info().sequence),
            newest: 0,
            handles: [handles[0], handles[1], handles[2], taken],
            saving: None,
            reading: None,
        }
    }

    /// Ends the guest. This commits its staged saves.
    pub async fn end(&mut self) {
        self.reading = None;
        self.saving = None;
        self.store.data_mut().table = ResourceTable::new();
        let outcome = self.store.data().ctx.finish(END).await;
        match outcome.lost {
            None => self.model.settled(),
            Some(_) => self.model.unsettled(),
        }
    }

    fn view(&mut self) -> CheckpointCtxView<'_> {
        self.store.data_mut().checkpoint()
    }

    fn table(&mut self) -> &mut ResourceTable {
        &mut self.store.data_mut().table
    }

    /// Whether the guest holds as many resources as it may.
    fn is_full(&mut self) -> bool {
        let handles = self.guest_limits.handles;
        self.table().iter_mut().count() >= handles
    }

    fn handle(&self, handle: Handle) -> Resource<Descriptor> {
        Resource::new_borrow(match handle {
            Handle::Dir => self.handles[0],
            Handle::ReadOnly => self.handles[1],
            Handle::File => self.handles[2],
            Handle::Dropped => self.handles[3],
            Handle::Forged(n) => 1000 + u32::from(n),
        })
    }

    /// Checks an error that any call which waits for background saves may return.
    fn check_error(&mut self, error: &Error) {
        self.model.unsettled();
        match error {
            Error::Fenced => assert!(self.is_fenced, "fenced without a newer attempt"),
            Error::QuotaExceeded(text) => {
                assert!(self.limits != Limits::default(), "{text}");
                assert!(text.len() <= MAX_TEXT, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Checks content that a call has accepted to save or has restored.
    fn check_content(&self, content: &Content) {
        let limits = &self.limits;
        assert!(content.size() <= limits.checkpoint_bytes);
        assert!(content.tree.len() as u64 <= limits.entries);
        assert!(content.described() <= limits.tree_bytes);
        for path in content.tree.keys() {
            assert!(path.as_os_str().len() <= limits.path_bytes, "{path:?}");
        }
        let labels = content.annotations.iter();
        let labels: usize = labels.map(|(key, value)| key.len() + value.len()).sum();
        assert!(labels <= limits.annotation_bytes);
    }

    /// Checks the result of a save whose contents are known to be valid.
    fn check_saved(&mut self, answer: Result<Saved, Error>, content: Content) {
        match answer {
            Ok(saved) => {
                assert!(!self.is_fenced, "a save of a fenced attempt succeeded");
                assert_eq!(saved.logical_bytes, content.size());
                assert!(saved.sequence > self.newest.max(self.found.unwrap_or(0)));
                self.check_content(&content);
                self.newest = saved.sequence;
                self.model.saved(content);
            }
            Err(error) => self.check_error(&error),
        }
    }

    pub async fn prev_exists(&mut self) {
        match self.view().prev_exists().await.unwrap() {
            Ok(exists) => {
                self.model.settled();
                self.model.gave(|given| match given {
                    Given::Nothing => !exists,
                    Given::Checkpoint(_) => exists,
                    Given::Mismatch => false,
                });
            }
            Err(Error::SchemaMismatch(_)) => self.mismatch(),
            Err(error) => self.check_error(&error),
        }
    }

    fn mismatch(&mut self) {
        self.model.settled();
        self.model.gave(|given| matches!(given, Given::Mismatch));
    }

    fn not_single(&mut self, count: u64) {
        self.model.settled();
        self.model.gave(|given| match given {
            Given::Checkpoint(content) => content.single() == Err(count),
            _ => false,
        });
    }

    pub async fn resume(&mut self) {
        use checkpointer::ResumePoint;

        let answer = self.view().get_resume_point().await.unwrap();
        match (answer, self.model.given_of_found()) {
            (Ok(ResumePoint::Fresh), Given::Nothing) => {}
            (Err(Error::SchemaMismatch(_)), Given::Mismatch) => {}
            (Ok(ResumePoint::Resumed(found)), Given::Checkpoint(content)) => {
                assert_eq!(Some(found.sequence), self.found);
                assert_eq!(vec![found.schema], content.schemas);
                assert!(found.annotations.into_iter().eq(content.annotations));
            }
            (answer, given) => panic!("got {answer:?}, expected {given:?}"),
        }
    }

    pub async fn read(&mut self) {
        match self.view().read().await.unwrap() {
            Ok(read) => {
                let read = read.map(|contents| contents.bytes);
                let size = read.as_ref().map_or(0, Vec::len);
                assert!(size as u64 <= self.limits.read_bytes);
                self.model.settled();
                self.model.gave(|given| match given {
                    Given::Nothing => read.is_none(),
                    Given::Checkpoint(content) => content.single().ok() == read.as_deref(),
                    Given::Mismatch => false,
                });
            }
            Err(Error::NotSingle(count)) => self.not_single(count),
            Err(Error::SchemaMismatch(_)) => self.mismatch(),
            Err(error) => self.check_error(&error),
        }
    }

    pub async fn write(&mut self, bytes: Vec<u8>, annotations: Annotations) {
        let content = self
            .model
            .labelled(Content::of_bytes(bytes.clone()), annotations.clone());
        let answer = self.view().write(bytes, annotations).await.unwrap();
        self.check_saved(answer, content);
    }

    pub async fn write_in_background(&mut self, bytes: Vec<u8>, annotations: Annotations) {
        let content = self
            .model
            .labelled(Content::of_bytes(bytes.clone()), annotations.clone());
        let answer = self.view().write_in_background(bytes, annotations).await;
        match answer.unwrap() {
            Ok(()) => {
                assert!(content.size() <= self.limits.background_bytes);
                self.check_content(&content);
                self.model.staged(content);
            }
            Err(error) => self.check_error(&error),
        }
    }

    pub async fn flush(&mut self) {
        match self.view().flush().await.unwrap() {
            Ok(_) => self.model.settled(),
            Err(error) => self.check_error(&error),
        }
    }

    pub async fn declare_schema(&mut self, name: String, change: SchemaChange) {
        use checkpointer::SchemaChange as Change;

        let told = match change {
            SchemaChange::Refuse => Change::Refuse,
            SchemaChange::StartFresh => Change::StartFresh,
            SchemaChange::Allow => Change::Allow,
        };
        match self
            .view()
            .declare_schema(name.clone(), told)
            .await
            .unwrap()
        {
            Ok(()) => self.model.declared(name, change),
            Err(Error::QuotaExceeded(_)) => assert!(name.len() > self.limits.annotation_bytes),
            Err(error) => panic!("{error:?}"),
        }
    }

    pub async fn advice(&mut self) {
        let advice = self.view().should_save().await.unwrap();
        assert_eq!(advice.stopping, None);
        let limits = self.view().get_limits().await.unwrap().unwrap();
        assert_eq!(limits.checkpoint_bytes, self.limits.checkpoint_bytes);
        assert!(limits.bytes_left <= self.limits.stored_bytes);
    }
    /// Grows the memories and tables, or adds one. They must stay within the limit together.
    pub fn grow(&mut self, kind: Growth, amount: u16) {
        let amount = usize::from(amount);
        let asked = match kind {
            Growth::NewMemory | Growth::Memory => amount * PAGE,
            Growth::NewTable | Growth::Table => amount * size_of::<usize>(),
        };
        let grown = match kind {
            Growth::NewMemory => {
                let memory = Memory::new(&mut self.store, MemoryType::new(amount as u32, None));
                memory.map(|memory| self.memories.push(memory)).is_ok()
            }
            Growth::NewTable => {
                let kind = TableType::new(RefType::FUNCREF, amount as u32, None);
                let table = Table::new(&mut self.store, kind, Ref::Func(None));
                table.map(|table| self.tables.push(table)).is_ok()
            }
            Growth::Memory => match self.memories.first() {
                Some(memory) => memory.grow(&mut self.store, amount as u64).is_ok(),
                None => return,
            },
            Growth::Table => match self.tables.first() {
                Some(table) => {
                    let grown = table.grow(&mut self.store, amount as u64, Ref::Func(None));
                    grown.is_ok()
                }
                None => return,
            },
        };
        if grown {
            self.used_bytes += asked;
        }
        assert!(self.used_bytes <= self.guest_limits.memory_bytes);
    }

    /// Checks the size of a component of these bytes, which may be no component at all.
    pub fn check_component(&self, bytes: &[u8]) {
        let component = [b"\0asm", bytes].concat();
        // Whatever it says, it says so at once.
        let _ = self.guest_limits.check(&component);
    }
}
