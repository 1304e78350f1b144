//! The interface `paths`.

use checkpoint_session::held_bytes;

use super::bindings::exports::task::checkpoint::paths::{
    Annotations, Checkpoint, Error, Existing, Guest, Saved,
};
use super::calls::in_turn;
use crate::Component;
use crate::paths::open;
use crate::tree::Access;

impl Guest for Component {
    async fn save(path: String, annotations: Annotations) -> Result<Saved, Error> {
        let source = open(&path, Access::Read);
        let held = held_bytes(path.len(), &annotations);
        in_turn(held, async |session| {
            session.save(source, annotations).await
        })
        .await
    }

    async fn restore(path: String, existing: Existing) -> Result<Option<Checkpoint>, Error> {
        let target = open(&path, Access::Write);
        in_turn(path.len() as u64, async |session| {
            let restored = session.restore(target, existing.into()).await?;
            Ok(restored.map(Checkpoint::from))
        })
        .await
    }
}
