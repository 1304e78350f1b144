//! The functions of the import.

use std::time::{Duration, Instant, SystemTime};

use checkpoint_storage::{
    CheckpointInfo, DirTree, Error, ErrorKind, Existing, Metadata, Result, ResumePoint, Saved,
    SchemaChange,
};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;

use crate::bindings::task::checkpoint::{checkpointer, files, types};
use crate::ctx::CheckpointCtxView;

pub(crate) type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl types::Host for CheckpointCtxView<'_> {}

impl checkpointer::Host for CheckpointCtxView<'_> {
    async fn prev_exists(&mut self) -> Answer<bool> {
        let answer = match self.settled().await {
            Ok(()) => self.ctx.attempt.prev_exists().await,
            Err(error) => Err(error),
        };
        Ok(self.answer(answer))
    }

    async fn resume(&mut self) -> Answer<checkpointer::ResumePoint> {
        let answer = self.ctx.attempt.resume_point().await;
        Ok(self.answer(answer.map(resume_point)))
    }

    async fn read(&mut self) -> Answer<Option<Vec<u8>>> {
        let answer = match self.settled().await {
            Ok(()) => self.ctx.attempt.read().await,
            Err(error) => Err(error),
        };
        Ok(self.answer(answer.map(|contents| contents.map(Vec::from))))
    }

    async fn write(
        &mut self,
        contents: Vec<u8>,
        annotations: types::Annotations,
    ) -> Answer<types::Saved> {
        let began = Instant::now();
        let answer = match self.superseded().await {
            Ok(()) => {
                let save = self.ctx.attempt.write(contents.into());
                save.metadata(metadata(annotations)).await
            }
            Err(error) => Err(error),
        };
        Ok(self.saved(began, answer).map(saved))
    }

    async fn write_in_background(
        &mut self,
        contents: Vec<u8>,
        annotations: types::Annotations,
    ) -> Answer<()> {
        let began = Instant::now();
        let ctx = &self.ctx;
        let staged = ctx
            .background
            .write(&ctx.attempt, contents.into(), metadata(annotations));
        let answer = staged.await;
        Ok(self.saved(began, answer))
    }

    async fn flush(&mut self) -> Answer<Option<types::Saved>> {
        let began = Instant::now();
        let answer = self.ctx.background.flush().await;
        self.ctx.advisor.note_wait(began, Instant::now());
        Ok(self.answer(answer.map(|newest| newest.map(saved))))
    }

    async fn declare_schema(
        &mut self,
        name: String,
        change: checkpointer::SchemaChange,
    ) -> Answer<()> {
        let change = match change {
            checkpointer::SchemaChange::Refuse => SchemaChange::Refuse,
            checkpointer::SchemaChange::StartFresh => SchemaChange::StartFresh,
            checkpointer::SchemaChange::Allow => SchemaChange::Allow,
        };
        let answer = self.ctx.attempt.declare_schema(name, change).await;
        Ok(self.answer(answer))
    }

    async fn should_save(&mut self) -> wasmtime::Result<checkpointer::Advice> {
        let advice = self.ctx.advisor.advise(Instant::now());
        Ok(checkpointer::Advice {
            now: advice.now,
            stopping: advice.stopping.map(milliseconds),
        })
    }

    async fn get_limits(&mut self) -> Answer<checkpointer::Limits> {
        let limits = *self.ctx.attempt.limits();
        Ok(Ok(checkpointer::Limits {
            checkpoint_bytes: limits.checkpoint_bytes,
            bytes_left: self.ctx.attempt.bytes_left().await,
            entries: limits.entries,
            path_bytes: limits.path_bytes as u64,
            annotation_bytes: limits.annotation_bytes as u64,
            saves_per_minute: limits.saves_per_minute,
        }))
    }
}

impl files::Host for CheckpointCtxView<'_> {
    async fn save(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        annotations: types::Annotations,
    ) -> Answer<types::Saved> {
        let began = Instant::now();
        let answer = match self.beneath(&dir, &path, Access::Read)? {
            Ok(source) => match self.superseded().await {
                Ok(()) => {
                    let save = self.ctx.attempt.save(source);
                    save.metadata(metadata(annotations)).await
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        Ok(self.saved(began, answer).map(saved))
    }

    async fn save_in_background(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        annotations: types::Annotations,
    ) -> Answer<()> {
        let began = Instant::now();
        let answer = match self.beneath(&dir, &path, Access::Read)? {
            Ok(source) => {
                let ctx = &self.ctx;
                let metadata = metadata(annotations);
                ctx.background.save(&ctx.attempt, source, metadata).await
            }
            Err(error) => Err(error),
        };
        Ok(self.saved(began, answer))
    }

    async fn restore(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        existing: files::Existing,
    ) -> Answer<Option<u64>> {
        let existing = match existing {
            files::Existing::Refuse => Existing::Refuse,
            files::Existing::Replace => Existing::Replace,
        };
        let answer = match self.beneath(&dir, &path, Access::Write)? {
            Ok(target) => match self.settled().await {
                Ok(()) => self.ctx.attempt.restore(target, existing).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        Ok(self.answer(answer))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl CheckpointCtxView<'_> {
    /// Waits for the saves in the background, so that the guest reads its own.
    ///
    /// # Errors
    /// That of one which the guest was not told of.
    pub(crate) async fn settled(&mut self) -> Result<()> {
        self.ctx.background.settle().await
    }

    /// Lets a save in the foreground come after all in the background.
    ///
    /// # Errors
    /// That of one which the guest was not told of.
    pub(crate) async fn superseded(&mut self) -> Result<()> {
        self.ctx.background.supersede().await
    }

    /// The answer to a save, which the guest has waited for since `began`.
    pub(crate) fn saved<T>(
        &mut self,
        began: Instant,
        answer: Result<T>,
    ) -> Result<T, types::Error> {
        let now = Instant::now();
        match answer {
            Ok(_) => self.ctx.advisor.note_save(began, now),
            Err(_) => self.ctx.advisor.note_wait(began, now),
        }
        self.answer(answer)
    }

    pub(crate) fn answer<T>(&mut self, answer: Result<T>) -> Result<T, types::Error> {
        if answer.is_ok() {
            self.ctx.note_success();
        }
        answer.map_err(|error| self.ctx.guest_error(error))
    }

    /// The path in a directory of the guest's. Traps if the handle is none.
    fn beneath(
        &self,
        dir: &Resource<Descriptor>,
        path: &str,
        access: Access,
    ) -> wasmtime::Result<Result<DirTree<cap_std::fs::Dir>>> {
        let Descriptor::Dir(dir) = self.table.get(dir)? else {
            let what = "the descriptor is a file; pass its directory and its name";
            return Ok(Err(Error::new(ErrorKind::InvalidPath, what)));
        };
        if access == Access::Write && dir.perms.write_not_permitted() {
            let what = "the directory was given for reading only";
            return Ok(Err(Error::new(ErrorKind::ReadOnly, what)));
        }
        let handle = dir.dir.try_clone();
        Ok(match handle {
            Ok(handle) => DirTree::new(cap_std::fs::Dir::from_std_file(handle), path),
            Err(error) => {
                let what = "the directory cannot be opened again";
                Err(Error::new(ErrorKind::Other, what).with_source(error))
            }
        })
    }
}

pub(crate) fn saved(saved: Saved) -> types::Saved {
    types::Saved {
        sequence: saved.sequence,
        logical_bytes: saved.logical_bytes,
        uploaded_bytes: saved.uploaded_bytes,
    }
}

fn resume_point(point: ResumePoint) -> checkpointer::ResumePoint {
    match point {
        ResumePoint::Fresh => checkpointer::ResumePoint::Fresh,
        ResumePoint::Resumed(info) => checkpointer::ResumePoint::Resumed(checkpoint(&info)),
        ResumePoint::FellBack {
            checkpoint: info,
            damaged,
            reason,
        } => checkpointer::ResumePoint::FellBack(checkpointer::FallBack {
            checkpoint: checkpoint(&info),
            damaged,
            reason,
        }),
    }
}

/// Of a key that is given twice, the last value counts.
pub(crate) fn metadata(annotations: types::Annotations) -> Metadata {
    Metadata {
        annotations: annotations.into_iter().collect(),
        schema: None,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn checkpoint(info: &CheckpointInfo) -> checkpointer::Checkpoint {
    let age = SystemTime::now().duration_since(info.saved_at);
    checkpointer::Checkpoint {
        sequence: info.sequence,
        attempt: info.attempt,
        age: age.map_or(0, milliseconds),
        annotations: info.metadata.annotations.clone().into_iter().collect(),
        schema: info.metadata.schema.clone(),
    }
}
