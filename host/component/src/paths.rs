//! The interface `paths`.

use checkpoint_session::locate;
use checkpoint_storage::{DirTree, Result};
use wasip2::filesystem::preopens::get_directories;

use crate::Component;
use crate::bindings::exports::task::checkpoint::paths::{
    Annotations, Checkpoint, Error, Existing, Guest, Saved,
};
use crate::isolation::visible;
use crate::task::call;
use crate::tree::{Access, WasiDir, beneath};

impl Guest for Component {
    fn save(path: String, annotations: Annotations) -> Result<Saved, Error> {
        let source = open(&path, Access::Read);
        call(async |session| session.save(source, annotations).await)
    }

    fn save_in_background(path: String, annotations: Annotations) -> Result<(), Error> {
        let source = open(&path, Access::Read);
        call(async |session| session.save_in_background(source, annotations).await)
    }

    fn restore(path: String, existing: Existing) -> Result<Option<Checkpoint>, Error> {
        let target = open(&path, Access::Write);
        call(async |session| {
            let restored = session.restore(target, existing.into()).await?;
            Ok(restored.map(Checkpoint::from))
        })
    }
}

/// Opens a path in the directories that the task sees. They exclude those that hold its checkpoints. Finding those may
/// need a runtime, so it is done outside of [`call`], which runs in one.
pub(crate) fn open(path: &str, access: Access) -> Result<DirTree<WasiDir>> {
    let (dir, rest) = locate(visible(get_directories()), path)?;
    beneath(&dir, &rest, access)
}
