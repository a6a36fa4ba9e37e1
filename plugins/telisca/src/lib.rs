//! The policy of telisca's hot standby (Administrators Guide 7.x): when the active role of a pair moves.
//!
//! Pure: no clock, socket, file, thread or randomness. Each step takes in one event, then looks at the whole picture
//! again; so a rule fires when its condition holds, whichever event made it hold last.
//!
//! | rule | file |
//! |---|---|
//! | T1 failover | `failover.rs`; what `fast` doubts: `doubt.rs` |
//! | T2 rollback | `rollback.rs` |
//! | T3 two active sides | `dual.rs` |
//! | T4 a side off the LAN | `isolated.rs` |
//! | T5 watchdog of the CTI service, and its daily restart | `watchdog.rs`, `daily.rs` |
//! | T6 start-up, and every time that no side is active | `startup.rs` |
//! | T7 the server that the VIP reaches | `vip.rs` |
//! | T8 an operator's order | `manual.rs` |
//! | T9 lint | `lint.rs` |
//! | T10 expected delay | `timing.rs` |
//! | T11 answers to a balancer | `monitor.rs` |
//!
//! The texts of the rules, as `explain` prints them, are in `rules.rs`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod attempt;
mod change;
mod config;
mod daily;
mod doubt;
mod dual;
mod failover;
mod isolated;
mod lint;
mod manual;
mod monitor;
mod rollback;
mod rules;
mod show;
mod startup;
mod timing;
mod view;
mod vip;
mod watchdog;

pub use config::{Balancer, Config, CtiStartup};

use daily::{ALARM, Daily};
use doubt::Loss;
use dual::Dual;
use failover::Suspicion;
use lockstep_policy::action::{Action, HttpProbe, ProbeKind, Watch};
use lockstep_policy::event::{AgentReport, Event, Handover, ProbeId, Role, Stage, Start, TimerId, What};
use lockstep_policy::sdk::attempts::Attempts;
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::{At, Epoch, Lint, Rule, Setup, Side, Sides};
use monitor::MonitorPage;
use rollback::Rollbacks;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use timing::Timing;
use view::View;
use vip::{VIP_PROBE, Vip, VipTest};
use watchdog::Watchdog;

lockstep_policy::export_policy!(Telisca);

/// The one timer: the earliest time at which a rule's condition may come to hold by itself.
const WAKE: TimerId = TimerId(1);

/// One pair of telisca servers, as this policy sees it. Serialized, it is the policy's snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telisca {
    timing: Timing,
    monitor: HttpProbe,
    /// T2 is on.
    rolls_back: bool,
    /// T7 is on.
    #[serde(default)]
    vip_test: Option<VipTest>,
    #[serde(default)]
    page: MonitorPage,
    /// Minutes after midnight.
    #[serde(default)]
    restart_at: Option<u16>,

    /// When the first event came; `None` before it.
    started: Option<At>,
    active: Option<Side>,
    epoch: Epoch,
    /// Since when the active side, or none, is what it is.
    since: At,
    /// The active side's agent has said, since then, that it holds the role.
    confirmed: bool,
    sides: Sides<View>,
    attempts: Attempts,
    suspicion: Suspicion,
    rollbacks: Rollbacks,
    dual: Dual,
    watchdog: Watchdog,
    #[serde(default)]
    vip: Vip,
    #[serde(default)]
    daily: Daily,
    /// When the edge was last seen to be late itself: a timer of the policy's, or the end of a probe's time.
    #[serde(default)]
    late: Option<At>,
    #[serde(default)]
    loss: Sides<Loss>,
    /// Operators were told that no side can become active.
    told_of_none: bool,
    shown: Sides<String>,
    armed: Option<At>,
}

impl Policy for Telisca {
    type Config = Config;
    const ID: &'static str = "telisca";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: u32 = 1;

    fn rules() -> &'static [Rule] {
        rules::RULES
    }

    fn create(setup: &Setup, config: Config, _seed: u64) -> Result<Telisca, String> {
        let vip_test = VipTest::new(setup, &config)?;
        let restart_at = config.restart_minute()?;
        let page = MonitorPage::new(&config)?;
        let (query, body) = if config.switch_on_application_error { ("IPSWS", "IPSWS=OK") } else { ("NONE", "") };
        Ok(Telisca {
            timing: Timing::new(setup, &config),
            monitor: HttpProbe {
                port: 0,
                path: format!("{}?mod={query}", config.monitor_path),
                host: String::new(),
                status: 200,
                body: body.to_owned(),
                ..HttpProbe::default()
            },
            rolls_back: config.first_server_auto_restart_as_active,
            vip_test,
            page,
            restart_at,
            started: None,
            active: None,
            epoch: Epoch::default(),
            since: At::ZERO,
            confirmed: false,
            sides: Sides::from_fn(|side| View::new(setup.sides[side].agent)),
            attempts: Attempts::default(),
            suspicion: Suspicion::default(),
            rollbacks: Rollbacks::default(),
            dual: Dual::default(),
            watchdog: Watchdog::default(),
            vip: Vip::default(),
            daily: Daily::default(),
            late: None,
            loss: Sides::default(),
            told_of_none: false,
            shown: Sides::default(),
            armed: None,
        })
    }

    fn step(&mut self, event: &Event, out: &mut Actions) {
        self.observe(event, out);
        if self.started.is_some() {
            self.decide(event.at, out);
            self.show(out);
            self.arm(event.at, out);
        }
    }

    /// Today's parameters with the pair's state of before.
    fn resume(self, before: Telisca) -> Telisca {
        self.with_state_of(before)
    }

    fn explain(setup: &Setup, config: &Config) -> String {
        rules::explain(setup, config)
    }

    fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
        lint::lint(setup, config)
    }

    fn expected_delay(setup: &Setup, config: &Config) -> Duration {
        timing::expected_delay(&Timing::new(setup, config), &config.cti_startup)
    }
}

impl Telisca {
    fn observe(&mut self, event: &Event, out: &mut Actions) {
        let (seq, at) = (event.seq, event.at);
        self.notice_late_timer(at);
        match &event.what {
            What::Start(start) => self.on_start(*start, at, out),
            What::Probe(result) if result.probe == VIP_PROBE => self.on_vip(result, seq),
            What::Probe(result) => {
                self.notice_lateness(result, at);
                if let Some(silences) = self.sides[result.side].on_probe(result, seq, at) {
                    self.loss[result.side].answered_after(silences);
                }
            }
            What::Agent(report) => self.on_report(report, seq, at, out),
            What::Link(link) => self.sides[link.side].on_link(*link, seq, at),
            // Requests fail for reasons of their own; this vendor's rules do not look at them.
            What::Traffic(_) | What::Command(_) | What::Sessions(_) => {}
            What::Config(change) => self.on_config(change, out),
            What::Timer(ALARM) => self.on_alarm(at, out),
            What::Timer(_) => self.armed = None,
            What::Order(order) => self.on_order(order, seq, at, out),
            What::Handover(handover) => self.on_handover(handover, at),
            What::Result(result) => {
                self.on_switch_result(result, at, out);
                self.on_stand_down_result(result, at);
                self.on_restart_result(result, at, out);
                self.on_daily_result(result, out);
            }
        }
    }

    /// The rules that act by themselves. At most one of them asks for a switch.
    fn decide(&mut self, at: At, out: &mut Actions) {
        self.give_up_waiting(at, out);
        self.end_two_active_sides(at, out);
        self.keep_services_running(at, out);
        self.restart_daily(at, out);
        match self.active {
            None => self.find_an_active_side(at, out),
            Some(active) => {
                self.fail_over(active, at, out);
                self.follow_vip(active, at, out);
                self.roll_back(active, at, out);
            }
        }
    }

    /// All that was seen is forgotten, but not what the policy counts of its own acts: what is unknown is unknown, never up.
    fn on_start(&mut self, start: Start, at: At, out: &mut Actions) {
        self.started = Some(at);
        self.active = start.active;
        self.epoch = start.epoch;
        self.since = at;
        self.confirmed = start.active.is_some();
        self.sides = Sides::from_fn(|side| View::new(self.sides[side].agent));
        self.attempts = Attempts::default();
        self.suspicion = Suspicion::default();
        self.dual = Dual::default();
        self.vip = Vip::default();
        self.daily = Daily::default();
        if let Some(ago) = start.since_handover {
            self.daily.started(at, ago);
        }
        self.late = None;
        self.told_of_none = false;
        self.shown = Sides::default();
        self.armed = None;
        self.watch_sides(out);
        self.watch_vip(out);
        self.page.declare(out);
        self.set_alarm(out);
    }

    fn watch_sides(&self, out: &mut Actions) {
        for side in Side::BOTH {
            out.push(Action::Watch(Watch {
                probe: ProbeId(if side == Side::A { 1 } else { 2 }),
                side,
                server: 0,
                kind: ProbeKind::Http(self.monitor.clone()),
                interval: self.timing.interval,
                timeout: self.timing.timeout,
            }));
        }
    }

    fn on_report(&mut self, report: &AgentReport, seq: u64, at: At, out: &mut Actions) {
        let isolated = self.sides[report.side].isolated();
        self.sides[report.side].on_report(report, seq, at);
        self.on_lan(report.side, isolated, out);
        if self.active == Some(report.side) && report.role == Role::Active && report.epoch >= self.epoch {
            self.confirmed = true;
        }
    }

    fn on_handover(&mut self, handover: &Handover, at: At) {
        self.epoch = handover.epoch;
        if handover.stage == Stage::Begun {
            self.attempts.begun(at);
            return;
        }
        self.attempts.ended(handover.stage == Stage::Completed);
        if handover.stage == Stage::Completed {
            self.daily.started(at, Duration::ZERO);
        }
        if handover.stage == Stage::Completed || handover.active != self.active {
            self.becomes_active(handover.active, at);
        } else {
            self.since = at;
        }
        let says_active = |side: Side| {
            let report = self.sides[side].word();
            report.is_some_and(|report| report.role == Role::Active && report.epoch >= handover.epoch)
        };
        self.confirmed = handover.active.is_some_and(says_active);
        if handover.stage == Stage::NoActive {
            self.attempts.pause_after_failure(self.timing.first_retry, at);
        }
    }

    fn becomes_active(&mut self, side: Option<Side>, at: At) {
        self.active = side;
        self.since = at;
        self.confirmed = false;
        for side in Side::BOTH {
            self.sides[side].reset_counts();
        }
        self.suspicion = Suspicion::default();
        self.dual = Dual::default();
        self.watchdog.another_side();
        self.daily.another_side();
        self.vip.reset();
        self.told_of_none = false;
    }

    /// Sets the timer to the next time at which something may come to hold without an event.
    fn arm(&mut self, now: At, out: &mut Actions) {
        let deadlines = self.attempts.deadlines().into_iter().chain(self.failover_deadlines());
        let deadlines = deadlines.chain([
            self.rollback_deadline(),
            self.dual.deadline(),
            self.startup_deadline(),
            self.watchdog.deadline(),
            self.daily.deadline(),
        ]);
        // Those that have passed were looked at in this very step.
        let next = deadlines.flatten().filter(|deadline| *deadline > now).min();
        if next == self.armed {
            return;
        }
        match next {
            Some(due) => out.push(Action::SetTimer(WAKE, due)),
            None => out.push(Action::CancelTimer(WAKE)),
        };
        self.armed = next;
    }
}
