//! An agent that is a process of its own, from its configuration to the signal that ends it.

use crate::{AgentError, ConfigError, load};
use std::io;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Why the process has not begun its work, or has ended it.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gives no threads, or no signals.
    #[error("the agent cannot begin: {0}")]
    System(#[from] io::Error),
    /// The agent's own.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// It has panicked.
    #[error("the agent has failed: {0}")]
    Failed(#[from] tokio::task::JoinError),
}

/// Runs the agent of a configuration until SIGTERM or SIGINT, then stops its services in their order.
///
/// On a single worker, which wakes nobody else for what comes: an agent is to be small, and has little to do at a time.
///
/// # Errors
///
/// [`ProcessError`]: each is a sentence.
pub fn run(config: &Path) -> Result<(), ProcessError> {
    let config = load(config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(async {
        tokio::spawn(async {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let told = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            Ok(crate::run(config, told).await?)
        })
        .await?
    })
}
