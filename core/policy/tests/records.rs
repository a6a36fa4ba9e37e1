//! Records: what is written is read again, and whatever bytes are read, the answer is a value or a sentence.

use lockstep_policy::abi::layout::LAYOUTS;
use lockstep_policy::abi::{self, Decoded, Given, MUST_KNOW, Malformed};
use lockstep_policy::action::{
    Action, AgentProbe, Alert, Answer, ConfigAnswer, ConfirmGate, CtiProbe, Extract, HttpProbe, IcmpProbe, IcmpTarget,
    Level, OrderAnswer, Pending, Pick, ProbeKind, RestartService, Roster, RunHook, Share, ShareRule, Source, StandDown,
    Switch, Tls, Urgency, Watch, When, XmppProbe, XmppTransport,
};
use lockstep_policy::event::{
    ActionResult, AgentReport, Command, ConfigChange, Connection, Event, Fact, Handover, Lan, Link, Order, Outcome,
    ProbeId, ProbeResult, Replication, Role, Service, ServiceState, Sessions, Stage, Start, TimerId, Traffic, Verdict,
    What,
};
use lockstep_policy::{At, Epoch, Side, Sides};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn service() -> impl Strategy<Value = Service> {
    let state = prop::sample::select(vec![
        ServiceState::Stopped,
        ServiceState::Starting,
        ServiceState::Running,
        ServiceState::Stopping,
        ServiceState::Exited,
        ServiceState::Unready,
    ]);
    (text(), any::<bool>(), state, any::<u32>(), any::<u32>())
        .prop_map(|(name, exclusive, state, pid, restarts)| Service { name, exclusive, state, pid, restarts })
}

fn report() -> impl Strategy<Value = AgentReport> {
    let role = prop::sample::select(vec![
        Role::Unknown,
        Role::Standby,
        Role::Activating,
        Role::Active,
        Role::StandingDown,
        Role::Failed,
    ]);
    let services = prop::collection::vec(service(), 0..4);
    let replication = prop::sample::select(vec![
        Replication::Unknown,
        Replication::Current,
        Replication::Behind,
        Replication::Stopped,
    ]);
    let lan = prop::sample::select(vec![Lan::Unknown, Lan::Connected, Lan::Isolated]);
    let appended = (replication, lan, text(), text());
    (side(), role, any::<u64>(), any::<bool>(), any::<bool>(), services, text(), appended).prop_map(
        |(side, role, epoch, serving, fit, services, release, (replication, lan, replication_detail, waiting))| {
            AgentReport {
                side,
                role,
                epoch: Epoch(epoch),
                serving,
                fit,
                services,
                release,
                replication,
                replication_detail,
                lan,
                waiting,
            }
        },
    )
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..4)
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec((text(), text()).prop_map(|(name, value)| Fact { name, value }), 0..4)
}

/// The kinds of event that 1.1 brought.
fn what_of_1_1() -> impl Strategy<Value = What> {
    prop_oneof![
        (any::<u64>(), text()).prop_map(|(change, setup)| What::Config(ConfigChange { change, setup })),
        (any::<u64>(), text(), option::of(side()), text(), any::<bool>(), text(), texts()).prop_map(
            |(order, name, side, argument, confirmed, by, rights)| {
                What::Command(Command { order, name, side, argument, confirmed, by, rights })
            }
        ),
        (any::<u64>(), any::<[u32; 5]>(), any::<bool>(), texts()).prop_map(
            |(share, [a, b, moved, left, failed], ended, names)| {
                What::Sessions(Sessions { share, on: Sides { a, b }, moved, left, failed, ended, names })
            }
        ),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let verdict = prop::sample::select(vec![Verdict::Good, Verdict::Wrong, Verdict::Silent, Verdict::Refused]);
    let connection = prop::sample::select(vec![Connection::Main, Connection::Auxiliary]);
    let stage = prop::sample::select(vec![Stage::Begun, Stage::Completed, Stage::RolledBack, Stage::NoActive]);
    let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed]);
    prop_oneof![
        what_of_1_1(),
        (option::of(side()), any::<u64>(), any::<bool>(), option::of(1..u64::MAX)).prop_map(
            |(active, epoch, restored, since)| {
                let since_handover = since.map(Duration::from_nanos);
                What::Start(Start { active, epoch: Epoch(epoch), restored, since_handover })
            }
        ),
        (any::<u32>(), side(), any::<u32>(), verdict, duration(), any::<u16>(), text(), facts()).prop_map(
            |(probe, side, server, verdict, latency, status, detail, facts)| {
                What::Probe(ProbeResult {
                    probe: ProbeId(probe),
                    side,
                    server,
                    verdict,
                    latency,
                    status,
                    detail,
                    facts,
                })
            }
        ),
        report().prop_map(What::Agent),
        (side(), connection, any::<bool>()).prop_map(|(side, connection, up)| What::Link(Link {
            side,
            connection,
            up
        })),
        (side(), duration(), any::<[u32; 6]>()).prop_map(
            |(side, window, [good, server_errors, refused, resets, timeouts, slow])| {
                What::Traffic(Traffic { side, window, good, server_errors, refused, resets, timeouts, slow })
            }
        ),
        any::<u32>().prop_map(|timer| What::Timer(TimerId(timer))),
        (any::<u64>(), side(), any::<bool>(), text(), texts())
            .prop_map(|(order, to, confirmed, by, rights)| { What::Order(Order { order, to, confirmed, by, rights }) }),
        (any::<u64>(), side(), stage, option::of(side()))
            .prop_map(|(epoch, to, stage, active)| What::Handover(Handover { epoch: Epoch(epoch), to, stage, active })),
        (any::<u64>(), outcome, text()).prop_map(|(action, outcome, why)| What::Result(ActionResult {
            action,
            outcome,
            why
        })),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), any::<u64>(), what()).prop_map(|(seq, at, what)| Event { seq, at: At(at), what })
}

fn watch() -> impl Strategy<Value = Watch> {
    let kind = prop_oneof![
        http(),
        any::<u16>().prop_map(|port| ProbeKind::Tcp { port }),
        (icmp_target(), 0_u8..64).prop_map(|(target, dscp)| ProbeKind::Icmp(IcmpProbe { target, dscp })),
        xmpp(),
        cti(),
    ];
    let of_a_server = (any::<u32>(), side(), any::<u32>(), kind, duration(), duration()).prop_map(
        |(probe, side, server, kind, interval, timeout)| Watch {
            probe: ProbeId(probe),
            side,
            server,
            kind,
            interval,
            timeout,
        },
    );
    let connection = prop::sample::select(vec![Connection::Main, Connection::Auxiliary]);
    let of_an_agent = (any::<u32>(), side(), connection, text(), 0_u8..64, duration(), duration()).prop_map(
        |(probe, side, connection, service, dscp, interval, timeout)| {
            let kind = ProbeKind::Agent(AgentProbe { connection, service, dscp });
            Watch { probe: ProbeId(probe), side, server: 0, kind, interval, timeout }
        },
    );
    prop_oneof![4 => of_a_server, 1 => of_an_agent]
}

fn tls() -> impl Strategy<Value = Tls> {
    prop::sample::select(vec![Tls::Off, Tls::Unverified, Tls::Verified])
}

fn http() -> impl Strategy<Value = ProbeKind> {
    let source = prop::sample::select(vec![Source::Body, Source::Xml, Source::Json, Source::Header]);
    let extract = (text(), source, text()).prop_map(|(name, source, expression)| Extract { name, source, expression });
    let facts = prop::collection::vec(extract, 0..4);
    (any::<u16>(), text(), text(), any::<u16>(), text(), tls(), text(), facts).prop_map(
        |(port, path, host, status, body, tls, address, facts)| {
            ProbeKind::Http(HttpProbe { port, path, host, status, body, tls, address, facts })
        },
    )
}

fn icmp_target() -> impl Strategy<Value = IcmpTarget> {
    prop_oneof![Just(IcmpTarget::Server), Just(IcmpTarget::Gateways), texts().prop_map(IcmpTarget::Addresses)]
}

fn xmpp() -> impl Strategy<Value = ProbeKind> {
    let transport = prop::sample::select(vec![XmppTransport::Tcp, XmppTransport::Bosh]);
    (transport, any::<u16>(), tls(), prop::array::uniform5(text())).prop_map(
        |(transport, port, tls, [path, domain, user, secret, presence])| {
            ProbeKind::Xmpp(XmppProbe { transport, port, tls, path, domain, user, secret, presence })
        },
    )
}

fn cti() -> impl Strategy<Value = ProbeKind> {
    (any::<u16>(), tls(), any::<[u32; 3]>(), duration(), text(), text()).prop_map(
        |(port, tls, [version, peripheral, services], idle_timeout, client, secret)| {
            ProbeKind::Cti(CtiProbe { port, tls, version, peripheral, services, idle_timeout, client, secret })
        },
    )
}

/// The kinds of action that 1.1 brought, but for the probes.
fn action_of_1_1() -> impl Strategy<Value = Action> {
    let pick = prop::sample::select(vec![Pick::Turn, Pick::Order, Pick::Shuffle]);
    let pending = (text(), text()).prop_map(|(key, until)| Pending { key, until });
    let when = prop_oneof![Just(When::Always), side().prop_map(When::Serves), side().prop_map(When::ServesNot)];
    prop_oneof![
        (any::<u64>(), text()).prop_map(|(order, text)| Action::AcceptOrder(OrderAnswer { order, text })),
        (any::<u64>(), text(), prop::collection::vec(pending, 0..4))
            .prop_map(|(change, refused, pending)| { Action::AnswerConfig(ConfigAnswer { change, refused, pending }) }),
        share().prop_map(Action::Share),
        (side(), text(), pick, prop::collection::vec(any::<u32>(), 0..9))
            .prop_map(|(side, pool, pick, servers)| Action::Roster(Roster { side, pool, pick, servers })),
        (any::<u32>(), when, any::<u16>(), prop::array::uniform5(text())).prop_map(
            |(rule, when, status, [path, query, host, content_type, body])| {
                Action::Answer(Answer { rule, path, query, host, when, status, content_type, body })
            }
        ),
        any::<u32>().prop_map(Action::Unanswer),
        (any::<u32>(), 0_u16..1440).prop_map(|(timer, minute)| Action::SetAlarm(TimerId(timer), minute)),
        (side(), text(), text()).prop_map(|(side, gate, by)| Action::ConfirmGate(ConfirmGate { side, gate, by })),
        (side(), text(), text()).prop_map(|(side, hook, reason)| Action::RunHook(RunHook { side, hook, reason })),
    ]
}

fn share() -> impl Strategy<Value = Share> {
    let rule = (text(), text(), side()).prop_map(|(attribute, value, side)| ShareRule { attribute, value, side });
    let evidence = prop::collection::vec(any::<u64>(), 0..20);
    let rules = prop::collection::vec(rule, 0..4);
    (any::<[u32; 2]>(), rules, option::of(side()), duration(), duration(), text(), evidence, any::<u64>()).prop_map(
        |([a, b], rules, from, window, warning, reason, evidence, order)| {
            let parts = Sides { a, b };
            Share { parts, rules, from, window, warning, reason, evidence, order }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let evidence = || prop::collection::vec(any::<u64>(), 0..20);
    let urgency = prop::sample::select(vec![Urgency::Planned, Urgency::Failover]);
    let level = prop::sample::select(vec![Level::Info, Level::Warning, Level::Critical]);
    let answer = || (any::<u64>(), text()).prop_map(|(order, text)| OrderAnswer { order, text });
    prop_oneof![
        4 => watch().prop_map(Action::Watch),
        6 => action_of_1_1(),
        1 => any::<u32>().prop_map(|probe| Action::Unwatch(ProbeId(probe))),
        1 => any::<u32>().prop_map(|probe| Action::ProbeNow(ProbeId(probe))),
        1 => any::<(u32, u64)>().prop_map(|(timer, due)| Action::SetTimer(TimerId(timer), At(due))),
        1 => any::<u32>().prop_map(|timer| Action::CancelTimer(TimerId(timer))),
        1 => side().prop_map(Action::Prepare),
        1 => (side(), urgency, text(), evidence(), any::<u64>()).prop_map(|(to, urgency, reason, evidence, order)| {
            Action::Switch(Switch { to, urgency, reason, evidence, order })
        }),
        1 => (side(), text(), evidence()).prop_map(|(side, reason, evidence)| Action::StandDown(StandDown {
            side,
            reason,
            evidence
        })),
        1 => (side(), text(), text()).prop_map(|(side, service, reason)| Action::RestartService(RestartService {
            side,
            service,
            reason
        })),
        1 => (side(), text()).prop_map(|(side, text)| Action::Show(side, text)),
        1 => (level, text()).prop_map(|(level, text)| Action::Alert(Alert { level, text })),
        1 => answer().prop_map(Action::RefuseOrder),
        1 => answer().prop_map(Action::AskConfirmation),
    ]
}

fn encoded(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    abi::encode_event(event, &mut bytes);
    bytes
}

/// A record of a later minor version: eight bytes are appended to its fixed part, and all offsets move along.
fn appended(record: &[u8], fixed: usize) -> Vec<u8> {
    let mut longer = record[..fixed].to_vec();
    longer.extend([0xab; 8]);
    longer.extend(&record[fixed..]);
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
    longer[0..4].copy_from_slice(&(word(0) + 8).to_le_bytes());
    longer[8..12].copy_from_slice(&(word(8) + 8).to_le_bytes());
    longer
}

proptest! {
    #[test]
    fn events_are_read_as_they_were_written(events in prop::collection::vec(event(), 1..5)) {
        let mut bytes = Vec::new();
        events.iter().for_each(|event| abi::encode_event(event, &mut bytes));
        let mut rest = bytes.as_slice();
        for event in events {
            let (decoded, after) = abi::event(rest).expect("it was written by us");
            prop_assert_eq!(decoded, Decoded::Known(event));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn actions_are_read_as_they_were_written(number in any::<u64>(), action in action()) {
        let mut bytes = Vec::new();
        abi::encode_action(number, At::ZERO, &action, &mut bytes);
        prop_assert_eq!(bytes.len() % 8, 0);
        let (decoded, rest) = abi::action(&bytes).expect("it was written by us");
        prop_assert_eq!(decoded, Decoded::Known(Given::Action(number, action)));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = abi::event(&bytes);
        let _ = abi::action(&bytes);
    }

    /// Sound heads before any bytes get further than bytes alone: sizes, kinds and fixed parts that lie.
    #[test]
    fn any_bytes_behind_a_head_are_answered(
        kind in prop_oneof![0_u16..15, 256_u16..285, Just(511), any::<u16>()],
        size in prop_oneof![(4_u32..32).prop_map(|words| words * 8), any::<u32>()],
        fixed in prop_oneof![(4_u32..14).prop_map(|words| words * 8), any::<u32>()],
        body in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..200),
    ) {
        let mut bytes = [&size.to_le_bytes()[..], &kind.to_le_bytes(), &[0, 0], &fixed.to_le_bytes(), &[0; 20]].concat();
        bytes.extend(body);
        let _ = abi::event(&bytes);
        let _ = abi::action(&bytes);
    }

    #[test]
    fn a_changed_byte_is_answered(event in event(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encoded(&event);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = abi::event(&bytes);
    }

    #[test]
    fn a_record_that_is_cut_off_is_refused(event in event(), at in any::<prop::sample::Index>()) {
        let bytes = encoded(&event);
        let cut = &bytes[..at.index(bytes.len())];
        let truncated = matches!(abi::event(cut), Err(Malformed::Truncated { .. }));
        prop_assert!(truncated);
    }

    #[test]
    fn a_longer_record_of_a_later_version_is_read(seq in any::<u64>(), at in any::<u64>(), epoch in any::<u64>()) {
        let start = What::Start(Start { active: Some(Side::B), epoch: Epoch(epoch), restored: true, since_handover: None });
        let event = Event { seq, at: At(at), what: start };
        let longer = appended(&encoded(&event), 56);
        prop_assert_eq!(abi::event(&longer), Ok((Decoded::Known(event), &[][..])));
    }
}

/// A record of 1.0 ends where 1.1 goes on; what it lacks is none.
#[test]
fn a_shorter_record_of_an_earlier_version_is_read() {
    let start = Start { active: Some(Side::B), epoch: Epoch(7), restored: true, since_handover: Some(Duration::ZERO) };
    let event = Event { seq: 1, at: At(2), what: What::Start(start) };
    let mut bytes = encoded(&event);
    bytes.truncate(48);
    bytes[0..4].copy_from_slice(&48_u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&48_u32.to_le_bytes());
    let earlier = Event { what: What::Start(Start { since_handover: None, ..start }), ..event };
    assert_eq!(abi::event(&bytes), Ok((Decoded::Known(earlier), &[][..])));
    bytes.truncate(40);
    bytes[0..4].copy_from_slice(&40_u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&40_u32.to_le_bytes());
    assert!(matches!(abi::event(&bytes), Err(Malformed::Size { .. })), "less than 1.0 had");
}

#[test]
fn an_unknown_kind_is_skipped_unless_it_must_be_known() {
    let event = Event { seq: 1, at: At::ZERO, what: What::Timer(TimerId(1)) };
    let mut bytes = encoded(&event);
    bytes[4..6].copy_from_slice(&77_u16.to_le_bytes());
    assert_eq!(abi::event(&bytes), Ok((Decoded::Unknown { kind: 77 }, &[][..])));
    bytes[6..8].copy_from_slice(&MUST_KNOW.to_le_bytes());
    assert_eq!(abi::event(&bytes), Err(Malformed::MustKnow { kind: 77 }));
}

#[test]
fn texts_that_overlap_cannot_grow() {
    let service =
        Service { name: "x".repeat(1_000), exclusive: false, state: ServiceState::Running, pid: 0, restarts: 0 };
    let empty = Service { name: String::new(), ..service.clone() };
    let report = AgentReport {
        side: Side::A,
        role: Role::Active,
        epoch: Epoch(0),
        serving: true,
        fit: true,
        services: std::iter::once(service).chain(std::iter::repeat_n(empty, 99)).collect(),
        release: String::new(),
        replication: Replication::Unknown,
        replication_detail: String::new(),
        lan: Lan::Unknown,
        waiting: String::new(),
    };
    let mut bytes = encoded(&Event { seq: 1, at: At::ZERO, what: What::Agent(report) });
    let fixed = LAYOUTS.iter().find(|layout| layout.name == "ls_ev_agent").expect("it is there").size;
    let first: [u8; 8] = bytes[fixed..fixed + 8].try_into().expect("eight bytes");
    // Every service's name is made the first one's text.
    (0..100).for_each(|index| bytes[fixed + index * 24..][..8].copy_from_slice(&first));
    assert!(matches!(abi::event(&bytes), Err(Malformed::Outside { .. })));
}
