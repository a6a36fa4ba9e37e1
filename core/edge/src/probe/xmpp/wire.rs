//! What carries the stanzas of an XMPP session: a TCP connection, or a chain of HTTP requests.

use super::bosh::Bosh;
use super::element::Element;
use super::tcp::Tcp;
use crate::probe::judge::Finding;
use crate::probe::session::Ended;
use crate::probe::tls::Trust;
use lockstep_policy::action::Tls;
use lockstep_policy::event::Verdict;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const STREAMS: &str = "http://etherx.jabber.org/streams";
pub(super) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// How long a server is waited for when we take our leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where to, and how.
pub(super) struct Place<'a> {
    pub trust: &'a Trust,
    pub address: SocketAddr,
    pub tls: Tls,
    /// Whose certificate.
    pub name: ServerName<'static>,
    pub domain: String,
    /// For BOSH.
    pub path: &'a str,
    /// How long the server may hold a request.
    pub wait: Duration,
    /// Somebody will log in: encrypt wherever the server can.
    pub log_in: bool,
}

pub(super) enum Wire {
    Tcp(Box<Tcp>),
    Bosh(Box<Bosh>),
}

impl Wire {
    /// Begins again after a log-in; gives the server's features.
    pub async fn restart(self) -> Result<(Wire, Element), Ended> {
        match self {
            Wire::Tcp(tcp) => (*tcp).restart().await.map(|(tcp, features)| (Wire::Tcp(Box::new(tcp)), features)),
            Wire::Bosh(mut bosh) => bosh.restart().await.map(|features| (Wire::Bosh(bosh), features)),
        }
    }

    pub async fn send(&mut self, text: &str) -> Result<(), Ended> {
        match self {
            Wire::Tcp(tcp) => tcp.send(text).await,
            Wire::Bosh(bosh) => bosh.send(text),
        }
    }

    /// The next stanza; the end or an error of the stream is an error.
    pub async fn next(&mut self) -> Result<Element, Ended> {
        let stanza = match self {
            Wire::Tcp(tcp) => tcp.next().await?,
            Wire::Bosh(bosh) => bosh.next().await?,
        };
        if stanza.is("error", STREAMS) { Err(Ended::Gone(stream_error(&stanza))) } else { Ok(stanza) }
    }

    /// Nobody can listen to it.
    pub fn is_unheard(&self) -> bool {
        match self {
            Wire::Tcp(tcp) => tcp.is_unheard(),
            Wire::Bosh(bosh) => bosh.is_unheard(),
        }
    }

    /// Takes leave, beside whatever else is done.
    pub fn close(self) {
        tokio::spawn(self.closed());
    }

    /// Takes leave. Best effort: the server notices by itself, later.
    pub async fn closed(self) {
        let leave = async {
            match self {
                Wire::Tcp(tcp) => tcp.close().await,
                Wire::Bosh(bosh) => bosh.close().await,
            }
        };
        let _ = tokio::time::timeout(FAREWELL, leave).await;
    }
}

pub(super) fn stream_error(error: &Element) -> Finding {
    let condition = error.children.iter().find(|child| child.namespace == STREAM_ERRORS);
    let condition = condition.map_or_else(|| error.condition(), |condition| condition.name.as_str());
    Finding::new(Verdict::Wrong, 0, format!("the server ends the stream: {condition}"))
}

pub(super) fn wrong(why: impl Into<String>) -> Ended {
    Ended::Answered(Finding::new(Verdict::Wrong, 0, why))
}
