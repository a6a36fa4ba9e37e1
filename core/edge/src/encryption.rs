//! TLS with clients and servers: its files are read before anything starts, and again when the edge is told to, all of them or none.

use crate::config::{PairConfig, UpstreamConfig};
use crate::proxy::{PairProxy, Termination, TlsError, Upstream};
use std::sync::Arc;
use std::time::Duration;

/// From one look at the certificates' dates to the next.
const LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// One pair's, read.
pub(crate) struct Encryption {
    /// In the order of the configuration's listeners.
    pub(crate) listeners: Vec<Option<Arc<Termination>>>,
    upstream: Upstream,
    from: UpstreamConfig,
}

/// One pair's, in force.
pub(crate) struct Live {
    pair: String,
    listeners: Vec<Arc<Termination>>,
    from: UpstreamConfig,
    proxy: Arc<PairProxy>,
}

impl Encryption {
    /// Reads the files. An error comes with the key that names the file.
    pub(crate) fn open(pair: &PairConfig) -> Result<Encryption, (&'static str, TlsError)> {
        let of_listener = |error| ("pair.listener.tls", error);
        let listeners = pair.listener.iter().map(|listener| listener.tls.as_ref());
        let listeners = listeners.map(|tls| tls.map(|tls| Termination::open(tls).map(Arc::new)).transpose());
        let listeners = listeners.collect::<Result<_, _>>().map_err(of_listener)?;
        let upstream = Upstream::open(&pair.upstream).map_err(|error| ("pair.upstream.tls", error))?;
        Ok(Encryption { listeners, upstream, from: pair.upstream.clone() })
    }

    /// Has the pair's proxy speak to its servers so.
    pub(crate) fn start(self, pair: &str, proxy: &Arc<PairProxy>) -> Live {
        proxy.set_upstream(self.upstream);
        let listeners = self.listeners.into_iter().flatten().collect();
        Live { pair: pair.to_owned(), listeners, from: self.from, proxy: Arc::clone(proxy) }
    }
}

impl Live {
    fn ending(&self) -> Vec<String> {
        let listeners = self.listeners.iter().flat_map(|listener| listener.ending());
        listeners.chain(self.proxy.upstream().ending()).collect()
    }
}

/// Reads all files again, and has them in force if all of them are sound. Returns what has changed. Waits for disks.
pub(crate) fn reload(all: &[Live]) -> Result<Vec<String>, TlsError> {
    let mut fresh = Vec::new();
    for live in all {
        let listeners = live.listeners.iter().map(|listener| listener.read_again()).collect::<Result<Vec<_>, _>>()?;
        fresh.push((listeners, Upstream::open(&live.from)?));
    }
    let mut said = Vec::new();
    for (live, (listeners, upstream)) in all.iter().zip(fresh) {
        let name = &live.pair;
        let mut others = 0;
        for (listener, fresh) in live.listeners.iter().zip(listeners) {
            others += usize::from(listener.take_over(fresh));
        }
        if others > 0 {
            said.push(format!(
                "pair \"{name}\": pair.listener.tls: other certificates are in force ({others} listeners)"
            ));
        }
        if !live.proxy.upstream().is_like(&upstream) {
            said.push(format!("pair \"{name}\": pair.upstream.tls: other certificates are in force"));
        }
        live.proxy.set_upstream(upstream);
    }
    Ok(said)
}

/// Says in the log, once a day, which certificates end soon.
pub(crate) async fn keep_looking(all: Arc<[Live]>) {
    loop {
        for live in all.iter() {
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
