//! The signals that an edge listens to.

use tokio::signal::unix::{SignalKind, signal};

/// Until SIGTERM or SIGINT.
pub async fn terminated() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // Without handlers the kernel's own answer to both is to end the process.
        _ => std::future::pending().await,
    }
}
