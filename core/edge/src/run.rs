//! An edge's life: everything is bound and opened first, then it starts; nothing starts by halves.

use crate::config::Report;
use std::future::Future;
use std::path::Path;

/// An edge does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The configuration is not valid.
    #[error("{0}")]
    Config(#[from] Report),
}

/// Runs an edge until `shutdown` is there.
pub async fn run(config: &Path, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), EdgeError> {
    let _config = crate::config::load(config)?;
    shutdown.await;
    Ok(())
}
