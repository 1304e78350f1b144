//! Calls of a guest that are in flight at the same time, as those of WASI 0.3.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checkpoint_storage::{Error, ErrorKind};
use tokio::sync::OwnedMutexGuard;

use crate::session::{Annotations, Answer, Session};

/// The most calls of a guest in flight. They take effect one at a time, so more would only wait.
pub(crate) const MAX_CALLS: usize = 64;

/// The calls that a guest has in flight.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    in_flight: Arc<Mutex<InFlight>>,
    /// Held by the call that is being made. Fair, so that calls take effect in their order.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct InFlight {
    calls: usize,
    held_bytes: u64,
}

/// A call in flight. Dropping it ends the call.
#[derive(Debug)]
pub struct Call {
    in_flight: Arc<Mutex<InFlight>>,
    held_bytes: u64,
}

/// A call in flight, before which no other is left. Dropping it ends the call.
#[derive(Debug)]
pub struct Turn {
    _turn: OwnedMutexGuard<()>,
    _call: Call,
}

impl Calls {
    /// Returns whether a call is in flight.
    pub(crate) fn are_in_flight(&self) -> bool {
        lock(&self.in_flight).calls > 0
    }
}

impl Session {
    /// Admits a call that may be in flight with others. `held_bytes` is the size of its arguments, which the host
    /// holds until the call ends.
    ///
    /// # Errors
    /// [`GuestError::QuotaExceeded`](crate::GuestError::QuotaExceeded) if 64 calls are in flight, or if their
    /// arguments together would exceed [`Limits::background_bytes`](checkpoint_storage::Limits::background_bytes).
    pub fn begin_call(&self, held_bytes: u64) -> Answer<Call> {
        let shared = &self.shared.calls.in_flight;
        let mut in_flight = lock(shared);
        let held = in_flight.held_bytes.saturating_add(held_bytes);
        let most = self.attempt().limits().background_bytes;
        let refused = if in_flight.calls >= MAX_CALLS {
            Some(format!(
                "{MAX_CALLS} calls are in flight; await one of them first"
            ))
        } else if held > most {
            Some(format!(
                "the calls in flight would hold {held} bytes, and this host permits {most}; await one of them first, \
                 or use a stream"
            ))
        } else {
            None
        };
        if let Some(why) = refused {
            drop(in_flight);
            return self.answer(Err(Error::new(ErrorKind::QuotaExceeded, why)));
        }
        in_flight.calls += 1;
        in_flight.held_bytes = held;
        Ok(Call {
            in_flight: shared.clone(),
            held_bytes,
        })
    }

    /// [Admits](Self::begin_call) a call when it is first polled, and waits for those that were admitted before it. So
    /// the calls of a guest take effect in their order, and hold no more at a time than those of a guest that waits
    /// for each.
    ///
    /// # Errors
    /// Those of [`begin_call`](Self::begin_call). If the attempt ends first.
    pub fn turn(&self, held_bytes: u64) -> impl Future<Output = Answer<Turn>> + Send + use<> {
        let session = self.clone();
        async move {
            let call = session.begin_call(held_bytes)?;
            let turn = session.shared.calls.turn.clone();
            let waiting = session.until_end(async { Ok(turn.lock_owned().await) });
            let turn = waiting.await;
            Ok(Turn {
                _turn: session.answer(turn)?,
                _call: call,
            })
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.in_flight);
        in_flight.calls -= 1;
        in_flight.held_bytes -= self.held_bytes;
    }
}

/// Returns the size of the arguments of a call, for [`Session::turn`]: a path or contents of this size, and annotations.
#[must_use]
pub fn held_bytes(size: usize, annotations: &Annotations) -> u64 {
    let texts = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len());
    let pairs = annotations.len() * size_of::<(String, String)>();
    (size + pairs + texts.sum::<usize>()) as u64
}

fn lock(in_flight: &Mutex<InFlight>) -> MutexGuard<'_, InFlight> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}
