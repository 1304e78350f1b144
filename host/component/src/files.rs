//! The interface `files`.

use checkpoint_session::check_path;
use checkpoint_storage as storage;
use wasip2::filesystem::types::Descriptor;

use crate::Component;
use crate::bindings::exports::task::checkpoint::files::{
    Annotations, Error, Existing, Guest, Saved,
};
use crate::task::call;
use crate::tree::Beneath;

impl Guest for Component {
    fn save(dir: &Descriptor, path: String, annotations: Annotations) -> Result<Saved, Error> {
        call(async |session| session.save(open(dir, &path), annotations).await)
    }

    fn save_in_background(
        dir: &Descriptor,
        path: String,
        annotations: Annotations,
    ) -> Result<(), Error> {
        call(async |session| {
            let source = open(dir, &path);
            session.save_in_background(source, annotations).await
        })
    }

    fn restore(dir: &Descriptor, path: String, existing: Existing) -> Result<Option<u64>, Error> {
        call(async |session| {
            let target = open(dir, &path).and_then(Beneath::writable);
            session.restore(target, existing.into()).await
        })
    }
}

fn open(dir: &Descriptor, path: &str) -> storage::Result<Beneath> {
    check_path(path)?;
    Beneath::new(dir, path)
}
