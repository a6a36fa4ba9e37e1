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
}

/// A probe to send again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The policy's number for it.
    pub probe: ProbeId,
    /// The side to send it to: to each of its servers in turn.
    pub side: Side,
    /// What to send.
    pub kind: ProbeKind,
    /// From one start to the next; the edge adds jitter of up to a tenth, earlier.
    pub interval: Duration,
    /// After this without an answer the probe is silent. May be longer than the interval: probes then overlap.
    pub timeout: Duration,
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
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// An answer to an operator's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// The order.
    pub order: u64,
    /// The refusal's reason, or the question.
    pub text: String,
}
