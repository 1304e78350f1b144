//! A guest that calls the import in any order and checks each result.

mod files;
pub mod model;
mod streams;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, Existing, Limits, SchemaChange};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_checkpoint::bindings::task::checkpoint::checkpointer::{self, Host as _};
use wasmtime_checkpoint::bindings::task::checkpoint::types::{Error, Saved};
use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::Place;
use crate::disk::{Sandbox, snapshot};
use model::{Annotations, Content, Given, Model};

/// Maximum time for the end of an attempt. Memory answers at once.
const END: Duration = Duration::from_secs(60);

/// A handle that the guest passes as a directory.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    Dir,
    ReadOnly,
    File,
    Dropped,
    Forged(u8),
}

/// Returns the limits of attempts: small ones, or the defaults.
pub fn limits(small: bool) -> Limits {
    let mut limits = Limits::default();
    if small {
        limits.checkpoint_bytes = 20_000;
        limits.stored_bytes = 50_000;
        limits.entries = 4;
        limits.path_bytes = 8;
        limits.saves_per_minute = 6;
        limits.annotation_bytes = 32;
    }
    limits
}

/// One attempt, and the handles that its guest holds.
pub struct Guest {
    ctx: CheckpointCtx,
    table: ResourceTable,
    model: Model,
    limits: Limits,
    is_small: bool,
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
    pub async fn begin(place: &Place, before: Option<&Self>, disk: &Sandbox, small: bool) -> Self {
        let limits = limits(small);
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

        let mut table = ResourceTable::new();
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
            ctx: CheckpointCtx::new(attempt),
            table,
            model: Model::new(content),
            limits,
            is_small: small,
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
        self.table = ResourceTable::new();
        let outcome = self.ctx.finish(END).await;
        match outcome.lost {
            None => self.model.settled(),
            Some(_) => self.model.unsettled(),
        }
    }

    fn view(&mut self) -> CheckpointCtxView<'_> {
        CheckpointCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
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
            Error::QuotaExceeded(text) => assert!(self.is_small, "{text}"),
            other => panic!("{other:?}"),
        }
    }

    /// Checks the result of a save whose contents are known to be valid.
    fn check_saved(&mut self, answer: Result<Saved, Error>, content: Content) {
        match answer {
            Ok(saved) => {
                assert!(!self.is_fenced, "a save of a fenced attempt succeeded");
                assert_eq!(saved.logical_bytes, content.size());
                assert!(saved.sequence > self.newest.max(self.found.unwrap_or(0)));
                assert!(content.size() <= self.limits.checkpoint_bytes);
                assert!(content.tree.len() as u64 <= self.limits.entries);
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

        let answer = self.view().resume().await.unwrap();
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
            Ok(()) => self.model.staged(content),
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
}
