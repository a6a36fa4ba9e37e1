//! What a seed makes of its world before anything happens: the policy, its parameters, the times, the kinds of faults.

use super::MS;
use super::faults::Kind;
use super::probes::nanos;
use lockstep_edge::proxy::{HoldSettings, ProxySettings};
use lockstep_pair::coordinator::{FenceHook, Fencing, Leftover, Settings};
use lockstep_pair::protocol::{Terms, ToNode};
use lockstep_policy::host::Library;
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{At, Setup, Sides};
use serde_json::json;
use std::time::Duration;

/// The vendors' policies of which one side is active at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    Telisca,
    Cic,
    Eservices,
}

impl Vendor {
    pub const ALL: [Vendor; 3] = [Vendor::Telisca, Vendor::Cic, Vendor::Eservices];

    pub fn name(self) -> &'static str {
        match self {
            Vendor::Telisca => "telisca",
            Vendor::Cic => "cic",
            Vendor::Eservices => "eservices",
        }
    }

    /// The name of its exclusive service.
    pub fn exclusive(self) -> &'static str {
        match self {
            Vendor::Telisca => "cti",
            Vendor::Cic => "tsserver",
            Vendor::Eservices => "core",
        }
    }

    /// Whether it may wait for a person when no side serves: eServices does by its rules, and CIC when its backup has failed.
    pub fn needs_people(self) -> bool {
        self != Vendor::Telisca
    }

    fn parameters(self, rng: &mut fastrand::Rng, minute: i64) -> serde_json::Value {
        match self {
            Vendor::Telisca => {
                let mut parameters = json!({
                    "fast": true,
                    "first_server_auto_restart_as_active": rng.bool(),
                    "switch_on_application_error": rng.bool(),
                });
                if rng.u32(0..3) == 0 {
                    let (hour, minute) = (minute / 60 % 24, minute % 60);
                    parameters["cti_restart_at"] = json!(format!("{hour:02}:{minute:02}"));
                }
                parameters
            }
            Vendor::Cic => json!({ "fast": true, "ping_on_aux_connection": rng.u32(0..4) == 0 }),
            Vendor::Eservices => json!({ "fast": true }),
        }
    }
}

/// What is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mutation {
    #[default]
    None,
    /// The edge forgets that services need time to stop, and that clocks drift.
    ShortLeases,
    /// Disks say that they have written, and have not.
    NothingStored,
    /// A node counts a lease from when it came, not from its own stamp.
    LeaseFromReceipt,
    /// The route is moved when the activation is ordered, not when it is done.
    EarlyRoute,
    /// An application that has lost its role goes on with what it was given before.
    ServingStandby,
    /// The waiting room forgets somebody when it is opened.
    DroppedHold,
    /// What is not idempotent is sent again.
    ResentPost,
    /// An isolated node goes on.
    UnboundIsolation,
}

impl Mutation {
    pub fn received(self, message: ToNode, now: At) -> ToNode {
        if self != Mutation::LeaseFromReceipt {
            return message;
        }
        match message {
            ToNode::Activate { epoch, mut lease } => {
                lease.stamp.at = now;
                ToNode::Activate { epoch, lease }
            }
            ToNode::Renew { epoch, mut lease } => {
                lease.stamp.at = now;
                ToNode::Renew { epoch, lease }
            }
            other => other,
        }
    }

    pub fn moves_route_early(self) -> bool {
        self == Mutation::EarlyRoute
    }

    pub fn leaves_application(self) -> bool {
        self == Mutation::ServingStandby
    }

    pub fn drops_held(self) -> bool {
        self == Mutation::DroppedHold
    }

    pub fn resends_posts(self) -> bool {
        self == Mutation::ResentPost
    }

    pub fn lets_isolated_go_on(self) -> bool {
        self == Mutation::UnboundIsolation
    }

    pub fn disks_lie(self) -> bool {
        self == Mutation::NothingStored
    }
}

/// What a seed has made.
pub struct Plan {
    pub seed: u64,
    pub policy: Vendor,
    pub library: Library,
    pub setup: Setup,
    pub terms: Terms,
    settings: Settings,
    hold: HoldSettings,
    pub mutation: Mutation,
    /// Faults happen until then.
    pub faults_end: u64,
    /// The kinds of faults that this world knows, and the longest pause between two, in milliseconds.
    pub faults: Vec<Kind>,
    pub pace: u64,
    /// The time of day when the world begins, in milliseconds since 1970.
    pub day: i64,
    pub clients: usize,
    /// Agents start again an exclusive service that has ended.
    pub restarts: bool,
}

impl Plan {
    pub fn new(seed: u64, policy: Vendor, library: Library, mutation: Mutation, rng: &mut fastrand::Rng) -> Plan {
        // At noon, so that a quarter of an hour is no other day.
        let day = 20_000 * 24 * 3_600_000 + 12 * 3_600_000 + rng.i64(0..600_000);
        let alarm = day / 60_000 % 1440 + 1;
        let (ttl, renew) = *rng.choice(&[(600, 200), (600, 200), (400, 100), (1_000, 300)]).expect("there are some");
        let ms = Duration::from_millis;
        let terms = Terms { ttl: ms(ttl), renew: ms(renew), stop_max: ms(rng.u64(150..400)) };
        let hook = (rng.u32(0..6) == 0).then(|| FenceHook { after: ms(rng.u64(0..300)), timeout: ms(1_000) });
        let settings = Settings {
            terms,
            drift_ppm: 10_000,
            margin: ms(20),
            prepare: ms(2_000),
            drain: ms(rng.u64(0..600)),
            leftover: if rng.bool() { Leftover::Cut } else { Leftover::Finish },
            fence: ms(1_000),
            activate: ms(3_000),
            activate_attempts: 2,
            settle: ms(1_000),
            recover: ms(1_000),
            fencing: Sides::from_fn(|_| Fencing { hook, ..Fencing::LEASE }),
        };
        let hold = HoldSettings {
            max_requests: rng.usize(1..12),
            max_wait: ms(rng.u64(300..4_000)),
            retry_after: Duration::from_secs(1),
            ..HoldSettings::default()
        };
        // Few kinds of faults at a time go deeper than all at once.
        let share = rng.u32(1..=100);
        let mut faults: Vec<Kind> = Kind::ALL.into_iter().filter(|_| rng.u32(0..100) < share).collect();
        faults.extend([Kind::Heal, Kind::Heal]);
        let parameters = policy.parameters(rng, alarm);
        let setup = Setup {
            pair: "simulated".into(),
            parameters: parameters.as_object().cloned().unwrap_or_default(),
            detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 2 },
            sides: Sides::from_fn(|side| SideSetup {
                servers: vec![format!("10.0.0.{}:80", side as u32 + 1)],
                pools: Vec::new(),
                agent: true,
            }),
        };
        Plan {
            seed,
            policy,
            library,
            setup,
            terms,
            settings,
            hold,
            mutation,
            faults_end: rng.u64(8_000..20_000) * MS,
            faults,
            pace: rng.u64(200..2_500),
            day,
            clients: rng.usize(2..5),
            restarts: rng.bool(),
        }
    }

    /// What the coordinator is made with.
    pub fn believed(&self) -> Settings {
        let mut settings = self.settings;
        if self.mutation == Mutation::ShortLeases {
            settings.terms.stop_max = Duration::ZERO;
            settings.drift_ppm = 0;
            settings.margin = Duration::ZERO;
        }
        settings
    }

    pub fn proxy(&self) -> ProxySettings {
        ProxySettings {
            hold: self.hold,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(2),
            ..ProxySettings::default()
        }
    }

    pub fn renew(&self) -> u64 {
        nanos(self.terms.renew)
    }

    /// Without a word for so long a connection is given up.
    pub fn silence(&self) -> u64 {
        nanos(self.terms.ttl.max(self.terms.renew * 3))
    }

    /// The longest that a handover may take, with its roll-back: the sum of its phases' deadlines (I5).
    pub fn longest_handover(&self) -> u64 {
        let Settings { prepare, drain, fence, activate, margin, .. } = self.settings;
        let lease = self.terms.ttl + self.terms.stop_max + margin * 2;
        let hook = self.settings.fencing.a.hook.map_or(Duration::ZERO, |hook| hook.after + hook.timeout);
        nanos((prepare + drain + lease + lease / 50 + hook + fence + activate) * 2) + 100 * MS
    }

    /// The longest that a node is active and knows that it is isolated: a lease, by a slow clock, and its late timer.
    pub fn known_isolated_max(&self) -> u64 {
        nanos(self.terms.ttl + self.terms.ttl / 50) + 10 * MS
    }

    /// The longest that a request may take: its hold, and its attempts, each with its time.
    pub fn longest_request(&self) -> u64 {
        let proxy = self.proxy();
        let attempts = (proxy.connect_timeout + proxy.read_timeout) * (proxy.resends + 3);
        nanos(proxy.hold.max_wait + attempts) + 2_000 * MS
    }
}
