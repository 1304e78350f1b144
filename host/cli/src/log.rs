//! Prints the libraries' events on stderr.

use checkpoint_session::event_line;
use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::output::say;

/// The variable that selects events by target, such as `checkpoint_storage=debug,object_store=info`.
const VARIABLE: &str = "RUST_LOG";

/// The crates whose events `--log` prints.
const CRATES: [&str; 3] = ["checkpoint_storage", "checkpoint_session", "object_store"];

/// How much to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verbosity {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Starts to print events: those that `chosen` says, else those that `RUST_LOG` says, else those of `default`.
pub(crate) fn start(chosen: Option<Verbosity>, default: Verbosity) {
    let of_variable = || {
        let text = std::env::var(VARIABLE).ok()?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        match text.parse::<Targets>() {
            Ok(targets) => Some(targets),
            Err(error) => {
                say(format!(
                    "warning: ignoring {VARIABLE}: {error}; use LEVEL or TARGET=LEVEL, separated by commas"
                ));
                None
            }
        }
    };
    let targets = match chosen {
        Some(chosen) => targets(chosen),
        None => of_variable().unwrap_or_else(|| targets(default)),
    };
    let subscriber = Registry::default().with(Stderr.with_filter(targets));
    // Fails if another program that acts as this one has set its own, which may stay.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn targets(verbosity: Verbosity) -> Targets {
    let level = match verbosity {
        Verbosity::Off => LevelFilter::OFF,
        Verbosity::Error => LevelFilter::ERROR,
        Verbosity::Warn => LevelFilter::WARN,
        Verbosity::Info => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_targets(CRATES.map(|name| (name, level)))
}

/// Prints each event as one line.
struct Stderr;

impl<S: Subscriber> Layer<S> for Stderr {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        say(event_line(event));
    }
}
