//! Saves under way.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{Result, Saved};

/// A save that is under way. Await it to get its result. It goes on if this is dropped, until the task returns.
pub struct Saving {
    shared: Rc<RefCell<State>>,
}

enum State {
    /// With whoever awaits it.
    UnderWay(Option<Waker>),
    Done(Result<Saved>),
    Taken,
}

impl Saving {
    /// Makes the call now, and lets it go on beside the task.
    pub(crate) fn start(save: impl Future<Output = Result<Saved>> + 'static) -> Self {
        let mut save = Box::pin(save);
        // A spawned future is not polled before the task awaits something.
        let first = save.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let state = match first {
            Poll::Ready(result) => State::Done(result),
            Poll::Pending => State::UnderWay(None),
        };
        let is_under_way = matches!(state, State::UnderWay(_));
        let shared = Rc::new(RefCell::new(state));
        if is_under_way {
            let shared = shared.clone();
            super::spawn(async move {
                let result = save.await;
                if let State::UnderWay(Some(waker)) = shared.replace(State::Done(result)) {
                    waker.wake();
                }
            });
        }
        Self { shared }
    }

    /// Returns whether the save has ended. It is noticed when the task awaits something, such as
    /// [`yield_now`](super::yield_now).
    pub fn is_done(&self) -> bool {
        !matches!(*self.shared.borrow(), State::UnderWay(_))
    }
}

impl Future for Saving {
    type Output = Result<Saved>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.borrow_mut();
        match &mut *state {
            State::UnderWay(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Done(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => Poll::Ready(result),
                State::UnderWay(_) | State::Taken => Poll::Pending,
            },
            State::Taken => panic!("a save was awaited after it had returned"),
        }
    }
}

impl fmt::Debug for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saving")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}
