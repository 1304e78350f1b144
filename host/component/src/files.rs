//! The interface `files`.

use wasip2::filesystem::types::Descriptor;

use crate::Component;
use crate::bindings::exports::task::checkpoint::files::{
    Annotations, Checkpoint, Error, Existing, Guest, Saved,
};
use crate::task::call;
use crate::tree::{Access, beneath};

impl Guest for Component {
    fn save(dir: &Descriptor, path: String, annotations: Annotations) -> Result<Saved, Error> {
        call(async |session| {
            session
                .save(beneath(dir, &path, Access::Read), annotations)
                .await
        })
    }

    fn save_in_background(
        dir: &Descriptor,
        path: String,
        annotations: Annotations,
    ) -> Result<(), Error> {
        call(async |session| {
            let source = beneath(dir, &path, Access::Read);
            session.save_in_background(source, annotations).await
        })
    }

    fn restore(
        dir: &Descriptor,
        path: String,
        existing: Existing,
    ) -> Result<Option<Checkpoint>, Error> {
        call(async |session| {
            let target = beneath(dir, &path, Access::Write);
            let restored = session.restore(target, existing.into()).await?;
            Ok(restored.map(Checkpoint::from))
        })
    }
}
