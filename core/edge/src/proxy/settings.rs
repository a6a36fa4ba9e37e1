//! What the proxy may take and how long it may wait: every limit, with its default, in one place.

use crate::config::{OnSwitch, ProxyVersion};
use std::time::Duration;

/// How requests wait while the route is hold (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSettings {
    /// Requests of one pair that may wait at once; one more is answered 503 at once.
    pub max_requests: usize,
    /// How long a request may wait, counted from its first hold.
    pub max_wait: Duration,
    /// So many of those that have waited are given to servers at once, until the first are answered; 0: all.
    pub release_at_once: u32,
    /// The `Retry-After` of a 503, rounded up to whole seconds.
    pub retry_after: Duration,
}

impl Default for HoldSettings {
    fn default() -> Self {
        HoldSettings {
            max_requests: 1000,
            max_wait: Duration::from_secs(15),
            release_at_once: 100,
            retry_after: Duration::from_secs(5),
        }
    }
}

/// How one pair's requests are given to its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// The waiting room.
    pub hold: HoldSettings,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long a server may be silent while an answer is due; it ends a silent WebSocket too.
    pub read_timeout: Duration,
    /// How long a server may not take bytes of a request.
    pub write_timeout: Duration,
    /// How long an unused connection to a server is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept for one pair.
    pub pool: usize,
    /// How long a server that refused a connect is left alone before one request tries again.
    pub retry_interval: Duration,
    /// How often one request may be sent again after a server had ended its connection. Only safe ones are sent again at
    /// all: at once the first time, later by one, two, … `retry_interval`s the next times.
    pub resends: u32,
    /// How often a server's name is looked up again.
    pub resolve_every: Duration,
    /// Trouble with connections to a side has it probed at most this often.
    pub trouble_interval: Duration,
    /// Bad or slow answers of a side have it probed at most this often.
    pub answer_interval: Duration,
    /// Keep at hand whom the system trusts, which is some 300 KB for each pool: for servers whose certificates are verified by that.
    pub system_roots: bool,
}

impl Default for ProxySettings {
    fn default() -> Self {
        ProxySettings {
            hold: HoldSettings::default(),
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            pool: 256,
            retry_interval: Duration::from_millis(50),
            resends: 3,
            resolve_every: Duration::from_secs(30),
            trouble_interval: Duration::from_millis(20),
            answer_interval: Duration::from_millis(250),
            system_roots: true,
        }
    }
}

/// What a session is, in a pair in which both sides may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// What names a session.
    pub by: SessionBy,
    /// A session that asks for nothing for so long, with no connection open, has ended.
    pub idle: Duration,
    /// Sessions that are known at once; one more takes the place of the one that was used longest ago.
    pub max: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings { by: SessionBy::Address, idle: Duration::from_secs(30 * 60), max: 100_000 }
    }
}

/// What names a session. A request without that cookie, field or parameter counts by its address; to one without a cookie of the
/// edge's own that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionBy {
    /// The client's address, without its port.
    Address,
    /// A cookie of this name, which servers may give.
    Cookie(String),
    /// A header field of this name, in lower case.
    Header(String),
    /// A parameter of the address, in its query or its path.
    Parameter(String),
    /// A cookie of this name, which the edge gives and servers do not see.
    Insert(String),
    /// The session of TLS that a client resumes. One without TLS, or that may not resume, counts by its address.
    Tls,
}

/// What one listener takes from its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Bind although the address is not on this machine yet (`IP_FREEBIND`): a VIP may arrive later.
    pub freebind: bool,
    /// Connections that the kernel may keep until we accept them.
    pub backlog: u32,
    /// Clients connected at once; one more is answered 503 and closed.
    pub connections: usize,
    /// Connections of one source at once: an address, or a /64 of IPv6; 0: as many as there is place for.
    pub connections_per_source: usize,
    /// Requests of one source in a second; one more is answered 429. 0: as many as it likes.
    pub requests_per_source: u32,
    /// Requests of one source that may come at once, before its rate counts.
    pub request_burst: u32,
    /// From a connection's start, or a later request's first byte, to the end of the request's head.
    pub head_timeout: Duration,
    /// The longest head, in bytes.
    pub head_bytes: usize,
    /// How long a client may stay between two requests.
    pub idle_timeout: Duration,
    /// How long a client may be silent while its body is due.
    pub read_timeout: Duration,
    /// The largest body, in bytes.
    pub body_bytes: u64,
    /// What a client must send of a body, in bytes a second, averaged over the time for which we wait for it; 0: as slowly as
    /// it likes.
    pub body_rate: u32,
    /// How long a client may not take bytes of an answer.
    pub write_timeout: Duration,
    /// What a client must take of an answer, in bytes a second, averaged over the time for which we wait for it; 0: as slowly as
    /// it likes. With HTTP/2, of requests without a body.
    pub answer_rate: u32,
    /// How long requests under way may go on when the listener is closed.
    pub grace: Duration,
    /// A client may speak HTTP/2 without TLS, by prior knowledge.
    pub prior_knowledge: bool,
    /// What becomes of a WebSocket whose side loses the role.
    pub on_switch: OnSwitch,
    /// With [`OnSwitch::Finish`]: what has not ended by itself then is closed.
    pub finish_within: Duration,
}

impl Default for ListenSettings {
    fn default() -> Self {
        ListenSettings {
            freebind: true,
            backlog: 1024,
            connections: 10_000,
            connections_per_source: 0,
            requests_per_source: 0,
            request_burst: 100,
            head_timeout: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            idle_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            body_bytes: u64::MAX,
            body_rate: 100,
            write_timeout: Duration::from_secs(60),
            answer_rate: 100,
            grace: Duration::from_secs(5),
            prior_knowledge: false,
            on_switch: OnSwitch::Close,
            finish_within: Duration::from_secs(60),
        }
    }
}

/// What one listener does with its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// TLS clients are passed on that ask for one of these names, or for one right below a `*.domain`, and no others; empty:
    /// nobody looks at what is passed on.
    pub sni: Vec<String>,
    /// What becomes of a stream whose side loses the role.
    pub on_switch: OnSwitch,
    /// With [`OnSwitch::Finish`]: what has not ended by itself then is closed.
    pub finish_within: Duration,
    /// Each connection to a server begins with a PROXY header of this version.
    pub proxy_protocol: Option<ProxyVersion>,
    /// TLS is spoken with servers, as the pair's [`Upstream`](super::Upstream) says.
    pub secured: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            sni: Vec::new(),
            on_switch: OnSwitch::Close,
            finish_within: Duration::from_secs(60),
            proxy_protocol: None,
            secured: false,
        }
    }
}
