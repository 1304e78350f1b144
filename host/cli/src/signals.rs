//! Handles SIGTERM and SIGINT.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

/// A signal that asks this process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    number: u8,
}

impl Signal {
    /// Returns the code that shells use for a process that a signal ended.
    pub(crate) fn code(self) -> u8 {
        128 + self.number
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.number {
            2 => "SIGINT",
            _ => "SIGTERM",
        })
    }
}

impl From<Signal> for ExitCode {
    fn from(signal: Signal) -> Self {
        Self::from(signal.code())
    }
}

/// Listens for signals. The first one is reported. The second one ends the process at once, which harms nothing that is
/// committed.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<watch::Receiver<Option<Signal>>>);

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the system does not let this process listen.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(None);
        let mut source = Source::new()?;
        tokio::spawn(async move {
            let first = source.next().await;
            sender.send_replace(Some(first));
            let second = source.next().await;
            std::process::exit(second.code().into());
        });
        Ok(Self(Arc::new(receiver)))
    }

    /// Returns the first signal, if it has arrived.
    pub(crate) fn received(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits for the first signal.
    pub(crate) async fn first(&self) -> Signal {
        let mut receiver = self.0.as_ref().clone();
        let signal = receiver.wait_for(Option::is_some).await.ok();
        match signal.and_then(|signal| *signal) {
            Some(signal) => signal,
            // The listener is gone: the runtime is shutting down.
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Source {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal { number: 15 },
            _ = self.interrupt.recv() => Signal { number: 2 },
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal { number: 2 },
            Err(_) => std::future::pending().await,
        }
    }
}
