//! Every message survives the wire, and no bytes make a reader panic.

use lockstep_pair::protocol::{Answer, FromNode, Lease, Report, Session, Stamp, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Outcome, Replication, Role, Service, ServiceState};
use lockstep_policy::{At, Epoch, Side};
use lockstep_wire::proto::{AgentFrame, EdgeFrame};
use lockstep_wire::{Finding, FrameError, FromAgent, FromEdge, Hello, Ping, Pong, Welcome};
use proptest::prelude::*;
use std::time::Duration;

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<u64>()).prop_map(|(session, at)| Stamp { session: Session(session), at: At(at) })
}

fn lease() -> impl Strategy<Value = Lease> {
    (stamp(), duration()).prop_map(|(stamp, ttl)| Lease { stamp, ttl })
}

fn terms() -> impl Strategy<Value = Terms> {
    (duration(), duration(), duration()).prop_map(|(ttl, renew, stop_max)| Terms { ttl, renew, stop_max })
}

fn urgency() -> impl Strategy<Value = Urgency> {
    prop_oneof![Just(Urgency::Planned), Just(Urgency::Failover)]
}

fn command() -> impl Strategy<Value = ToNode> {
    prop_oneof![
        epoch().prop_map(|epoch| ToNode::Prepare { epoch }),
        (epoch(), urgency()).prop_map(|(epoch, urgency)| ToNode::StandDown { epoch, urgency }),
        (epoch(), lease()).prop_map(|(epoch, lease)| ToNode::Activate { epoch, lease }),
        (epoch(), lease()).prop_map(|(epoch, lease)| ToNode::Renew { epoch, lease }),
    ]
}

fn from_edge() -> impl Strategy<Value = FromEdge> {
    let hello = (any::<u32>(), ".*", side(), ".*", terms(), any::<u32>());
    prop_oneof![
        hello.prop_map(|(protocol, pair, side, edge, terms, minor)| {
            FromEdge::Hello(Hello { protocol, pair, side, edge, terms, minor })
        }),
        command().prop_map(FromEdge::Command),
        (any::<u64>(), ".*").prop_map(|(id, name)| FromEdge::RestartService { id, name }),
        (any::<u64>(), ".*").prop_map(|(number, service)| FromEdge::Ping(Ping { number, service })),
        (any::<u64>(), ".*", ".*").prop_map(|(id, gate, by)| FromEdge::ConfirmGate { id, gate, by }),
        (any::<u64>(), ".*", ".*").prop_map(|(id, hook, reason)| FromEdge::RunHook { id, hook, reason }),
        (any::<u64>(), certificate()).prop_map(|(id, outcome)| FromEdge::CertificateIssued { id, outcome }),
    ]
}

fn certificate() -> impl Strategy<Value = Result<Vec<u8>, String>> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..50);
    prop_oneof![bytes.prop_map(Ok), ".*".prop_map(Err)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Unknown),
        Just(Role::Standby),
        Just(Role::Activating),
        Just(Role::Active),
        Just(Role::StandingDown),
        Just(Role::Failed),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let state = prop_oneof![
        Just(ServiceState::Stopped),
        Just(ServiceState::Starting),
        Just(ServiceState::Running),
        Just(ServiceState::Stopping),
        Just(ServiceState::Exited),
        Just(ServiceState::Unready),
    ];
    (".*", any::<bool>(), state, any::<u32>(), any::<u32>())
        .prop_map(|(name, exclusive, state, pid, restarts)| Service { name, exclusive, state, pid, restarts })
}

fn report() -> impl Strategy<Value = Report> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let services = proptest::collection::vec(service(), 0..5);
    let replication = prop_oneof![
        Just(Replication::Unknown),
        Just(Replication::Current),
        Just(Replication::Behind),
        Just(Replication::Stopped),
    ];
    let lan = prop_oneof![Just(Lan::Unknown), Just(Lan::Connected), Just(Lan::Isolated)];
    let unbound = prop::collection::vec(".*", 0..3);
    let found = (".*", replication, ".*", lan, ".*", unbound);
    (stamp(), epoch(), role(), flags, duration(), services, found).prop_map(
        |(stamp, epoch, role, (serving, fit, running), lease_left, services, found)| {
            let (release, replication, replication_detail, lan, waiting, unbound) = found;
            Report {
                stamp,
                epoch,
                role,
                serving,
                fit,
                running,
                lease_left,
                services,
                release,
                replication,
                replication_detail,
                lan,
                waiting,
                unbound,
            }
        },
    )
}

fn finding() -> impl Strategy<Value = Option<Finding>> {
    prop_oneof![
        Just(None),
        any::<u32>().prop_map(|pid| Some(Finding::Well { pid })),
        (any::<u32>(), ".*").prop_map(|(pid, why)| Some(Finding::NotWell { pid, why })),
        Just(Some(Finding::UnknownService)),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Done), Just(Outcome::Refused), Just(Outcome::Failed)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        epoch().prop_map(|epoch| Answer::Prepared { epoch }),
        epoch().prop_map(|epoch| Answer::StoodDown { epoch }),
        epoch().prop_map(|epoch| Answer::Activated { epoch }),
        (epoch(), ".*").prop_map(|(epoch, why)| Answer::Failed { epoch, why }),
        (epoch(), epoch(), ".*").prop_map(|(epoch, highest, why)| Answer::Refused { epoch, highest, why }),
    ]
}

fn from_agent() -> impl Strategy<Value = FromAgent> {
    let welcome = (any::<u32>(), ".*", side(), any::<u64>(), ".*", ".*", any::<u32>());
    prop_oneof![
        welcome.prop_map(|(protocol, pair, side, session, release, version, minor)| FromAgent::Welcome(Welcome {
            protocol,
            pair,
            side,
            session: Session(session),
            release,
            version,
            minor,
        })),
        report().prop_map(|report| FromAgent::Node(FromNode::Report(report))),
        answer().prop_map(|answer| FromAgent::Node(FromNode::Answer(answer))),
        (any::<u64>(), outcome(), ".*").prop_map(|(id, outcome, why)| FromAgent::ServiceRestarted { id, outcome, why }),
        (any::<u64>(), finding()).prop_map(|(number, finding)| FromAgent::Pong(Pong { number, finding })),
        (any::<u64>(), outcome(), ".*").prop_map(|(id, outcome, why)| FromAgent::GateConfirmed { id, outcome, why }),
        (any::<u64>(), outcome(), ".*").prop_map(|(id, outcome, text)| FromAgent::HookRan { id, outcome, text }),
    ]
}

proptest! {
    #[test]
    fn what_an_edge_says_arrives_as_it_was_said(message in from_edge()) {
        let bytes = prost::Message::encode_to_vec(&EdgeFrame::from(message.clone()));
        let frame: EdgeFrame = prost::Message::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(FromEdge::try_from(frame).unwrap(), message);
    }

    #[test]
    fn what_an_agent_says_arrives_as_it_was_said(message in from_agent()) {
        let bytes = prost::Message::encode_to_vec(&AgentFrame::from(message.clone()));
        let frame: AgentFrame = prost::Message::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(FromAgent::try_from(frame).unwrap(), message);
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = <EdgeFrame as prost::Message>::decode(bytes.as_slice()) {
            let _ = FromEdge::try_from(frame);
        }
        if let Ok(frame) = <AgentFrame as prost::Message>::decode(bytes.as_slice()) {
            let _ = FromAgent::try_from(frame);
        }
    }
}

#[test]
fn a_missing_field_is_named() {
    use lockstep_wire::proto::{Activate, edge_frame};
    let frame = EdgeFrame { kind: Some(edge_frame::Kind::Activate(Activate { epoch: 1, lease: None })) };
    assert_eq!(FromEdge::try_from(frame), Err(FrameError::Missing("activate.lease")));
}

#[test]
fn an_unknown_value_is_named() {
    use lockstep_wire::proto::{StandDown, edge_frame};
    let frame = EdgeFrame { kind: Some(edge_frame::Kind::StandDown(StandDown { epoch: 1, urgency: 9 })) };
    assert_eq!(FromEdge::try_from(frame), Err(FrameError::Unknown { field: "stand_down.urgency", value: 9 }));
}

/// An agent of before pings could name a service answers with the number only.
#[test]
fn a_pong_of_an_old_agent_has_no_finding() {
    let pong = lockstep_wire::proto::Pong { number: 7, ..Default::default() };
    assert_eq!(Pong::try_from(pong), Ok(Pong { number: 7, finding: None }));
}

/// What a peer of tomorrow adds is no fault: an unknown kind of frame arrives as one without a kind.
#[test]
fn a_frame_of_an_unknown_kind_arrives_without_one() {
    // Field 1000, length-delimited, empty.
    let frame: AgentFrame = prost::Message::decode([0xc2, 0x3e, 0x00].as_slice()).unwrap();
    assert_eq!(frame.kind, None);
}
