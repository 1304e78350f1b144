//! The interface `checkpointer`.

use checkpoint_session::Session;

use crate::Component;
use crate::bindings::exports::task::checkpoint::checkpointer::{
    Advice, Annotations, Contents, Error, Guest, Limits, ResumePoint, Saved, SchemaChange,
};
use crate::task::{begun, call};

impl Guest for Component {
    fn prev_exists() -> Result<bool, Error> {
        call(async |session| session.prev_exists().await)
    }

    fn get_resume_point() -> Result<ResumePoint, Error> {
        call(async |session| session.resume_point().await)
    }

    fn read() -> Result<Option<Contents>, Error> {
        call(async |session| Ok(session.read().await?.map(Contents::from)))
    }

    fn write(contents: Vec<u8>, annotations: Annotations) -> Result<Saved, Error> {
        call(async |session| session.write(contents.into(), annotations).await)
    }

    fn write_in_background(contents: Vec<u8>, annotations: Annotations) -> Result<(), Error> {
        call(async |session| {
            session
                .write_in_background(contents.into(), annotations)
                .await
        })
    }

    fn flush() -> Result<Option<Saved>, Error> {
        call(async |session| Ok(session.flush().await?.map(Saved::from)))
    }

    fn declare_schema(name: String, change: SchemaChange) -> Result<(), Error> {
        call(async |session| session.declare_schema(name, change.into()).await)
    }

    fn should_save() -> Advice {
        save_advice().into()
    }

    fn save_due() -> bool {
        is_save_due()
    }

    fn get_limits() -> Result<Limits, Error> {
        call(async |session| Ok(session.limits().await))
    }
}

/// Never asks the task to stop, because `wasmtime run` does not forward signals. Does not claim the location, so that it
/// stays cheap.
pub(crate) fn save_advice() -> checkpoint_session::Advice {
    begun().map(Session::should_save).unwrap_or_default()
}

/// Returns whether it is a good time to save. Does not claim the location either.
pub(crate) fn is_save_due() -> bool {
    begun().is_some_and(Session::save_due)
}
