//! What a policy may do. Actions are counted from 1; what became of each comes back as [`crate::event::ActionResult`].

use crate::event::{ProbeId, TimerId};
use crate::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing that a policy asks of the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Send a probe from now on, until `Unwatch`. A probe of the same number is replaced.
    Watch(Watch),
    /// Stop a probe. An unknown number is ignored.
    Unwatch(ProbeId),
    /// Send a probe at once, beside its interval.
    ProbeNow(ProbeId),
    /// Wake the policy at a time. A timer of the same number is replaced.
    SetTimer(TimerId, At),
    /// Forget a timer. An unknown number is ignored.
    CancelTimer(TimerId),
    /// Warm a side up, on suspicion: all that is not exclusive. Changes nobody's role.
    Prepare(Side),
    /// Move the active role.
    Switch(Switch),
    /// Stop a side's exclusive services, and make no other side active.
    StandDown(StandDown),
    /// Start an ended service of the active side again.
    RestartService(RestartService),
    /// What operators shall read beside a side.
    Show(Side, String),
    /// Tell operators.
    Alert(Alert),
    /// Answer an operator's order: no, because.
    RefuseOrder(OrderAnswer),
    /// Answer an operator's order: are you sure, because. The order may come again, confirmed.
    AskConfirmation(OrderAnswer),
    /// Answer an operator's command: it is done, or has begun.
    AcceptOrder(OrderAnswer),
    /// Answer a change of the configuration.
    AnswerConfig(ConfigAnswer),
    /// Share sessions out, in a pair in which both sides may serve. Replaces the share before.
    Share(Share),
    /// Say which servers of a pool requests may be given to, and in which order.
    Roster(Roster),
    /// Answer requests on the pair's `answer` listeners. An answer of the same number is replaced.
    Answer(Answer),
    /// Forget an answer. An unknown number is ignored.
    Unanswer(u32),
    /// Wake the policy once, when the edge's local time of day is next so many minutes after midnight (0 to 1439).
    /// Numbered with the timers: `CancelTimer` forgets it.
    SetAlarm(TimerId, u16),
    /// Open a manual gate at which a node's start waits.
    ConfirmGate(ConfirmGate),
    /// Have a side's agent run one of the hooks of its configuration.
    RunHook(RunHook),
}

/// A probe to send again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The policy's number for it.
    pub probe: ProbeId,
    /// The side to send it to.
    pub side: Side,
    /// The server, counted from 1 as in [`crate::setup::SideSetup::servers`]; 0: each in turn. Not for
    /// [`ProbeKind::Agent`].
    pub server: u32,
    /// What to send.
    pub kind: ProbeKind,
    /// From one start to the next; the edge adds jitter of up to a tenth, earlier. A day or more: none is sent by
    /// itself, not even at the declaration; each [`Action::ProbeNow`] sends one.
    pub interval: Duration,
    /// After this without an answer the probe is silent. May be longer than the interval: probes then overlap.
    pub timeout: Duration,
}

impl Watch {
    /// Whether the edge sends it by itself, at the declaration and again and again.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.interval < Duration::from_secs(24 * 60 * 60)
    }
}

/// What a probe sends, and what answer is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A GET to the server's own address.
    Http(HttpProbe),
    /// A connection that is accepted is good.
    Tcp {
        /// Port; 0: the server's own.
        port: u16,
    },
    /// ICMP echo requests: good when any of the addresses answers. The fact `address` says which.
    Icmp(IcmpProbe),
    /// A ping over one of the connections to the side's agent.
    Agent(AgentProbe),
    /// An XMPP stream.
    Xmpp(XmppProbe),
    /// A session of the CTI protocol (GED-188), kept open: each probe is a heartbeat in it.
    Cti(CtiProbe),
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Port; 0: the server's own.
    pub port: u16,
    /// Path and query, from `/`.
    pub path: String,
    /// The `Host` header; empty: the server's address.
    pub host: String,
    /// The good status; 0: any of 200 to 299.
    pub status: u16,
    /// The answer's text, without white space at both ends, must begin with this; empty: any.
    pub body: String,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// Where to send it instead of to the side's server: `IP:PORT`; empty: to the server.
    pub address: String,
    /// What to look for in the answer. A bad status is looked into as well.
    pub facts: Vec<Extract>,
}

/// Whether a probe's connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Not encrypted.
    #[default]
    Off,
    /// Encrypted; whoever answers is believed. For servers with certificates of their own making.
    Unverified,
    /// Encrypted; the certificate must be valid for the host's name by the edge's trusted roots.
    Verified,
}

/// Something to look for in an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// The fact's name.
    pub name: String,
    /// Where to look.
    pub source: Source,
    /// What to look for there.
    pub expression: String,
}

/// Where to look for a fact, and so what the expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A regular expression over the body; the fact is its first group, or the whole match.
    Body,
    /// A path of element names in an XML body, from the root: `SystemInfo/status`; the first one's text.
    Xml,
    /// A JSON pointer (RFC 6901) into a JSON body.
    Json,
    /// The name of a header field.
    Header,
}

/// Whom to ping, from the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpProbe {
    /// Who.
    pub target: IcmpTarget,
    /// Differentiated services code point of the packets (RFC 2474), 0 to 63.
    pub dscp: u8,
}

/// Whom an ICMP probe goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcmpTarget {
    /// The side's server.
    Server,
    /// The edge's default gateways, looked up for each probe. None there: `Wrong`, and the detail says so.
    Gateways,
    /// These addresses, with or without the side's being among them; IPv4 or IPv6, no names.
    Addresses(Vec<String>),
}

/// A question to a side's agent: `Good` when it answers well in time, `Wrong` when it says that the service is not
/// well, `Silent` when no answer comes, `Refused` when the connection is not up, so that nothing could be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProbe {
    /// Over which connection.
    pub connection: crate::event::Connection,
    /// The service that must be well: its process answers the liveness check of the agent's configuration. The fact
    /// `pid` names the process. Empty: the agent answers for itself.
    pub service: String,
    /// Code point of the connection's packets from now on, for [`crate::event::Connection::Auxiliary`]; 0 to 63.
    pub dscp: u8,
}

/// An XMPP server: good when it opens a stream and, with a user, when the user can log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XmppProbe {
    /// Over what.
    pub transport: XmppTransport,
    /// Port; 0: the server's own.
    pub port: u16,
    /// Encrypted from the start.
    pub tls: Tls,
    /// For BOSH: the path, from `/`.
    pub path: String,
    /// The XMPP domain; empty: the server's address.
    pub domain: String,
    /// The name to log in with; empty: no log-in.
    pub user: String,
    /// The name of a secret of the edge's configuration: the user's password.
    pub secret: String,
    /// The address of a user whose presence is told as the fact `presence`: `available` or `unavailable`. Needs a
    /// user who may see it. Empty: none.
    pub presence: String,
}

/// What carries an XMPP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XmppTransport {
    /// TCP (RFC 6120).
    Tcp,
    /// BOSH: HTTP requests (XEP-0124, XEP-0206).
    Bosh,
}

/// A CTI server that speaks GED-188. `Wrong` with the fact `status` when it refuses the session: 92 says that it is
/// the standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtiProbe {
    /// Port; 0: the server's own.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The protocol's version in `OPEN_REQ`.
    pub version: u32,
    /// `PeripheralID`; `u32::MAX` for none.
    pub peripheral: u32,
    /// `ServicesRequested`.
    pub services: u32,
    /// `IdleTimeout`: the server gives the session up after so long without a message.
    pub idle_timeout: Duration,
    /// `ClientID`; may be empty.
    pub client: String,
    /// The name of a secret of the edge's configuration: `ClientPassword`. Empty: none.
    pub secret: String,
}

/// An order to move the active role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The side that shall become active. The active side itself: it is activated anew if it does not serve.
    pub to: Side,
    /// Planned: drain first, and give up rather than cut. Failover: the old side is lost.
    pub urgency: Urgency,
    /// For a person to read.
    pub reason: String,
    /// Sequence numbers of the events that led to it.
    pub evidence: Vec<u64>,
    /// The operator's order that this answers; 0: none.
    pub order: u64,
}

/// How a switch treats the old side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// The old side works: let its requests finish, and roll back on any trouble.
    Planned,
    /// The old side does not work: fence it, or wait for its lease.
    Failover,
}

/// An order to stop a side's exclusive services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandDown {
    /// The side.
    pub side: Side,
    /// For a person to read.
    pub reason: String,
    /// Sequence numbers of the events that led to it.
    pub evidence: Vec<u64>,
}

/// An order to start a service again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartService {
    /// The side.
    pub side: Side,
    /// The service's name, as the agent reports it.
    pub service: String,
    /// For a person to read.
    pub reason: String,
}

/// Something that operators must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// How bad it is.
    pub level: Level,
    /// What it is, and what to do.
    pub text: String,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

/// An answer to an operator's order or command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// The order.
    pub order: u64,
    /// The refusal's reason, the question, or what was done.
    pub text: String,
}

/// What a policy does with a new configuration. Keys that it does not name as pending are in force now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAnswer {
    /// The change.
    pub change: u64,
    /// Why it is refused, whole; empty: it is not.
    pub refused: String,
    /// Keys whose new value is not in force yet.
    pub pending: Vec<Pending>,
}

/// A parameter whose new value waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The key under `[pair.policy]`.
    pub key: String,
    /// Until when, for a person to read: `the next start of monitoring`.
    pub until: String,
}

/// How sessions are shared out between two sides that may both serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The parts of new sessions that each side gets, in any unit. Both zero: requests of new sessions are refused,
    /// and what is open stays open.
    pub parts: crate::Sides<u32>,
    /// Which side a session belongs to whatever the parts say; the first rule that applies counts.
    pub rules: Vec<ShareRule>,
    /// The side whose sessions are moved to where they would be put if they were new. None: every session stays where
    /// it is, and a move that was under way is stopped.
    pub from: Option<Side>,
    /// The moves are spread evenly over so long; zero: all at once.
    pub window: Duration,
    /// So long before its move a session is told, where the protocol has a way to.
    pub warning: Duration,
    /// For a person to read.
    pub reason: String,
    /// Sequence numbers of the events that led to it.
    pub evidence: Vec<u64>,
    /// The operator's order that this answers; 0: none.
    pub order: u64,
}

/// A session to which this applies belongs to a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRule {
    /// The name of a header field, or `cookie:NAME`, or `query:NAME`.
    pub attribute: String,
    /// The value that it must have.
    pub value: String,
    /// The side.
    pub side: Side,
}

/// Which servers of a side's pool requests may be given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The side.
    pub side: Side,
    /// The pool's name; empty: the side's `servers`.
    pub pool: String,
    /// In which order they are tried.
    pub pick: Pick,
    /// The servers, counted from 1 as in [`crate::setup::SideSetup::servers`]. Empty: the pool's requests are refused.
    pub servers: Vec<u32>,
}

/// In which order the servers of a pool are tried by a request. A server that cannot be connected to is followed by
/// the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Each in turn.
    #[default]
    Turn,
    /// As they stand in the list: the first one that works gets all.
    Order,
    /// Shuffled for each new connection of a client.
    Shuffle,
}

/// What the edge itself answers to a balancer or a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The policy's number for it; of several that apply the lowest counts.
    pub rule: u32,
    /// The path, from `/`.
    pub path: String,
    /// Parameters that must be in the query, as `mod=FT&side=a`; others may be there too. Empty: any.
    pub query: String,
    /// The name that the request must be sent to, without a port; empty: any.
    pub host: String,
    /// When it applies.
    pub when: When,
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// When an answer applies: the edge looks at the route in the moment of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At any time.
    Always,
    /// While the route leads to the side.
    Serves(Side),
    /// While it does not.
    ServesNot(Side),
}

/// A manual gate is passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmGate {
    /// The side whose node waits.
    pub side: Side,
    /// The gate's name in the agent's configuration.
    pub gate: String,
    /// The person who has confirmed it.
    pub by: String,
}

/// A hook of a node's agent shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHook {
    /// The side.
    pub side: Side,
    /// The hook's name in the agent's configuration.
    pub hook: String,
    /// For a person to read.
    pub reason: String,
}
