//! Where the rooms' `tracing` goes.

use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// Writes events to stderr: text for a person, or JSON for a collector. `LOCKSTEP_LOG` filters.
pub fn start(json: bool) {
    let (filter, trouble) = match std::env::var("LOCKSTEP_LOG").ok().map(EnvFilter::try_new) {
        None => (quiet(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (quiet(), Some(error)),
    };
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if json {
        events.json().init();
    } else {
        events.with_ansi(stderr().is_terminal()).init();
    }
    if let Some(error) = trouble {
        tracing::warn!("LOCKSTEP_LOG is not understood, and not used: {error}");
    }
}

/// The proxy's own library tells each connection that a client breaks off.
fn quiet() -> EnvFilter {
    EnvFilter::new("info,pingora_core=error,pingora_proxy=error")
}
