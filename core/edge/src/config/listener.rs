//! `[[pair.listener]]` and `[pair.upstream]`: what is spoken with clients, and with servers.

use super::limits::{self, LimitsConfig};
use super::pair::{ADDRESS, HOUR};
use super::sides::{Listening, sound_name};
use super::table::{Placed, Table};
use crate::proxy::CrowdSettings;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a network must be.
pub(super) const NETWORK: &str = "a network \"ADDRESS/BITS\", such as \"10.0.0.0/8\" or \"10.0.0.1/32\"";
const MINUTE: Duration = Duration::from_secs(60);

/// One `[[pair.listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where clients are met.
    pub listen: Vec<SocketAddr>,
    /// The pool whose servers take them; empty: those without a pool.
    pub pool: String,
    /// What they speak.
    pub protocol: Protocol,
    /// TLS that ends here; none: there is none, or it is passed through.
    pub tls: Option<ListenerTls>,
    /// Clients may speak HTTP/2 without TLS, by prior knowledge.
    pub h2c: bool,
    /// TLS is passed through, and only to who names one of these in its ClientHello; empty: nobody looks.
    pub sni: Vec<String>,
    /// Clients of these networks are balancers, whose connections begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// What becomes of a connection to a side that is active no more, where it is no request under way: a stream, a WebSocket.
    pub on_switch: OnSwitch,
    /// With [`OnSwitch::Finish`]: what has not ended by itself then is closed.
    pub finish_within: Duration,
    /// TLS is spoken with the servers of its streams, as `[pair.upstream.tls]` says.
    pub upstream_tls: bool,
    /// What it takes from its clients, and from whom.
    pub limits: LimitsConfig,
}

/// What clients of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 where TLS or prior knowledge says so.
    Http,
    /// Anything over TCP.
    Tcp,
}

/// What becomes of a long connection when its side is active no more: a stream, a WebSocket. A failover closes all of them: the other
/// end is dead, or must be thought so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSwitch {
    /// It may go on for `finish_within`, while the side stands down.
    Finish,
    /// It is ended in order: FIN, and for a WebSocket close code 1012 before.
    Close,
    /// It is ended at once, with a reset: clients that look at nothing else notice.
    Reset,
}

/// `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM files with a chain and its key each; the first is for who names no other.
    pub certificates: Vec<PathBuf>,
    /// Who may have signed clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must have one.
    pub client_required: bool,
    /// What is spoken beneath it.
    pub protocol: Protocol,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// `[pair.upstream]`: what is spoken with servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// TLS to the servers.
    pub tls: Option<UpstreamTls>,
    /// HTTP/2 to the servers: with TLS when they take it, without TLS by prior knowledge.
    pub http2: bool,
    /// Each connection begins with a PROXY header of this version.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How many requests a server is given at once.
    pub crowd: CrowdSettings,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// `tls` of `[pair.upstream]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Who may have signed the servers' certificates; none: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The name that the certificates must have, and that is sent; none: the server's address.
    pub name: Option<String>,
    /// The edge's own certificate and key, in one PEM file, where servers ask for one.
    pub certificate: Option<PathBuf>,
    /// Nobody looks at the servers' certificates.
    pub insecure: bool,
}

/// A listener as it was read.
pub(super) struct ReadListener {
    pub at: usize,
    pub addresses: Vec<Placed<SocketAddr>>,
    pub config: ListenerConfig,
}

impl ReadListener {
    pub fn listening(&self) -> impl Iterator<Item = Listening> {
        let key = || "pair.listener.listen".to_owned();
        self.addresses.iter().map(move |address| Listening { value: address.value, at: address.at, key: key() })
    }
}

/// All `[[pair.listener]]`. Relative paths start at `dir`.
pub(super) fn listeners(table: &mut Table<'_, '_>, dir: &Path, limits: &LimitsConfig) -> Vec<ReadListener> {
    let tables = table.tables("listener", "pair.listener");
    tables.into_iter().map(|table| listener(table, dir, limits)).collect()
}

fn listener(mut table: Table<'_, '_>, dir: &Path, limits: &LimitsConfig) -> ReadListener {
    let at = table.at();
    let example = "the VIP's addresses, such as `listen = [\"10.0.0.100:443\"]`";
    let addresses = match table.list("listen", ADDRESS) {
        Some(listed) if !listed.is_empty => listed.items,
        Some(listed) => {
            table.refuse(listed.at, "listen", "the listener has no address", example);
            Vec::new()
        }
        None => {
            table.missing("listen", example);
            Vec::new()
        }
    };
    let pool = table.text("pool").filter(|pool| sound_name(&table, "pool", pool)).map(|pool| pool.value);
    let protocol = table.word("protocol", &[("http", Protocol::Http), ("tcp", Protocol::Tcp)]);
    let protocol = protocol.unwrap_or(Protocol::Http);
    let tls = table.table("tls", "pair.listener.tls").map(|table| listener_tls(table, dir, protocol));
    let sni = table.list::<String>("sni", "a host name, or `*.` and a domain");
    if let Some(listed) = &sni {
        let why = match (protocol, &tls) {
            (Protocol::Http, _) => Some("is for `protocol = \"tcp\"`"),
            (_, Some(_)) => Some("is for TLS that is passed through, and `tls` ends it here"),
            (Protocol::Tcp, None) => None,
        };
        if let Some(why) = why {
            table.refuse(listed.at, "sni", why, "one of both");
        }
    }
    let upstream_tls = table.truth("upstream_tls").unwrap_or(false);
    if let Some(at) = table.place("upstream_tls") {
        let why = match protocol {
            Protocol::Http => {
                Some("is for `protocol = \"tcp\"`: requests are encrypted wherever [pair.upstream.tls] is")
            }
            Protocol::Tcp => (upstream_tls && sni.is_some()).then_some("would encrypt again what `sni` passes through"),
        };
        if let Some(why) = why {
            table.refuse(at, "upstream_tls", why, "one of both");
        }
    }
    let sni = sni.map(|listed| listed.items.into_iter().filter(|name| sound_host(&table, name)));
    let sni = sni.map(|names| names.map(|name| name.value.to_ascii_lowercase()).collect());
    let h2c = table.truth("h2c").unwrap_or(false);
    if let Some(at) = table.place("h2c").filter(|_| protocol == Protocol::Tcp || tls.is_some()) {
        table.refuse(
            at,
            "h2c",
            "is HTTP/2 without TLS, for `protocol = \"http\"`",
            "`http2` in `tls` says it of HTTP/2 with TLS",
        );
    }
    let proxy_protocol = networks(&mut table, "proxy_protocol");
    let words = [("finish", OnSwitch::Finish), ("close", OnSwitch::Close), ("reset", OnSwitch::Reset)];
    let on_switch = table.word("on_switch", &words).unwrap_or(OnSwitch::Close);
    let finish_within = table.duration("finish_within", MINUTE, Duration::ZERO..=24 * HOUR).value;
    let limits = limits::read(table.table("limits", "pair.listener.limits"), limits);
    if let Some(at) = table.place("finish_within").filter(|_| on_switch != OnSwitch::Finish) {
        table.refuse(at, "finish_within", "says nothing without `on_switch = \"finish\"`", "both, or neither");
    }
    table.finish();
    let config = ListenerConfig {
        listen: addresses.iter().map(|address| address.value).collect(),
        pool: pool.unwrap_or_default(),
        protocol,
        tls,
        h2c,
        sni: sni.unwrap_or_default(),
        proxy_protocol,
        on_switch,
        finish_within,
        upstream_tls,
        limits,
    };
    ReadListener { at, addresses, config }
}

/// Whether a name is one that a TLS client may ask for, or stands for all right below a domain; refused if not.
fn sound_host(table: &Table<'_, '_>, name: &Placed<String>) -> bool {
    let label = |label: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(letters)
    };
    let host = name.value.strip_prefix("*.").unwrap_or(&name.value);
    let sound = host.len() <= 253 && host.split('.').all(label);
    if !sound {
        let what = format!("\"{}\" is no host name", name.value);
        table.refuse(
            name.at,
            "sni",
            what,
            "such as \"agents.example.org\", or \"*.example.org\" for all names right below it",
        );
    }
    sound
}

/// A list of networks; none when the key is not there.
pub(super) fn networks(table: &mut Table<'_, '_>, key: &'static str) -> Vec<IpNet> {
    let listed = table.list::<IpNet>(key, NETWORK);
    listed.map(|listed| listed.items.into_iter().map(|network| network.value).collect()).unwrap_or_default()
}

fn listener_tls(mut table: Table<'_, '_>, dir: &Path, protocol: Protocol) -> ListenerTls {
    let example = "PEM files with a chain and its key each, such as `certificates = [\"vip.pem\"]`";
    let certificates = match table.list::<PathBuf>("certificates", "a file") {
        Some(listed) if !listed.is_empty => listed.items.into_iter().map(|file| dir.join(file.value)).collect(),
        _ => {
            table.missing("certificates", example);
            Vec::new()
        }
    };
    let client_ca = table.text("client_ca").map(|file| dir.join(file.value));
    let required = table.word("client", &[("required", true), ("optional", false)]);
    if let Some(at) = table.place("client").filter(|_| client_ca.is_none()) {
        table.refuse(
            at,
            "client",
            "says nothing without `client_ca`",
            "`client_ca = \"FILE\"`, who signs clients' certificates",
        );
    }
    let http2 = table.truth("http2").unwrap_or(true);
    if let Some(at) = table.place("http2").filter(|_| protocol == Protocol::Tcp) {
        table.refuse(at, "http2", "is for `protocol = \"http\"`", "no `http2`: streams agree on no protocol");
    }
    table.finish();
    ListenerTls { certificates, client_ca, client_required: required.unwrap_or(true), protocol, http2 }
}

/// `[pair.upstream]`. Relative paths start at `dir`.
pub(super) fn upstream(table: Option<Table<'_, '_>>, dir: &Path) -> UpstreamConfig {
    let Some(mut table) = table else { return UpstreamConfig::default() };
    let tls = table.table("tls", "pair.upstream.tls").map(|table| upstream_tls(table, dir));
    let http2 = table.truth("http2").unwrap_or(false);
    let proxy_protocol = table.word("proxy_protocol", &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)]);
    let crowd = crowd(&mut table);
    table.finish();
    UpstreamConfig { tls, http2, proxy_protocol, crowd }
}

/// Who wants TLS with servers is told how.
pub(super) fn check_upstream(pair: &Table<'_, '_>, listeners: &[ReadListener], upstream: &UpstreamConfig) {
    for listener in listeners.iter().filter(|one| one.config.upstream_tls && upstream.tls.is_none()) {
        let what = "says nothing without [pair.upstream.tls]";
        pair.refuse(listener.at, "listener.upstream_tls", what, "that table, even if it is empty: `tls = {}`");
    }
}

/// How many requests a server is given at once, and who may wait.
fn crowd(table: &mut Table<'_, '_>) -> CrowdSettings {
    let default = CrowdSettings::default();
    let given = table.has("connections");
    let connections = table.number("connections", 1, 1..=1_000_000);
    let queue_max = table.number("queue_max", default.queue_max as u64, 0..=1_000_000);
    let queue_timeout = table.duration("queue_timeout", default.queue_timeout, Duration::from_millis(1)..=HOUR).value;
    for at in ["queue_max", "queue_timeout"].iter().filter_map(|key| table.place(key)).filter(|_| !given) {
        table.refuse(
            at,
            "connections",
            "is missing: without it nobody waits for a server",
            "`connections = NUMBER`, at each server",
        );
    }
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    CrowdSettings { connections: given.then(|| whole(connections)), queue_max: whole(queue_max), queue_timeout }
}

fn upstream_tls(mut table: Table<'_, '_>, dir: &Path) -> UpstreamTls {
    let (ca_at, insecure) = (table.place("ca"), table.truth("insecure").unwrap_or(false));
    let ca = table.text("ca").map(|file| dir.join(file.value));
    let name = table.text("name").map(|name| name.value);
    let certificate = table.text("certificate").map(|file| dir.join(file.value));
    if let Some(at) = ca_at.filter(|_| insecure) {
        table.refuse(at, "ca", "and `insecure` contradict each other", "one of them");
    }
    table.finish();
    UpstreamTls { ca, name, certificate, insecure }
}
