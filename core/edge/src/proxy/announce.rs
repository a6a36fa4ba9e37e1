//! PROXY headers to servers of requests: a connection that begins with one belongs to one client's connection, and carries nobody
//! else's requests.

use super::links::Announced;
use super::passage::{Forward, Passage};
use super::proxy_protocol;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::Session;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// For so long such a connection is kept unused: its client may be gone.
const KEPT: Duration = Duration::from_secs(10);

const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Forward {
    /// Has the connection to the server say whose it is, where servers are told so.
    pub(super) fn announce(&self, session: &Session, passage: &Passage, peer: &mut HttpPeer) {
        let Some(version) = self.pair.upstream.load().announces() else { return };
        let Some(attempt) = &passage.attempt else { return };
        let address = |address: Option<&pingora_core::protocols::l4::socket::SocketAddr>| {
            address.and_then(|address| address.as_inet()).copied().unwrap_or(UNKNOWN)
        };
        let (client, asked) = (address(session.client_addr()), address(session.server_addr()));
        // The kernel gives no two sockets the same number, one after the other or at once.
        let socket = session.digest().and_then(|digest| digest.socket_digest.as_ref());
        let number = socket.and_then(|socket| socket.socket_cookie().ok()).unwrap_or_else(|| fastrand::u64(..));
        let mut hasher = DefaultHasher::new();
        (attempt.target.group(), number, client, asked).hash(&mut hasher);
        peer.group_key = hasher.finish();
        peer.options.idle_timeout = peer.options.idle_timeout.map(|kept| kept.min(KEPT));
        let words = proxy_protocol::header(version, client, asked);
        peer.options.custom_l4 = Some(Arc::new(Announced { dial: Arc::clone(&attempt.target.dial), words }));
    }
}
