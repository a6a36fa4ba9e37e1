//! Everything that reaches a driver comes as one of these.

use crate::admin::api::{
    CommandOrder, GateOrder, Maintenance, PairStatus, Pause, ShadowStatus, SwitchAnswer, SwitchOrder,
};
use crate::agents::LinkEvent;
use crate::config::PolicyConfig;
use crate::proxy::{Manner, ProxyEvent};
use crate::store::KeptHandover;
use lockstep_pair::coordinator::Ticket;
use lockstep_policy::event::{Outcome, ProbeResult};
use lockstep_policy::{Epoch, Side};
use tokio::sync::oneshot;

/// From rooms that may speak as often as they like: what does not fit is lost, or waits at its sender.
pub(crate) enum Feed {
    /// A connection to an agent.
    Link(Side, LinkEvent),
    /// A probe of a declaration has a result.
    Probe(u64, ProbeResult),
    /// A probe that only the policy in shadow has declared has a result.
    ShadowProbe(u64, ProbeResult),
    /// A request met something.
    Proxy(ProxyEvent),
    /// Nothing is in flight any more.
    Drained(Epoch),
    /// An operator asks.
    Ask(Ask),
}

/// Answers to what the driver itself has asked for: as many as it asked, so none is lost.
pub(crate) enum Reply {
    /// A write is done, or was not.
    Stored(Ticket, Result<(), String>),
    /// A fencing hook has confirmed that the node is off, or has not.
    Fenced(Side, Epoch, Result<(), String>),
    /// A pause, or its end, is durable, or is not.
    Paused(Option<Pause>, Result<(), String>, oneshot::Sender<Result<Option<Pause>, String>>),
    /// Maintenance, or its end, is durable, or is not.
    Maintained(Option<Maintenance>, Result<(), String>, oneshot::Sender<Result<Option<Maintenance>, String>>),
    /// An occupant has reported something: see [`Heard`](super::heard::Heard).
    Reported,
}

/// What operators ask.
pub(crate) enum Ask {
    /// How the pair stands.
    Status(oneshot::Sender<PairStatus>),
    /// Move the active role, by somebody with these rights; answered at the end.
    Switch(SwitchOrder, Vec<String>, oneshot::Sender<SwitchAnswer>),
    /// One of the policy's own commands, by somebody with these rights.
    Command(CommandOrder, Vec<String>, oneshot::Sender<SwitchAnswer>),
    /// Open a manual gate at which a side's start waits: how that ended, and why.
    ConfirmGate(GateOrder, oneshot::Sender<(Outcome, String)>),
    /// Refuse the policy's own switches from now on, or no more.
    Pause(Option<Pause>, String, oneshot::Sender<Result<Option<Pause>, String>>),
    /// Tell clients from now on that the pair is under maintenance, or no more.
    Maintenance(Option<Maintenance>, String, oneshot::Sender<Result<Option<Maintenance>, String>>),
    /// Treat clients otherwise from now on.
    Manner(Box<Manner>, oneshot::Sender<()>),
    /// Leave to another one what it does, unless something is under way: what that is.
    Leave(oneshot::Sender<Result<(), String>>),
    /// The latest handover, with what was measured until now.
    Latest(oneshot::Sender<Option<KeptHandover>>),
    /// The configuration has changed; answered with what became of it.
    Policy(Box<PolicyConfig>, oneshot::Sender<Vec<String>>),
    /// Run another policy in shadow; or, without one, end that.
    Shadow(Option<Box<PolicyConfig>>, String, oneshot::Sender<Result<String, String>>),
    /// How the policy in shadow compares.
    ShadowStatus(oneshot::Sender<Option<ShadowStatus>>),
    /// Let the policy in shadow decide; `true`: only if it did before.
    Promote(bool, String, oneshot::Sender<Result<String, String>>),
}
