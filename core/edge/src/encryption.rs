//! TLS with clients and servers: its files are read before anything starts or changes, all of them or none.

use crate::config::PairConfig;
use crate::proxy::{PairProxy, Termination, TlsError, Upstream};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// From one look at the certificates' dates to the next.
const LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// One pair's, read.
pub(crate) struct Encryption {
    /// In the order of the configuration's listeners.
    pub(crate) listeners: Vec<Option<Arc<Termination>>>,
    pub(crate) upstream: Upstream,
}

/// One pair's, in force.
pub(crate) struct Live {
    pub(crate) pair: String,
    pub(crate) listeners: Vec<Arc<Termination>>,
    pub(crate) proxy: Arc<PairProxy>,
}

impl Encryption {
    /// Reads the files. An error comes with the key that names the file.
    pub(crate) fn open(pair: &PairConfig) -> Result<Encryption, (&'static str, TlsError)> {
        let of_listener = |error| ("pair.listener.tls", error);
        let listeners = pair.listener.iter().map(|listener| listener.tls.as_ref());
        let listeners = listeners.map(|tls| tls.map(|tls| Termination::open(tls).map(Arc::new)).transpose());
        let listeners = listeners.collect::<Result<_, _>>().map_err(of_listener)?;
        let upstream = Upstream::open(&pair.upstream).map_err(|error| ("pair.upstream.tls", error))?;
        Ok(Encryption { listeners, upstream })
    }
}

impl Live {
    fn ending(&self) -> Vec<String> {
        let listeners = self.listeners.iter().flat_map(|listener| listener.ending());
        listeners.chain(self.proxy.upstream().ending()).collect()
    }
}

/// Says in the log, once a day, which certificates end soon.
pub(crate) async fn keep_looking(all: Arc<ArcSwap<Vec<Live>>>) {
    loop {
        for live in all.load().iter() {
            for sentence in live.ending() {
                tracing::warn!(pair = live.pair, "{sentence}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is wrong with a pair's files as they are now, or soon will be.
pub(crate) fn lint(pair: &PairConfig) -> Vec<String> {
    match Encryption::open(pair) {
        Err((key, error)) => vec![format!("{key}: {error}")],
        Ok(encryption) => {
            let listeners = encryption.listeners.iter().flatten().flat_map(|listener| listener.ending());
            listeners.chain(encryption.upstream.ending()).collect()
        }
    }
}
