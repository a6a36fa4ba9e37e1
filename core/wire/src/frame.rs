//! Frames as values: total into the contract's form, fallible out of it, and never a panic.

use crate::proto;
use crate::proto::{agent_frame, answer, edge_frame};
use lockstep_pair::protocol::{Answer, FromNode, Lease, Report, Session, Stamp, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Outcome, Role, Service, ServiceState};
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
            }),
            FromAgent::Node(FromNode::Report(report)) => Kind::Report(report_out(report)),
            FromAgent::Node(FromNode::Answer(answer)) => Kind::Answer(answer_out(answer)),
            FromAgent::ServiceRestarted { id, outcome, why } => {
                Kind::ServiceRestarted(proto::ServiceRestarted { id, outcome: outcome_out(outcome), why })
            }
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
            }),
            Kind::Report(report) => FromAgent::Node(FromNode::Report(report_in(report)?)),
            Kind::Answer(answer) => FromAgent::Node(FromNode::Answer(answer_in(answer)?)),
            Kind::ServiceRestarted(done) => FromAgent::ServiceRestarted {
                id: done.id,
                outcome: outcome_in(done.outcome, "service_restarted.outcome")?,
                why: done.why,
            },
        })
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
