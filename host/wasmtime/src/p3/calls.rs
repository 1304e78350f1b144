//! What the calls of all interfaces need.

use std::pin::Pin;
use std::task::Poll;

use checkpoint_session::{Answer, Session, Turn};
use tokio::task::AbortHandle;
use wasmtime::component::Accessor;

use crate::HasCheckpoint;

/// Returns the session of the guest that makes a call.
pub(crate) fn session<T>(store: &Accessor<T, HasCheckpoint>) -> Session {
    store.with(|mut access| access.get().ctx.session.clone())
}

/// A call that has its place among the guest's calls in flight.
pub(crate) struct Queued {
    session: Session,
    turn: Waiting,
}

enum Waiting {
    Over(Turn),
    For(Pin<Box<dyn Future<Output = Answer<Turn>> + Send>>),
}

impl Queued {
    /// Admits a call and gives it its place. The tasks of a runtime start in any order, so this is done before.
    pub(crate) async fn enter(session: Session, held_bytes: u64) -> Answer<Self> {
        let mut turn = Box::pin(session.turn(held_bytes));
        let turn = match futures::poll!(&mut turn) {
            Poll::Ready(turn) => Waiting::Over(turn?),
            Poll::Pending => Waiting::For(turn),
        };
        Ok(Self { session, turn })
    }

    /// Makes the call in its turn, as a task of its own, because nothing polls a guest's store while the guest
    /// computes. Dropping the future cancels the call.
    ///
    /// # Errors
    /// If the call panics.
    pub(crate) async fn make<T: Send + 'static, F>(
        self,
        call: impl FnOnce(Session) -> F + Send + 'static,
    ) -> wasmtime::Result<Answer<T>>
    where
        F: Future<Output = Answer<T>> + Send,
    {
        let made = self.make_keeping(call, drop).await?;
        Ok(made.map(|(answer, ())| answer))
    }

    /// Does the same for a call whose answer may be large. The returned turn is to be held until the guest has the
    /// answer.
    ///
    /// # Errors
    /// If the call panics.
    pub(crate) async fn make_large<T: Send + 'static, F>(
        self,
        call: impl FnOnce(Session) -> F + Send + 'static,
    ) -> wasmtime::Result<Answer<(T, Turn)>>
    where
        F: Future<Output = Answer<T>> + Send,
    {
        self.make_keeping(call, |turn| turn).await
    }

    async fn make_keeping<T: Send + 'static, F, K: Send + 'static>(
        self,
        call: impl FnOnce(Session) -> F + Send + 'static,
        keep: fn(Turn) -> K,
    ) -> wasmtime::Result<Answer<(T, K)>>
    where
        F: Future<Output = Answer<T>> + Send,
    {
        in_task(async move {
            let turn = match self.turn {
                Waiting::Over(turn) => turn,
                Waiting::For(turn) => turn.await?,
            };
            let answer = call(self.session).await?;
            Ok((answer, keep(turn)))
        })
        .await
    }
}

/// Makes a call whose arguments are this large in its turn. See [`Queued`].
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
    match Queued::enter(session, held_bytes).await {
        Ok(queued) => queued.make(call).await,
        Err(error) => Ok(Err(error)),
    }
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
