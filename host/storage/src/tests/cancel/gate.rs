//! A directory whose operations of one kind wait at a gate.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use futures::future::{Either, select};
use tokio::sync::{Notify, watch};

use crate::tests::hooked::{Hook, Hooked, Op};
use crate::tree::handle::Failure;

/// A handle behind a gate.
pub(super) type Gated = Hooked<AtGate>;

/// The gate, how many operations pass it freely, and how many have begun.
#[derive(Debug)]
pub(super) struct Gate {
    op: Op,
    free: usize,
    begun: AtomicUsize,
    arrived: Notify,
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Each handle holds a receiver.
    handles: watch::Sender<()>,
}

impl Gate {
    /// Creates a gate that lets operations pass until the `nth`, from 1, arrives.
    pub(super) fn before(op: Op, nth: usize) -> Arc<Self> {
        Arc::new(Self {
            op,
            free: nth - 1,
            begun: AtomicUsize::new(0),
            arrived: Notify::new(),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
            handles: watch::Sender::new(()),
        })
    }

    pub(super) fn open(self: &Arc<Self>, dir: &Path) -> Gated {
        let gate = AtGate {
            gate: self.clone(),
            _alive: self.handles.subscribe(),
        };
        Hooked::open(dir, gate)
    }

    /// Polls `call` until an operation waits, drops it, and lets every operation pass.
    pub(super) async fn drop_at_gate<T>(&self, call: impl Future<Output = T>) {
        let waits = match select(pin!(self.arrived.notified()), Box::pin(call)).await {
            // This drops the call.
            Either::Left(_) => true,
            Either::Right(_) => false,
        };
        self.open_for_good();
        assert!(waits, "the call ended before it came to {:?}", self.op);
    }

    pub(super) fn open_for_good(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Returns how many operations have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until every handle is closed.
    pub(super) async fn closed(&self) {
        self.handles.closed().await;
    }

    fn pass(&self, op: Op) {
        if op != self.op {
            return;
        }
        if self.begun.fetch_add(1, Ordering::SeqCst) < self.free {
            return;
        }
        self.arrived.notify_one();
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }
}

/// What each handle knows of the gate.
#[derive(Clone, Debug)]
pub(super) struct AtGate {
    gate: Arc<Gate>,
    _alive: watch::Receiver<()>,
}

impl Hook for AtGate {
    // So that each file is synced, however many there are.
    const FILE_SYSTEM: bool = false;

    fn before(&self, op: Op, _name: &Path) -> Result<(), Failure> {
        self.gate.pass(op);
        Ok(())
    }
}
