//! The interface `files`.

use checkpoint_storage::Existing;
use wasip2::filesystem::types::Descriptor;

use crate::Component;
use crate::bindings::exports::task::checkpoint::files::{
    Annotations, Error, Existing as Asked, Guest, Saved,
};
use crate::errors::told;
use crate::task::{metadata, saved, task};
use crate::tree::{Access, beneath};

impl Guest for Component {
    fn save(dir: &Descriptor, path: String, annotations: Annotations) -> Result<Saved, Error> {
        let task = task()?;
        let source = beneath(dir, &path, Access::Read).map_err(told)?;
        let answer = task.save(async {
            task.background.supersede().await?;
            task.attempt
                .save(source)
                .metadata(metadata(annotations))
                .await
        });
        answer.map(saved)
    }

    fn save_in_background(
        dir: &Descriptor,
        path: String,
        annotations: Annotations,
    ) -> Result<(), Error> {
        let task = task()?;
        let source = beneath(dir, &path, Access::Read).map_err(told)?;
        task.save(
            task.background
                .save(&task.attempt, source, metadata(annotations)),
        )
    }

    fn restore(dir: &Descriptor, path: String, existing: Asked) -> Result<Option<u64>, Error> {
        let task = task()?;
        let target = beneath(dir, &path, Access::Write).map_err(told)?;
        let existing = match existing {
            Asked::Refuse => Existing::Refuse,
            Asked::Replace => Existing::Replace,
        };
        task.answer(async {
            task.background.settle().await?;
            task.attempt.restore(target, existing).await
        })
    }
}
