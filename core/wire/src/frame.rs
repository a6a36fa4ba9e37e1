//! Frames as values: total into the contract's form, fallible out of it, and never a panic.

use crate::proto;
use crate::proto::{agent_frame, answer, edge_frame};
use lockstep_pair::protocol::{Answer, FromNode, Lease, Report, Session, Stamp, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Outcome, Replication, Role, Service, ServiceState};
use lockstep_policy::{At, Epoch, Side};
use std::time::Duration;

/// From an edge to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromEdge {
    /// First, and once.
    Hello(Hello),
    /// For the node's half of the handover.
    Command(ToNode),
    /// Stop and start one service; answered by [`FromAgent::ServiceRestarted`].
    RestartService {
        /// Comes back in the answer.
        id: u64,
        /// The service's name in the agent's configuration.
        name: String,
    },
    /// Answered by [`FromAgent::Pong`].
    Ping(Ping),
    /// Open a manual gate; answered by [`FromAgent::GateConfirmed`].
    ConfirmGate {
        /// Comes back in the answer.
        id: u64,
        /// The gate's name in the agent's configuration.
        gate: String,
        /// The person who has confirmed it.
        by: String,
    },
    /// Run a hook; answered by [`FromAgent::HookRan`].
    RunHook {
        /// Comes back in the answer.
        id: u64,
        /// The hook's name in the agent's configuration.
        hook: String,
        /// For the hook, and for a person to read.
        reason: String,
    },
    /// The answer to a [`FromAgent::CertificateWanted`].
    CertificateIssued {
        /// The request's.
        id: u64,
        /// The certificate in DER, or why none was issued.
        outcome: Result<Vec<u8>, String>,
    },
}

/// From an agent to an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromAgent {
    /// First, and once.
    Welcome(Welcome),
    /// From the node's half of the handover.
    Node(FromNode),
    /// What became of a [`FromEdge::RestartService`].
    ServiceRestarted {
        /// The order's.
        id: u64,
        /// Done, refused (not begun) or failed.
        outcome: Outcome,
        /// Why, when it was not done.
        why: String,
    },
    /// The answer to a [`FromEdge::Ping`].
    Pong(Pong),
    /// What became of a [`FromEdge::ConfirmGate`].
    GateConfirmed {
        /// The order's.
        id: u64,
        /// Done (or open already), or refused.
        outcome: Outcome,
        /// Why, when it was not done.
        why: String,
    },
    /// What became of a [`FromEdge::RunHook`].
    HookRan {
        /// The order's.
        id: u64,
        /// Done (it has ended with status 0), refused (not begun) or failed.
        outcome: Outcome,
        /// What is wrong, and the last lines that the hook has written.
        text: String,
    },
    /// Issue a certificate for whom this connection's is; answered by [`FromEdge::CertificateIssued`].
    CertificateWanted {
        /// Comes back in the answer.
        id: u64,
        /// A PKCS #10 request in DER.
        request: Vec<u8>,
    },
    /// Another certificate is presented from now on: connect anew before the old one ends.
    CertificateChanged,
}

/// A question to an agent, on either of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the pong.
    pub number: u64,
    /// The service that shall answer; empty: the agent itself.
    pub service: String,
}

/// The answer to a [`Ping`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's.
    pub number: u64,
    /// What the agent has found; none: it is of before services could be asked for.
    pub finding: Option<Finding>,
}

/// What an agent has found of a service, or says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It answers.
    Well {
        /// Its process; 0: nobody knows it.
        pid: u32,
    },
    /// It does not.
    NotWell {
        /// Its process; 0: there is none, or nobody knows it.
        pid: u32,
        /// For a person to read.
        why: String,
    },
    /// The agent's configuration has no such service.
    UnknownService,
}

/// Who connects, to what, and the pair's times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The edge's version of the contract.
    pub protocol: u32,
    /// The pair's name.
    pub pair: String,
    /// The side that the edge takes the agent for.
    pub side: Side,
    /// The edge's name.
    pub edge: String,
    /// The pair's times.
    pub terms: Terms,
    /// What the edge understands beyond the contract's first form; see [`crate::MINOR`].
    pub minor: u32,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The agent's version of the contract.
    pub protocol: u32,
    /// The pair that the agent serves.
    pub pair: String,
    /// Its side.
    pub side: Side,
    /// This life of the agent.
    pub session: Session,
    /// The application's release; empty when unknown.
    pub release: String,
    /// The agent's own version.
    pub version: String,
    /// What it understands beyond the first form of the contract: see [`crate::MINOR`].
    pub minor: u32,
}

/// A frame that is not as the contract says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A field that must be there is not.
    #[error("the frame has no `{0}`: the peer speaks another version of the protocol, or is broken")]
    Missing(&'static str),
    /// A field's value is outside of the contract.
    #[error("the frame's `{field}` is {value}, which the protocol does not know: the peer is newer, or broken")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
}

impl From<FromEdge> for proto::EdgeFrame {
    fn from(message: FromEdge) -> Self {
        use edge_frame::Kind;
        let kind = match message {
            FromEdge::Hello(hello) => Kind::Hello(proto::Hello {
                protocol: hello.protocol,
                pair: hello.pair,
                side: side_out(hello.side),
                edge: hello.edge,
                terms: Some(proto::Terms {
                    ttl_ns: nanos(hello.terms.ttl),
                    renew_ns: nanos(hello.terms.renew),
                    stop_max_ns: nanos(hello.terms.stop_max),
                }),
                minor: hello.minor,
            }),
            FromEdge::Command(ToNode::Prepare { epoch }) => Kind::Prepare(proto::Prepare { epoch: epoch.0 }),
            FromEdge::Command(ToNode::StandDown { epoch, urgency }) => {
                Kind::StandDown(proto::StandDown { epoch: epoch.0, urgency: urgency_out(urgency) })
            }
            FromEdge::Command(ToNode::Activate { epoch, lease }) => {
                Kind::Activate(proto::Activate { epoch: epoch.0, lease: Some(lease_out(lease)) })
            }
            FromEdge::Command(ToNode::Renew { epoch, lease }) => {
                Kind::Renew(proto::Renew { epoch: epoch.0, lease: Some(lease_out(lease)) })
            }
            FromEdge::RestartService { id, name } => Kind::RestartService(proto::RestartService { id, name }),
            FromEdge::Ping(ping) => Kind::Ping(ping.into()),
            FromEdge::ConfirmGate { id, gate, by } => Kind::ConfirmGate(proto::ConfirmGate { id, gate, by }),
            FromEdge::RunHook { id, hook, reason } => Kind::RunHook(proto::RunHook { id, hook, reason }),
            FromEdge::CertificateIssued { id, outcome } => {
                let (certificate, why) = match outcome {
                    Ok(certificate) => (certificate, String::new()),
                    Err(why) => (Vec::new(), why),
                };
                Kind::CertificateIssued(proto::CertificateIssued { id, certificate, why })
            }
        };
        proto::EdgeFrame { kind: Some(kind) }
    }
}

impl TryFrom<proto::EdgeFrame> for FromEdge {
    type Error = FrameError;

    fn try_from(frame: proto::EdgeFrame) -> Result<Self, FrameError> {
        use edge_frame::Kind;
        Ok(match frame.kind.ok_or(FrameError::Missing("kind"))? {
            Kind::Hello(hello) => {
                let terms = hello.terms.ok_or(FrameError::Missing("hello.terms"))?;
                FromEdge::Hello(Hello {
                    protocol: hello.protocol,
                    pair: hello.pair,
                    side: side_in(hello.side, "hello.side")?,
                    edge: hello.edge,
                    terms: Terms {
                        ttl: Duration::from_nanos(terms.ttl_ns),
                        renew: Duration::from_nanos(terms.renew_ns),
                        stop_max: Duration::from_nanos(terms.stop_max_ns),
                    },
                    minor: hello.minor,
                })
            }
            Kind::Prepare(prepare) => FromEdge::Command(ToNode::Prepare { epoch: Epoch(prepare.epoch) }),
            Kind::StandDown(order) => FromEdge::Command(ToNode::StandDown {
                epoch: Epoch(order.epoch),
                urgency: urgency_in(order.urgency, "stand_down.urgency")?,
            }),
            Kind::Activate(order) => FromEdge::Command(ToNode::Activate {
                epoch: Epoch(order.epoch),
                lease: lease_in(order.lease, "activate.lease", "activate.lease.stamp")?,
            }),
            Kind::Renew(order) => FromEdge::Command(ToNode::Renew {
                epoch: Epoch(order.epoch),
                lease: lease_in(order.lease, "renew.lease", "renew.lease.stamp")?,
            }),
            Kind::RestartService(order) => FromEdge::RestartService { id: order.id, name: order.name },
            Kind::Ping(ping) => FromEdge::Ping(ping.into()),
            Kind::ConfirmGate(order) => FromEdge::ConfirmGate { id: order.id, gate: order.gate, by: order.by },
            Kind::RunHook(order) => FromEdge::RunHook { id: order.id, hook: order.hook, reason: order.reason },
            Kind::CertificateIssued(issued) => FromEdge::CertificateIssued {
                id: issued.id,
                outcome: if issued.certificate.is_empty() { Err(issued.why) } else { Ok(issued.certificate) },
            },
        })
    }
}

impl From<FromAgent> for proto::AgentFrame {
    fn from(message: FromAgent) -> Self {
        use agent_frame::Kind;
        let kind = match message {
            FromAgent::Welcome(welcome) => Kind::Welcome(proto::Welcome {
                protocol: welcome.protocol,
                pair: welcome.pair,
                side: side_out(welcome.side),
                session: welcome.session.0,
                release: welcome.release,
                version: welcome.version,
                minor: welcome.minor,
            }),
            FromAgent::Node(FromNode::Report(report)) => Kind::Report(report_out(report)),
            FromAgent::Node(FromNode::Answer(answer)) => Kind::Answer(answer_out(answer)),
            FromAgent::ServiceRestarted { id, outcome, why } => {
                Kind::ServiceRestarted(proto::ServiceRestarted { id, outcome: outcome_out(outcome), why })
            }
            FromAgent::Pong(pong) => Kind::Pong(pong.into()),
            FromAgent::GateConfirmed { id, outcome, why } => {
                Kind::GateConfirmed(proto::GateConfirmed { id, outcome: outcome_out(outcome), why })
            }
            FromAgent::HookRan { id, outcome, text } => {
                Kind::HookRan(proto::HookRan { id, outcome: outcome_out(outcome), text })
            }
            FromAgent::CertificateWanted { id, request } => {
                Kind::CertificateWanted(proto::CertificateWanted { id, request })
            }
            FromAgent::CertificateChanged => Kind::CertificateChanged(proto::CertificateChanged {}),
        };
        proto::AgentFrame { kind: Some(kind) }
    }
}

impl TryFrom<proto::AgentFrame> for FromAgent {
    type Error = FrameError;

    fn try_from(frame: proto::AgentFrame) -> Result<Self, FrameError> {
        use agent_frame::Kind;
        Ok(match frame.kind.ok_or(FrameError::Missing("kind"))? {
            Kind::Welcome(welcome) => FromAgent::Welcome(Welcome {
                protocol: welcome.protocol,
                pair: welcome.pair,
                side: side_in(welcome.side, "welcome.side")?,
                session: Session(welcome.session),
                release: welcome.release,
                version: welcome.version,
                minor: welcome.minor,
            }),
            Kind::Report(report) => FromAgent::Node(FromNode::Report(report_in(report)?)),
            Kind::Answer(answer) => FromAgent::Node(FromNode::Answer(answer_in(answer)?)),
            Kind::ServiceRestarted(done) => FromAgent::ServiceRestarted {
                id: done.id,
                outcome: outcome_in(done.outcome, "service_restarted.outcome")?,
                why: done.why,
            },
            Kind::Pong(pong) => FromAgent::Pong(pong.try_into()?),
            Kind::GateConfirmed(done) => FromAgent::GateConfirmed {
                id: done.id,
                outcome: outcome_in(done.outcome, "gate_confirmed.outcome")?,
                why: done.why,
            },
            Kind::HookRan(done) => FromAgent::HookRan {
                id: done.id,
                outcome: outcome_in(done.outcome, "hook_ran.outcome")?,
                text: done.text,
            },
            Kind::CertificateWanted(wanted) => FromAgent::CertificateWanted { id: wanted.id, request: wanted.request },
            Kind::CertificateChanged(_) => FromAgent::CertificateChanged,
        })
    }
}

impl From<Ping> for proto::Ping {
    fn from(Ping { number, service }: Ping) -> Self {
        proto::Ping { number, service }
    }
}

impl From<proto::Ping> for Ping {
    fn from(proto::Ping { number, service }: proto::Ping) -> Self {
        Ping { number, service }
    }
}

impl From<Pong> for proto::Pong {
    fn from(Pong { number, finding }: Pong) -> Self {
        use proto::Wellness;
        let (wellness, pid, why) = match finding {
            None => (Wellness::Unspecified, 0, String::new()),
            Some(Finding::Well { pid }) => (Wellness::Well, pid, String::new()),
            Some(Finding::NotWell { pid, why }) => (Wellness::NotWell, pid, why),
            Some(Finding::UnknownService) => (Wellness::UnknownService, 0, String::new()),
        };
        proto::Pong { number, wellness: wellness.into(), pid, why }
    }
}

impl TryFrom<proto::Pong> for Pong {
    type Error = FrameError;

    fn try_from(pong: proto::Pong) -> Result<Self, FrameError> {
        use proto::Wellness;
        let unknown = FrameError::Unknown { field: "pong.wellness", value: pong.wellness.into() };
        let finding = match Wellness::try_from(pong.wellness).map_err(|_| unknown)? {
            Wellness::Unspecified => None,
            Wellness::Well => Some(Finding::Well { pid: pong.pid }),
            Wellness::NotWell => Some(Finding::NotWell { pid: pong.pid, why: pong.why }),
            Wellness::UnknownService => Some(Finding::UnknownService),
        };
        Ok(Pong { number: pong.number, finding })
    }
}

fn report_out(report: Report) -> proto::Report {
    proto::Report {
        stamp: Some(stamp_out(report.stamp)),
        epoch: report.epoch.0,
        role: role_out(report.role),
        serving: report.serving,
        fit: report.fit,
        running: report.running,
        lease_left_ns: nanos(report.lease_left),
        services: report.services.into_iter().map(service_out).collect(),
        release: report.release,
        replication: replication_out(report.replication),
        replication_detail: report.replication_detail,
        lan: lan_out(report.lan),
        waiting: report.waiting,
        unbound: report.unbound,
    }
}

fn report_in(report: proto::Report) -> Result<Report, FrameError> {
    Ok(Report {
        stamp: stamp_in(report.stamp, "report.stamp")?,
        epoch: Epoch(report.epoch),
        role: role_in(report.role, "report.role")?,
        serving: report.serving,
        fit: report.fit,
        running: report.running,
        lease_left: Duration::from_nanos(report.lease_left_ns),
        services: report.services.into_iter().map(service_in).collect::<Result<_, _>>()?,
        release: report.release,
        replication: replication_in(report.replication, "report.replication")?,
        replication_detail: report.replication_detail,
        lan: lan_in(report.lan, "report.lan")?,
        waiting: report.waiting,
        unbound: report.unbound,
    })
}

fn service_out(service: Service) -> proto::Service {
    proto::Service {
        name: service.name,
        exclusive: service.exclusive,
        state: state_out(service.state),
        pid: service.pid,
        restarts: service.restarts,
    }
}

fn service_in(service: proto::Service) -> Result<Service, FrameError> {
    Ok(Service {
        state: state_in(service.state, "report.services.state")?,
        name: service.name,
        exclusive: service.exclusive,
        pid: service.pid,
        restarts: service.restarts,
    })
}

fn answer_out(answer: Answer) -> proto::Answer {
    use answer::Kind;
    let epoch = answer.epoch().0;
    let kind = match answer {
        Answer::Prepared { .. } => Kind::Prepared(proto::Done {}),
        Answer::StoodDown { .. } => Kind::StoodDown(proto::Done {}),
        Answer::Activated { .. } => Kind::Activated(proto::Done {}),
        Answer::Failed { why, .. } => Kind::Failed(proto::Failed { why }),
        Answer::Refused { highest, why, .. } => Kind::Refused(proto::Refused { highest: highest.0, why }),
    };
    proto::Answer { epoch, kind: Some(kind) }
}

fn answer_in(answer: proto::Answer) -> Result<Answer, FrameError> {
    use answer::Kind;
    let epoch = Epoch(answer.epoch);
    Ok(match answer.kind.ok_or(FrameError::Missing("answer.kind"))? {
        Kind::Prepared(_) => Answer::Prepared { epoch },
        Kind::StoodDown(_) => Answer::StoodDown { epoch },
        Kind::Activated(_) => Answer::Activated { epoch },
        Kind::Failed(failed) => Answer::Failed { epoch, why: failed.why },
        Kind::Refused(refused) => Answer::Refused { epoch, highest: Epoch(refused.highest), why: refused.why },
    })
}

fn stamp_out(stamp: Stamp) -> proto::Stamp {
    proto::Stamp { session: stamp.session.0, at_ns: stamp.at.0 }
}

fn stamp_in(stamp: Option<proto::Stamp>, field: &'static str) -> Result<Stamp, FrameError> {
    let stamp = stamp.ok_or(FrameError::Missing(field))?;
    Ok(Stamp { session: Session(stamp.session), at: At(stamp.at_ns) })
}

fn lease_out(lease: Lease) -> proto::Lease {
    proto::Lease { stamp: Some(stamp_out(lease.stamp)), ttl_ns: nanos(lease.ttl) }
}

fn lease_in(lease: Option<proto::Lease>, field: &'static str, stamp: &'static str) -> Result<Lease, FrameError> {
    let lease = lease.ok_or(FrameError::Missing(field))?;
    Ok(Lease { stamp: stamp_in(lease.stamp, stamp)?, ttl: Duration::from_nanos(lease.ttl_ns) })
}

/// Durations longer than 584 years become that.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes the two directions of an enumeration from one table, so that they cannot disagree.
macro_rules! enumeration {
    ($out:ident, $inn:ident, $ours:ident, $theirs:ident, { $($our:ident = $their:ident),+ $(,)? }) => {
        fn $out(value: $ours) -> i32 {
            match value {
                $($ours::$our => proto::$theirs::$their as i32,)+
            }
        }

        fn $inn(value: i32, field: &'static str) -> Result<$ours, FrameError> {
            match proto::$theirs::try_from(value) {
                $(Ok(proto::$theirs::$their) => Ok($ours::$our),)+
                #[allow(unreachable_patterns, reason = "an enumeration whose zero has a meaning has no other case")]
                _ => Err(FrameError::Unknown { field, value: value.into() }),
            }
        }
    };
}

enumeration!(side_out, side_in, Side, Side, { A = A, B = B });
enumeration!(urgency_out, urgency_in, Urgency, Urgency, { Planned = Planned, Failover = Failover });
enumeration!(outcome_out, outcome_in, Outcome, Outcome, { Done = Done, Refused = Refused, Failed = Failed });
enumeration!(role_out, role_in, Role, Role, {
    Unknown = Unknown,
    Standby = Standby,
    Activating = Activating,
    Active = Active,
    StandingDown = StandingDown,
    Failed = Failed,
});
enumeration!(state_out, state_in, ServiceState, ServiceState, {
    Stopped = Stopped,
    Starting = Starting,
    Running = Running,
    Stopping = Stopping,
    Exited = Exited,
    Unready = Unready,
});
enumeration!(replication_out, replication_in, Replication, Replication, {
    Unknown = Unknown,
    Current = Current,
    Behind = Behind,
    Stopped = Stopped,
});
enumeration!(lan_out, lan_in, Lan, Lan, { Unknown = Unknown, Connected = Connected, Isolated = Isolated });
