//! The interface `checkpointer`.

use std::time::{Duration, Instant, SystemTime};

use checkpoint_storage as storage;

use crate::Component;
use crate::bindings::exports::task::checkpoint::checkpointer::{
    Advice, Annotations, Checkpoint, Error, FallBack, Guest, Limits, ResumePoint, Saved,
    SchemaChange,
};
use crate::task::{begun, metadata, saved, task};

impl Guest for Component {
    fn prev_exists() -> Result<bool, Error> {
        let task = task()?;
        task.answer(async {
            task.background.settle().await?;
            task.attempt.prev_exists().await
        })
    }

    fn resume() -> Result<ResumePoint, Error> {
        let task = task()?;
        let point = task.answer(task.attempt.resume_point());
        point.map(resume_point)
    }

    fn read() -> Result<Option<Vec<u8>>, Error> {
        let task = task()?;
        let read = task.answer(async {
            task.background.settle().await?;
            task.attempt.read().await
        });
        read.map(|contents| contents.map(Vec::from))
    }

    fn write(contents: Vec<u8>, annotations: Annotations) -> Result<Saved, Error> {
        let task = task()?;
        let answer = task.save(async {
            task.background.supersede().await?;
            let save = task.attempt.write(contents.into());
            save.metadata(metadata(annotations)).await
        });
        answer.map(saved)
    }

    fn write_in_background(contents: Vec<u8>, annotations: Annotations) -> Result<(), Error> {
        let task = task()?;
        let staged = task
            .background
            .write(&task.attempt, contents.into(), metadata(annotations));
        task.save(staged)
    }

    fn flush() -> Result<Option<Saved>, Error> {
        let task = task()?;
        let flushed = task.answer(task.background.flush());
        flushed.map(|newest| newest.map(saved))
    }

    fn declare_schema(name: String, change: SchemaChange) -> Result<(), Error> {
        let task = task()?;
        let change = match change {
            SchemaChange::Refuse => storage::SchemaChange::Refuse,
            SchemaChange::StartFresh => storage::SchemaChange::StartFresh,
            SchemaChange::Allow => storage::SchemaChange::Allow,
        };
        task.answer(task.attempt.declare_schema(name, change))
    }

    /// Never asks to stop: `wasmtime run` passes no signal on. Costs little, so it claims nothing either.
    fn should_save() -> Advice {
        let Some(task) = begun() else {
            return Advice {
                now: false,
                stopping: None,
            };
        };
        let advice = task.advisor().advise(Instant::now());
        Advice {
            now: advice.now,
            stopping: advice.stopping.map(milliseconds),
        }
    }

    fn get_limits() -> Result<Limits, Error> {
        let task = task()?;
        let limits = *task.attempt.limits();
        let bytes_left = task.answer(async { Ok(task.attempt.bytes_left().await) })?;
        Ok(Limits {
            checkpoint_bytes: limits.checkpoint_bytes,
            bytes_left,
            entries: limits.entries,
            path_bytes: limits.path_bytes as u64,
            annotation_bytes: limits.annotation_bytes as u64,
            saves_per_minute: limits.saves_per_minute,
        })
    }
}

fn resume_point(point: storage::ResumePoint) -> ResumePoint {
    match point {
        storage::ResumePoint::Fresh => ResumePoint::Fresh,
        storage::ResumePoint::Resumed(info) => ResumePoint::Resumed(checkpoint(info)),
        storage::ResumePoint::FellBack {
            checkpoint: info,
            damaged,
            reason,
        } => ResumePoint::FellBack(FallBack {
            checkpoint: checkpoint(info),
            damaged,
            reason,
        }),
    }
}

fn checkpoint(info: storage::CheckpointInfo) -> Checkpoint {
    let age = SystemTime::now().duration_since(info.saved_at);
    Checkpoint {
        sequence: info.sequence,
        attempt: info.attempt,
        age: age.map_or(0, milliseconds),
        annotations: info.metadata.annotations.into_iter().collect(),
        schema: info.metadata.schema,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
