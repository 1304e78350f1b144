//! A call whose future is dropped, and the end of the attempt, cancel what runs on other threads.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use checkpoint_storage::{
    Cancel, Entry, ErrorKind, Existing, Limits, Node, Result, TargetState, Tree, TreeReader,
    TreeSource, TreeTarget, TreeWriter,
};
use futures::future::{Either, select};
use tokio::sync::Notify;

use super::{Place, noise, text};

const MINUTE: Duration = Duration::from_secs(60);

/// At which step a call is cancelled, and how many steps its work has.
const NTH: usize = 3;
const STEPS: usize = 100;

/// How much a step reads.
const STEP_BYTES: usize = 1000;

/// A tree in memory of one file. Each step that reads or writes it waits at a gate from the `NTH` on.
#[derive(Clone, Default)]
struct Gated(Arc<Gate>);

#[derive(Default)]
struct Gate {
    begun: AtomicUsize,
    arrived: Notify,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    fn pass(&self) {
        if self.0.begun.fetch_add(1, Ordering::SeqCst) + 1 < NTH {
            return;
        }
        self.0.arrived.notify_one();
        let is_open = self.0.is_open.lock().unwrap();
        drop(self.0.opened.wait_while(is_open, |is_open| !*is_open));
    }

    async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    fn open(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }
}

impl TreeSource for Gated {
    fn reader(&self, _limits: &Limits, _cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        let (gate, read) = (self.clone(), 0);
        Ok(Box::new(Steps { gate, read }))
    }
}

struct Steps {
    gate: Gated,
    read: usize,
}

impl TreeReader for Steps {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.read == STEPS {
            return Ok(0);
        }
        self.gate.pass();
        self.read += 1;
        into[..STEP_BYTES].fill(1);
        Ok(STEP_BYTES)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Tree::new(vec![Entry {
            path: String::new(),
            node: Node::File {
                size_bytes: (self.read * STEP_BYTES) as u64,
            },
            mode: 0o644,
            modified: SystemTime::UNIX_EPOCH,
        }])
    }
}

impl TreeTarget for Gated {
    fn state(&self) -> Result<TargetState> {
        Ok(TargetState::Absent)
    }

    fn writer(
        &self,
        _tree: &Tree,
        _existing: Existing,
        cancel: &Cancel,
    ) -> Result<Box<dyn TreeWriter>> {
        Ok(Box::new(Pieces(self.clone(), cancel.clone())))
    }
}

/// The token is dropped after everything else.
struct Pieces(Gated, #[expect(dead_code, reason = "it is held")] Cancel);

impl TreeWriter for Pieces {
    fn write(&mut self, _piece: &[u8]) -> Result<()> {
        self.0.pass();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_copy_for_a_background_save_stops_when_its_call_is_dropped() {
    let place = Place::new();
    let session = place.begin().await;
    let source = Gated::default();
    let saving = Box::pin(session.save_in_background(Ok(source.clone()), vec![]));
    match select(pin!(source.arrived()), saving).await {
        // This drops the call.
        Either::Left(_) => {}
        Either::Right((ended, _)) => panic!("{ended:?}"),
    }
    source.open();
    session.attempt().quiesce().await;
    assert_eq!(source.begun(), NTH);
    let outcome = session.finish(MINUTE).await;
    assert_eq!(outcome.totals.saves, 0);
}

#[tokio::test]
async fn the_end_stops_a_copy_for_a_background_save() {
    let place = Place::new();
    let session = place.begin().await;
    let source = Gated::default();
    let call = (session.clone(), source.clone());
    let saving = tokio::spawn(async move { call.0.save_in_background(Ok(call.1), vec![]).await });
    source.arrived().await;
    let stopped = async {
        saving.await.unwrap().unwrap_err();
        source.open();
    };
    let (outcome, ()) = tokio::join!(session.finish(MINUTE), stopped);
    assert_eq!(source.begun(), NTH);
    assert!(outcome.lost.is_none(), "it was never acknowledged");
    assert_eq!(place.found().await, None);
}

#[tokio::test]
async fn the_end_stops_a_restore_and_permits_no_other() {
    let place = Place::new();
    let first = place.begin().await;
    first.write(noise(32 << 20).into(), vec![]).await.unwrap();
    let session = place.begin().await;
    let target = Gated::default();
    let call = (session.clone(), target.clone());
    let restoring = async move { call.0.restore(Ok(call.1), Existing::Replace).await };
    let restoring = tokio::spawn(restoring);
    target.arrived().await;
    let stopped = async {
        restoring.await.unwrap().unwrap_err();
        target.open();
    };
    let (_, ()) = tokio::join!(session.finish(MINUTE), stopped);
    assert_eq!(target.begun(), NTH);
    let users = Arc::strong_count(&target.0);
    assert_eq!(users, 1, "the end has waited for the last step");
    let again = session.restore(Ok(target.clone()), Existing::Replace).await;
    again.unwrap_err();
    assert_eq!(target.begun(), NTH);
}

#[tokio::test(start_paused = true)]
async fn the_end_aborts_the_save_in_flight_when_its_time_is_over() {
    let place = Place::new();
    let session = place.begin().await;
    // The storage does not answer.
    place.slow_puts(60 * MINUTE);
    for contents in ["in flight", "queued"] {
        let staged = session.write_in_background(contents.into(), vec![]).await;
        staged.unwrap();
        tokio::task::yield_now().await;
    }
    let outcome = session.finish(MINUTE).await;
    let lost = outcome.lost.map(|error| error.kind());
    assert_eq!(lost, Some(ErrorKind::Unavailable));
    // Not even much later does anything arrive.
    tokio::time::sleep(300 * MINUTE).await;
    place.slow_puts(Duration::ZERO);
    assert_eq!(session.attempt().totals().saves, 0);
    assert_eq!(place.found().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_end_stops_a_save_that_the_storage_does_not_answer() {
    let place = Place::new();
    let session = place.begin().await;
    place.slow_puts(60 * MINUTE);
    let saver = session.clone();
    let saving = tokio::spawn(async move { saver.write("late".into(), vec![]).await });
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    let _ = session.finish(MINUTE).await;
    saving.await.unwrap().unwrap_err();
    assert!(began.elapsed() <= MINUTE);
    tokio::time::sleep(300 * MINUTE).await;
    place.slow_puts(Duration::ZERO);
    assert_eq!(place.found().await, None);
}

#[tokio::test]
async fn the_end_stops_a_save_of_a_directory() {
    let place = Place::new();
    let session = place.begin().await;
    session.write("kept".into(), vec![]).await.unwrap();
    let source = Gated::default();
    let call = (session.clone(), source.clone());
    let saving = tokio::spawn(async move { call.0.save(Ok(call.1), vec![]).await });
    source.arrived().await;
    let stopped = async {
        saving.await.unwrap().unwrap_err();
        source.open();
    };
    let _ = tokio::join!(session.finish(MINUTE), stopped);
    assert_eq!(source.begun(), NTH);
    assert_eq!(text(&session).await.as_deref(), Some("kept"));
}
