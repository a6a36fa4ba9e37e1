//! Where the agent's events go.

use std::io::{IsTerminal as _, stderr};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

/// Writes events to stderr: text for a person, or JSON for a collector. `LOCKSTEP_LOG` filters by targets and levels: an agent has no
/// spans to choose by, and can do without the machine that matches them.
pub fn start(json: bool) {
    let quiet = || Targets::new().with_default(LevelFilter::INFO);
    let (filter, trouble) = match std::env::var("LOCKSTEP_LOG").ok().map(|text| text.parse()) {
        None => (quiet(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (quiet(), Some(error)),
    };
    let events = fmt::layer().with_writer(stderr);
    let events = if json { events.json().boxed() } else { events.with_ansi(stderr().is_terminal()).boxed() };
    registry().with(events.with_filter(filter)).init();
    if let Some(error) = trouble {
        tracing::warn!("LOCKSTEP_LOG is not understood, and not used: {error}");
    }
}
