//! What holds whatever happens.

use lockstep_eservices::{Config, Eservices, Site, SiteAttribute, Sites, Steps};
use lockstep_policy::action::Action;
use lockstep_policy::event::{
    ActionResult, AgentReport, Command, ConfigChange, Connection, Event, Handover, Lan, Link, Order, Outcome, ProbeId,
    ProbeResult, Replication, Role, Sessions, Stage, Start, TimerId, Traffic, Verdict, What,
};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Epoch, Setup, Side, Sides as Both};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

fn setup() -> Setup {
    let side = SideSetup {
        servers: vec!["192.0.2.1:80".to_owned(), "192.0.2.2:80".to_owned()],
        pools: vec!["interaction".to_owned(), "ucs".to_owned()],
        agent: true,
    };
    Setup {
        pair: "media".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 2 },
        sides: Both { a: side.clone(), b: side },
    }
}

fn config(both: bool, fast: bool) -> Config {
    Config {
        sites: if both { Sites::Both } else { Sites::ActivePassive },
        site: Site { application: fast.then(|| "Site_A".to_owned()), ..Site::default() },
        site_attribute: SiteAttribute { user: Some("X-User".to_owned()), ..SiteAttribute::default() },
        fast,
        capacity_a: Some(100),
        runbook: Steps {
            suspend_hook: Some("suspend".to_owned()),
            site_option_hook: Some("site-option".to_owned()),
            ..Steps::default()
        },
        ..Config::default()
    }
}

fn eservices(both: bool, fast: bool) -> Eservices {
    Eservices::create(&setup(), config(both, fast), 0).expect("it is valid")
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn report() -> impl Strategy<Value = What> {
    let role = prop::sample::select(vec![Role::Unknown, Role::Standby, Role::Activating, Role::Active, Role::Failed]);
    let gate = prop::sample::select(vec!["", "", "database", "licence"]);
    (side(), role, any::<bool>(), gate).prop_map(|(side, role, fit, gate)| {
        What::Agent(AgentReport {
            side,
            role,
            epoch: Epoch(2),
            serving: role == Role::Active,
            fit,
            services: Vec::new(),
            release: String::new(),
            replication: Replication::Unknown,
            replication_detail: String::new(),
            lan: Lan::Unknown,
            waiting: gate.to_owned(),
        })
    })
}

fn command() -> impl Strategy<Value = What> {
    let said = prop::sample::select(vec![
        ("site", ""),
        ("site", "Site_B"),
        ("site", "user anna"),
        ("site", "planet earth"),
        ("arm", "any 1s"),
        ("arm", "ucs 5s runbook"),
        ("arm", "ucs"),
        ("arm", ""),
        ("disarm", ""),
        ("runbook", "start"),
        ("runbook", "start"),
        ("runbook", "stop"),
        ("runbook", "resume"),
        ("runbook", "show"),
        ("runbook", "confirm stop"),
        ("runbook", "confirm suspend"),
        ("runbook", "confirm database"),
        ("runbook", "confirm core"),
        ("runbook", "confirm proxies"),
        ("runbook", "confirm licence"),
        ("runbook", "confirm"),
        ("dance", ""),
    ]);
    let by = prop::sample::select(vec!["anna", "dora", ""]);
    (said, option::of(side()), any::<bool>(), by).prop_map(|((name, argument), side, confirmed, by)| {
        let (name, argument, by) = (name.to_owned(), argument.to_owned(), by.to_owned());
        What::Command(Command { order: 7, name, side, argument, confirmed, by, rights: Vec::new() })
    })
}

fn what() -> impl Strategy<Value = What> {
    let verdict = prop::sample::select(vec![Verdict::Good, Verdict::Wrong, Verdict::Silent, Verdict::Refused]);
    let stage = prop::sample::select(vec![Stage::Begun, Stage::Completed, Stage::RolledBack, Stage::NoActive]);
    let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed]);
    prop_oneof![
        1 => (option::of(side()), 0_u64..2).prop_map(|(active, epoch)| {
            What::Start(Start { active, epoch: Epoch(epoch), restored: true, since_handover: None })
        }),
        8 => (side(), verdict, 0_u32..4).prop_map(|(side, verdict, server)| What::Probe(ProbeResult {
            probe: ProbeId(server),
            side,
            verdict,
            latency: Duration::from_millis(5),
            status: 0,
            detail: String::new(),
            server,
            facts: Vec::new(),
        })),
        6 => report(),
        4 => (side(), any::<bool>()).prop_map(|(side, up)| {
            What::Link(Link { side, connection: Connection::Main, up })
        }),
        3 => Just(What::Timer(TimerId(1))),
        1 => (side(), any::<bool>()).prop_map(|(to, confirmed)| {
            What::Order(Order { order: 1, to, confirmed, by: "anna".to_owned(), rights: Vec::new() })
        }),
        8 => command(),
        3 => (1_u64..4, side(), stage, option::of(side())).prop_map(|(epoch, to, stage, active)| {
            What::Handover(Handover { epoch: Epoch(epoch), to, stage, active })
        }),
        4 => (1_u64..60, outcome).prop_map(|(action, outcome)| {
            What::Result(ActionResult { action, outcome, why: "so".to_owned() })
        }),
        1 => (side(), 0_u32..3).prop_map(|(side, good)| What::Traffic(Traffic {
            side, window: Duration::from_secs(1), good, server_errors: 0, refused: 0, resets: 0, timeouts: 0, slow: 0,
        })),
        1 => (0_u64..60, any::<bool>()).prop_map(|(share, ended)| {
            What::Sessions(Sessions { share, ended, on: Both { a: 60, b: 60 }, ..Sessions::default() })
        }),
        1 => prop::sample::select(vec!["Site_A", "Site_B", "Rome"]).prop_map(|site| {
            let parameters = serde_json::json!({ "sites": "both", "site": { "application": site } });
            let parameters = parameters.as_object().cloned().expect("it is a table");
            let setup = serde_json::to_string(&Setup { parameters, ..setup() }).expect("it is plain data");
            What::Config(ConfigChange { change: 1, setup })
        }),
    ]
}

/// Events at growing times; the first is a start.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let pause = prop_oneof![Just(0_u64), 1_u64..500, 1_000_u64..10_000];
    let first = (option::of(side()), 0_u64..2).prop_map(|(active, epoch)| {
        What::Start(Start { active, epoch: Epoch(epoch), restored: false, since_handover: None })
    });
    (first, prop::collection::vec((pause, what()), 0..80)).prop_map(|(first, rest)| {
        let mut at = 0;
        let rest = rest.into_iter().map(|(pause, what)| {
            at += pause;
            (at, what)
        });
        let all: Vec<_> = std::iter::once((0, first)).chain(rest).collect();
        let numbered = all.into_iter().enumerate();
        numbered.map(|(index, (at, what))| Event { seq: index as u64 + 1, at: At::from_millis(at), what }).collect()
    })
}

/// An instance, and how many actions it has given.
struct Player {
    policy: Eservices,
    given: u64,
}

impl Player {
    fn new(policy: Eservices) -> Player {
        Player { policy, given: 0 }
    }

    fn step(&mut self, event: &Event) -> Vec<Action> {
        let mut out = Actions::after(self.given);
        self.policy.step(event, &mut out);
        self.given = out.given();
        out.into_vec()
    }
}

/// A fresh instance with the parameters that are in force after some events: an edge restores with those.
fn configured(fresh: Eservices, events: &[Event]) -> Eservices {
    let changes = events.iter().filter_map(|event| match &event.what {
        What::Config(change) => Some(&change.setup),
        _ => None,
    });
    let mut made = changes.filter_map(|setup| {
        let setup: Setup = serde_json::from_str(setup).ok()?;
        let config = serde_json::from_value(serde_json::Value::Object(setup.parameters.clone())).ok()?;
        Eservices::create(&setup, config, 0).ok()
    });
    made.next_back().unwrap_or(fresh)
}

/// Whether an event is an operator's own word.
fn is_told(what: &What) -> bool {
    matches!(what, What::Order(_) | What::Command(_))
}

proptest! {
    #[test]
    fn the_same_events_give_the_same_actions_also_after_a_cut(
        events in events(), both in any::<bool>(), fast in any::<bool>(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut two) = (Player::new(eservices(both, fast)), Player::new(eservices(both, fast)));
        let cut = cut.index(events.len());
        for (index, event) in events.iter().enumerate() {
            if index == cut {
                let saved = serde_json::to_string(&two.policy).expect("it is plain data");
                let before = serde_json::from_str(&saved).expect("it is its own snapshot");
                two.policy = configured(eservices(both, fast), &events[..cut]).resume(before);
            }
            prop_assert_eq!(one.step(event), two.step(event));
        }
    }

    /// A timer that is due at once, again and again, would spin the edge.
    #[test]
    fn a_timer_is_always_in_the_future(events in events(), both in any::<bool>(), fast in any::<bool>()) {
        let mut player = Player::new(eservices(both, fast));
        for event in &events {
            for action in player.step(event) {
                if let Action::SetTimer(_, due) = action {
                    prop_assert!(due > event.at, "{due} at {}", event.at);
                }
            }
        }
    }

    #[test]
    fn a_step_asks_for_one_switch_and_not_before_the_last_one_has_ended(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(eservices(false, fast));
        let mut waiting: Option<u64> = None;
        for event in &events {
            match &event.what {
                What::Start(_) => waiting = None,
                What::Result(result) if waiting == Some(result.action) => waiting = None,
                _ => {}
            }
            let before = player.given;
            for (index, action) in player.step(event).iter().enumerate() {
                if matches!(action, Action::Switch(_)) {
                    prop_assert!(waiting.is_none(), "two switches at once, at event {}", event.seq);
                    waiting = Some(before + index as u64 + 1);
                }
            }
        }
    }

    /// E3: with nothing told and nothing armed, the role goes to no other site than the one that has it.
    #[test]
    fn no_failure_moves_a_site(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(eservices(false, fast));
        let mut active = None;
        for event in events.iter().filter(|event| !is_told(&event.what)) {
            match &event.what {
                What::Config(_) => continue,
                What::Start(start) => active = start.active,
                What::Handover(handover) if handover.stage != Stage::Begun => active = handover.active,
                _ => {}
            }
            for action in player.step(event) {
                match action {
                    Action::Switch(switch) => prop_assert!(active.is_none_or(|active| active == switch.to)),
                    Action::StandDown(_) | Action::RunHook(_) | Action::Share(_) => prop_assert!(false, "{action:?}"),
                    _ => {}
                }
            }
        }
    }

    /// A switch leads to a side whose agent is there, and says that it is fit or active.
    #[test]
    fn a_switch_leads_to_a_side_that_could_take_over(events in events(), fast in any::<bool>()) {
        let mut player = Player::new(eservices(false, fast));
        let mut linked = Both { a: false, b: false };
        let mut able = Both { a: false, b: false };
        for event in &events {
            match &event.what {
                What::Start(_) => (linked, able) = Default::default(),
                What::Link(link) => {
                    linked[link.side] = link.up;
                    able[link.side] &= link.up;
                }
                What::Agent(report) => able[report.side] = report.fit || report.role == Role::Active,
                _ => {}
            }
            for action in player.step(event) {
                if let Action::Switch(switch) = action {
                    prop_assert!(linked[switch.to] && able[switch.to], "at event {}", event.seq);
                }
            }
        }
    }

    /// Where both sites serve nothing is exclusive, and nothing is switched; where not, nothing is shared.
    #[test]
    fn sharing_and_switching_do_not_mix(events in events(), both in any::<bool>()) {
        let mut player = Player::new(eservices(both, true));
        for event in events.iter().filter(|event| !matches!(event.what, What::Config(_))) {
            for action in player.step(event) {
                let wrong = match action {
                    Action::Switch(_) | Action::StandDown(_) => both,
                    Action::Share(_) => !both,
                    _ => false,
                };
                prop_assert!(!wrong, "at event {}", event.seq);
            }
        }
    }

    /// E5: a gate is opened in the name of a person.
    #[test]
    fn a_gate_is_opened_by_somebody(events in events(), both in any::<bool>()) {
        let mut player = Player::new(eservices(both, true));
        for event in &events {
            for action in player.step(event) {
                if let Action::ConfirmGate(gate) = action {
                    prop_assert!(!gate.by.is_empty());
                }
            }
        }
    }

    /// Each order and command has one answer: a text, or a switch or a share that names it.
    #[test]
    fn every_order_and_command_is_answered_once(events in events(), both in any::<bool>()) {
        let mut player = Player::new(eservices(both, true));
        for event in &events {
            let number = match &event.what {
                What::Order(order) => order.order,
                What::Command(command) => command.order,
                _ => 0,
            };
            let answers = player.step(event).into_iter().filter(|action| match action {
                Action::RefuseOrder(answer) | Action::AskConfirmation(answer) | Action::AcceptOrder(answer) => {
                    answer.order == number
                }
                Action::Switch(switch) => switch.order == number && number != 0,
                Action::Share(share) => share.order == number && number != 0,
                _ => false,
            });
            prop_assert_eq!(answers.count(), usize::from(number != 0), "at event {}", event.seq);
        }
    }
}
