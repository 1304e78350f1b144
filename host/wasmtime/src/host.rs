//! The functions of the import.

use std::time::SystemTime;

use checkpoint_storage::Existing;
use checkpoint_storage::{
    BeneathDir, CheckpointInfo, Error, ErrorKind, Result, ResumePoint, Saved,
};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;

use crate::bindings::task::checkpoint::{checkpointer, files, types};
use crate::ctx::CheckpointCtxView;

/// The longest path that a guest may name. Linux takes no longer one.
const MAX_PATH_BYTES: usize = 4096;

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl types::Host for CheckpointCtxView<'_> {}

impl checkpointer::Host for CheckpointCtxView<'_> {
    async fn prev_exists(&mut self) -> Answer<bool> {
        let answer = self.ctx.attempt.prev_exists().await;
        Ok(self.answer(answer))
    }

    async fn resume(&mut self) -> Answer<checkpointer::ResumePoint> {
        let answer = self.ctx.attempt.resume_point().await;
        Ok(self.answer(answer.map(resume_point)))
    }

    async fn read(&mut self) -> Answer<Option<Vec<u8>>> {
        let answer = self.ctx.attempt.read().await;
        Ok(self.answer(answer.map(|contents| contents.map(Vec::from))))
    }

    async fn write(&mut self, contents: Vec<u8>) -> Answer<types::Saved> {
        let answer = self.ctx.attempt.write(contents.into()).await;
        Ok(self.answer(answer.map(saved)))
    }
}

impl files::Host for CheckpointCtxView<'_> {
    async fn save(&mut self, dir: Resource<Descriptor>, path: String) -> Answer<types::Saved> {
        let answer = match self.beneath(&dir, &path, Access::Read)? {
            Ok(source) => self.ctx.attempt.save(source).await,
            Err(error) => Err(error),
        };
        Ok(self.answer(answer.map(saved)))
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
            Ok(target) => self.ctx.attempt.restore(target, existing).await,
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
    fn answer<T>(&mut self, answer: Result<T>) -> Result<T, types::Error> {
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
    ) -> wasmtime::Result<Result<BeneathDir>> {
        let Descriptor::Dir(dir) = self.table.get(dir)? else {
            let what = "the descriptor is a file; pass its directory and its name";
            return Ok(Err(Error::new(ErrorKind::InvalidPath, what)));
        };
        if access == Access::Write && dir.perms.write_not_permitted() {
            let what = "the directory was given for reading only";
            return Ok(Err(Error::new(ErrorKind::ReadOnly, what)));
        }
        if path.len() > MAX_PATH_BYTES {
            let what = format!(
                "a path of {} bytes; {MAX_PATH_BYTES} are allowed",
                path.len()
            );
            return Ok(Err(Error::new(ErrorKind::InvalidPath, what)));
        }
        let handle = dir.dir.try_clone();
        Ok(match handle {
            Ok(handle) => BeneathDir::new(cap_std::fs::Dir::from_std_file(handle), path),
            Err(error) => {
                let what = "the directory cannot be opened again";
                Err(Error::new(ErrorKind::Other, what).with_source(error))
            }
        })
    }
}

fn saved(saved: Saved) -> types::Saved {
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

fn checkpoint(info: &CheckpointInfo) -> checkpointer::Checkpoint {
    let age = SystemTime::now().duration_since(info.saved_at);
    checkpointer::Checkpoint {
        sequence: info.sequence,
        attempt: info.attempt,
        age: age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    }
}
