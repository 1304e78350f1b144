//! What the calls of all interfaces need.

use std::task::Poll;

use checkpoint_session::{Answer, Session, Turn};
use tokio::task::AbortHandle;
use wasmtime::component::Accessor;

use super::bindings::task::checkpoint::types;
use crate::HasCheckpoint;

/// Returns the session of the guest that makes a call.
pub(crate) fn session<T>(store: &Accessor<T, HasCheckpoint>) -> Session {
    store.with(|mut access| access.get().ctx.session.clone())
}

/// Makes a call in its turn, as a task of its own, because nothing polls a guest's store while the guest computes.
/// Dropping the future cancels the call.
///
/// # Errors
/// If the call panics.
pub(crate) async fn in_turn<T: Send + 'static, F>(
    session: Session,
    held_bytes: u64,
    call: impl FnOnce(Session) -> F + Send + 'static,
) -> wasmtime::Result<Answer<T>>
where
    F: Future<Output = Answer<T>> + Send,
{
    let made = make(session, held_bytes, call, drop).await?;
    Ok(made.map(|(answer, ())| answer))
}

/// Does the same for a call whose answer may be large. No other call is made before the guest has the answer.
///
/// # Errors
/// If the call panics.
pub(crate) async fn in_turn_until_returned<T: Send + 'static, F>(
    session: Session,
    call: impl FnOnce(Session) -> F + Send + 'static,
) -> wasmtime::Result<Answer<(T, Turn)>>
where
    F: Future<Output = Answer<T>> + Send,
{
    make(session, 0, call, |turn| turn).await
}

/// Makes a call in its turn, and keeps of the turn what `keep` returns.
async fn make<T: Send + 'static, F, K: Send + 'static>(
    session: Session,
    held_bytes: u64,
    call: impl FnOnce(Session) -> F + Send + 'static,
    keep: fn(Turn) -> K,
) -> wasmtime::Result<Answer<(T, K)>>
where
    F: Future<Output = Answer<T>> + Send,
{
    let mut turn = Box::pin(session.turn(held_bytes));
    // Takes its place among the guest's calls now. The tasks of a runtime start in any order.
    let first = futures::poll!(&mut turn);
    in_task(async move {
        let turn = match first {
            Poll::Ready(turn) => turn?,
            Poll::Pending => turn.await?,
        };
        let answer = call(session).await?;
        Ok((answer, keep(turn)))
    })
    .await
}

/// Runs a future as a task of its own. Dropping the returned future cancels it.
///
/// # Errors
/// If the future panics.
pub(crate) async fn in_task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> wasmtime::Result<T> {
    let task = tokio::spawn(future);
    let _cancelled = AbortOnDrop(task.abort_handle());
    Ok(task.await?)
}

/// Ends a task that nobody waits for any more.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the size of the arguments of a call: a path or contents of this size, and annotations.
pub(crate) fn held_bytes(size: usize, annotations: &types::Annotations) -> u64 {
    let texts = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len());
    let pairs = annotations.len() * size_of::<(String, String)>();
    (size + pairs + texts.sum::<usize>()) as u64
}
