//! What the calls of all interfaces need.

use std::pin::pin;
use std::task::Poll;

use checkpoint_session::{Answer, Session, Turn};
use futures::poll;
use wit_bindgen::yield_async;

use super::bindings::exports::task::checkpoint::types::Error;
use crate::task::task;

/// Makes a call whose arguments are this large, once those before it have been made.
pub(crate) async fn in_turn<T: Into<U>, U>(
    held_bytes: u64,
    call: impl AsyncFnOnce(&Session) -> Answer<T>,
) -> Result<U, Error> {
    let task = task()?;
    let _turn = turn(&task.session, held_bytes).await?;
    Ok(task.run(call(&task.session))?.into())
}

/// Admits a call, lets the task continue, and returns when it is the call's turn.
async fn turn(session: &Session, held_bytes: u64) -> Answer<Turn> {
    let mut turn = pin!(session.turn(held_bytes));
    let mut polled = poll!(turn.as_mut())?;
    loop {
        // The call blocks the only thread. Without this, the task could not make another call beside it.
        yield_async().await;
        match polled {
            Poll::Ready(turn) => return Ok(turn),
            // `wit-bindgen` does not pass on the wakeup when the turn comes. Waiting like this costs little: the call
            // whose turn it is can run, and blocks until it has returned.
            Poll::Pending => polled = poll!(turn.as_mut())?,
        }
    }
}
