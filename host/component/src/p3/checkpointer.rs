//! The interface `checkpointer`.

use std::mem;

use checkpoint_session::held_bytes;
use wit_bindgen::FutureReader;

use super::bindings::exports::task::checkpoint::checkpointer::{
    Advice, Annotations, Contents, Error, Guest, Limits, ResumePoint, Saved, SchemaChange,
};
use super::bindings::wit_future;
use super::calls::in_turn;
use crate::Component;
use crate::checkpointer::{is_save_due, save_advice};

impl Guest for Component {
    async fn prev_exists() -> Result<bool, Error> {
        in_turn(0, async |session| session.prev_exists().await).await
    }

    async fn get_resume_point() -> Result<ResumePoint, Error> {
        in_turn(0, async |session| session.resume_point().await).await
    }

    async fn read() -> Result<Option<Contents>, Error> {
        in_turn(0, async |session| {
            Ok(session.read().await?.map(Contents::from))
        })
        .await
    }

    async fn write(contents: Vec<u8>, annotations: Annotations) -> Result<Saved, Error> {
        let held = held_bytes(contents.len(), &annotations);
        in_turn(held, async |session| {
            session.write(contents.into(), annotations).await
        })
        .await
    }

    async fn declare_schema(name: String, change: SchemaChange) -> Result<(), Error> {
        in_turn(name.len() as u64, async |session| {
            session.declare_schema(name, change.into()).await
        })
        .await
    }

    fn should_save() -> Advice {
        save_advice().into()
    }

    fn save_due() -> bool {
        is_save_due()
    }

    fn stopping() -> FutureReader<u64> {
        // `wasmtime run` does not forward signals, so this never resolves. Dropping the writer would resolve it, and
        // nothing tells when the task drops the future. So each costs a handle; `task_checkpoint` uses one again.
        let (writer, stopping) = wit_future::new(|| 0);
        mem::forget(writer);
        stopping
    }

    async fn get_limits() -> Result<Limits, Error> {
        in_turn(0, async |session| Ok(session.limits().await)).await
    }
}
