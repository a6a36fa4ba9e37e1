//! Threads for requests alone. However many there are, the pairs' drivers have theirs for themselves: leases are renewed in time.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that do nothing but requests; as many as there are processors.
#[derive(Debug)]
pub(crate) struct RequestThreads {
    /// Taken when they end.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl RequestThreads {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// The system gives no threads.
    pub fn start() -> io::Result<RequestThreads> {
        let runtime = Builder::new_multi_thread().thread_name("requests").enable_all().build()?;
        Ok(RequestThreads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where requests are to be done.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Does not wait for what is still being done, so that it can be dropped anywhere.
impl Drop for RequestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
