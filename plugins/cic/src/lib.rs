//! The policy of PureConnect CIC's automated switchover (technical reference, 2021 R2): when the active role of a pair
//! moves, as the vendor's backup server decides it. The backup's eyes are the edge's.
//!
//! Pure: no clock, socket, file, thread or randomness. Each step takes in one event, then looks at the whole picture
//! again; what is due later is data, and one timer wakes the policy for the earliest of it.
//!
//! | rule | file |
//! |---|---|
//! | C1 states | `show.rs` |
//! | C2 module ping, C3 restarts | `module.rs` |
//! | C4 notifier ping | `notifier.rs`; the silent module monitor `module.rs` |
//! | C5 diagnosis | `checks.rs`; what is asked, of whom: `probes.rs` |
//! | C6 bad network, C8 notifier down, C9 unreachable | `reconnect.rs` |
//! | C7 module down | what a diagnosis leads to: `monitor.rs`; the switch: `leave.rs` |
//! | C10 stale sides, C11 releases | `backup.rs` |
//! | C12 an operator's order, commands | `manual.rs` |
//! | C13 changed parameters | `change.rs` |
//! | C14 start-up | `startup.rs`; a lost role `leave.rs` |
//! | C15 two active sides | `dual.rs` |
//! | C16 drills | `drill.rs` |
//!
//! The texts of the rules, as `explain` prints them, are in `rules.rs`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod attempt;
mod backup;
mod change;
mod checks;
mod config;
mod drill;
mod dual;
mod leave;
mod lint;
mod manual;
mod module;
mod monitor;
mod notifier;
mod probes;
mod reconnect;
mod rules;
mod show;
mod startup;
mod timing;
mod view;

pub use config::{Config, Mirror, Module};

use backup::Stale;
use drill::{ALARM, Drill};
use dual::Dual;
use lockstep_policy::abi::kind;
use lockstep_policy::action::Action;
use lockstep_policy::event::{
    AgentReport, Connection, Event, Handover, Link, ProbeResult, Role, Stage, Start, TimerId, Verdict, What,
};
use lockstep_policy::sdk::attempts::Attempts;
use lockstep_policy::sdk::{Actions, Period, Policy};
use lockstep_policy::setup::Detect;
use lockstep_policy::{At, CommandInfo, Epoch, Lint, Rule, Setup, Side, Sides};
use module::ModuleMonitor;
use monitor::{Monitor, Suspicion};
use notifier::NotifierMonitor;
use probes::{Ask, Declared};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use timing::{Delays, Timing};
use view::View;

lockstep_policy::export_policy!(Cic);

/// The one timer: the earliest time at which something is due by itself.
const WAKE: TimerId = TimerId(1);

/// One CIC pair, as this policy sees it. Serialized, it is the policy's snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cic {
    /// The parameters in force.
    config: Config,
    detect: Detect,
    timing: Timing,
    /// Those that wait for the next start of monitoring.
    pending: Option<Config>,
    detect_pending: Option<Detect>,

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

    monitor: Monitor,
    module: ModuleMonitor,
    notifier: NotifierMonitor,
    declared: Declared,
    /// The backup was told to warm up, on the present suspicion.
    prepared: bool,

    stale: Sides<Option<Stale>>,
    /// Why the switch that is under way was decided.
    decided: Option<Suspicion>,
    dual: Dual,
    drill: Drill,
    /// The hook that was asked for last, and the action's number.
    hook: Option<(u64, String)>,
    told: Told,
    shown: Sides<String>,
    armed: Option<At>,
}

/// What operators were told, so that they are told once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Told {
    /// No side can become primary.
    nobody: bool,
    /// No backup is in place.
    no_backup: bool,
    /// The backup's release is newer, or older.
    upgrade: Option<bool>,
    /// The notifier answers on the auxiliary connection only.
    aux: bool,
    /// The module monitor says nothing.
    silent: bool,
    /// A switch waits.
    waiting: bool,
    replication: bool,
    replication_since: Option<At>,
}

impl Policy for Cic {
    type Config = Config;
    const ID: &'static str = "cic";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: u32 = 1;
    const NEEDS: u64 = kind::bits(&[kind::WATCH_AGENT, kind::WATCH_ICMP]);

    fn rules() -> &'static [Rule] {
        rules::RULES
    }

    fn create(setup: &Setup, config: Config, _seed: u64) -> Result<Cic, String> {
        config.check(setup)?;
        Ok(Cic {
            timing: Timing::new(&setup.detect, &config),
            config,
            detect: setup.detect,
            pending: None,
            detect_pending: None,
            started: None,
            active: None,
            epoch: Epoch::default(),
            since: At::ZERO,
            confirmed: false,
            sides: Sides::default(),
            attempts: Attempts::default(),
            monitor: Monitor::default(),
            module: ModuleMonitor::default(),
            notifier: NotifierMonitor::default(),
            declared: Declared::default(),
            prepared: false,
            stale: Sides::default(),
            decided: None,
            dual: Dual::default(),
            drill: Drill::default(),
            hook: None,
            told: Told::default(),
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

    /// The pair's state of before. Today's parameters, when that state knows them, are in force as far as they were then
    /// (C13); others take the place of those of before.
    fn resume(self, before: Cic) -> Cic {
        let latest = before.pending.as_ref().unwrap_or(&before.config);
        if self.config == *latest && self.detect == before.detect_pending.unwrap_or(before.detect) {
            return before;
        }
        let Cic { config, detect, timing, .. } = self;
        Cic { config, detect, timing, pending: None, detect_pending: None, ..before }
    }

    fn explain(setup: &Setup, config: &Config) -> String {
        rules::explain(setup, config)
    }

    fn commands() -> &'static [CommandInfo] {
        manual::COMMANDS
    }

    fn lint(_: &Setup, config: &Config) -> Vec<Lint> {
        lint::lint(config)
    }

    fn expected_delay(setup: &Setup, config: &Config) -> Duration {
        Delays::new(config, &Timing::new(&setup.detect, config)).worst()
    }
}

impl Cic {
    fn observe(&mut self, event: &Event, out: &mut Actions) {
        let (seq, at) = (event.seq, event.at);
        match &event.what {
            What::Start(start) => self.on_start(start, at, out),
            What::Probe(result) => self.on_probe(result, seq, at, out),
            What::Agent(report) => self.on_report(report, seq, at),
            What::Link(link) => self.on_link(*link, seq, at, out),
            // Requests fail for reasons of their own; this vendor's rules do not look at them.
            What::Traffic(_) | What::Sessions(_) => {}
            What::Timer(ALARM) => self.on_alarm(at, out),
            What::Timer(_) => self.armed = None,
            What::Order(order) => self.on_order(order, seq, at, out),
            What::Command(command) => self.on_command(command, at, out),
            What::Config(change) => self.on_config(change, at, out),
            What::Handover(handover) => self.on_handover(handover, at, out),
            What::Result(result) => {
                self.on_switch_result(result, at, out);
                self.on_stand_down_result(result, at, out);
                self.on_restart_result(result, at, out);
                self.on_hook_result(result, out);
            }
        }
    }

    /// The rules that act by themselves. At most one of them asks for a switch: each looks whether one is under way.
    fn decide(&mut self, at: At, out: &mut Actions) {
        self.give_up_waiting(at, out);
        self.end_two_active_sides(at, out);
        self.renew_stale_sides(at, out);
        if self.active.is_none() {
            self.find_a_primary(at, out);
        }
        self.see_a_lost_role(at, out);
        self.keep_monitoring(at, out);
        // What is found overdue may be followed by something that is due at once.
        self.advance_monitor(at, out);
        self.advance_monitor(at, out);
        self.watch_replication(at, out);
    }

    /// All that was seen is forgotten, but not what the policy has made of it itself: what is unknown is unknown, never up.
    fn on_start(&mut self, start: &Start, at: At, out: &mut Actions) {
        self.started = Some(at);
        self.active = start.active;
        self.epoch = start.epoch;
        self.since = at;
        self.confirmed = start.active.is_some();
        self.sides = Sides::default();
        self.attempts = Attempts::default();
        self.monitor = Monitor::Off;
        self.module.another_side();
        self.notifier = NotifierMonitor::default();
        self.declared.clear();
        self.prepared = false;
        self.decided = None;
        self.dual = Dual::default();
        self.hook = None;
        self.told = Told::default();
        self.shown = Sides::default();
        self.armed = None;
        for side in Side::BOTH {
            self.stale[side].iter_mut().for_each(|stale| stale.restarted(at));
        }
        self.start_drills(start, at, out);
    }

    fn on_probe(&mut self, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let Some(ask) = Ask::of(result.probe).filter(|ask| self.declared.contains(ask)) else { return };
        if self.monitor == Monitor::Watching {
            match ask {
                Ask::Module | Ask::ModuleAgain(_) => self.on_module(ask, result, seq, at, out),
                Ask::Notifier | Ask::NotifierAgain(_) => self.on_notifier(ask, result, seq, at, out),
                Ask::Primary | Ask::Own => {}
            }
        } else {
            self.on_check(ask, result, seq, out);
        }
    }

    fn on_report(&mut self, report: &AgentReport, seq: u64, at: At) {
        self.sides[report.side].on_report(report, seq, at);
        if self.active == Some(report.side) && report.role == Role::Active && report.epoch >= self.epoch {
            self.confirmed = true;
            self.told.nobody = false;
        }
    }

    fn on_link(&mut self, link: Link, seq: u64, at: At, out: &mut Actions) {
        let changed = self.sides[link.side].on_link(link, seq);
        if !changed || link.connection != Connection::Main || self.active != Some(link.side) {
            return;
        }
        if link.up {
            self.told.aux = false;
            self.on_connection_back(at);
        } else {
            self.on_connection_lost(seq, at, out);
        }
    }

    fn on_handover(&mut self, handover: &Handover, at: At, out: &mut Actions) {
        self.epoch = handover.epoch;
        self.on_drill_handover(handover, at, out);
        if handover.stage == Stage::Begun {
            self.attempts.begun(at);
            return;
        }
        self.attempts.ended(handover.stage == Stage::Completed);
        self.stop_monitoring(out);
        if handover.stage == Stage::Completed || handover.active != self.active {
            if let Some(old) = self.active.filter(|old| Some(*old) != handover.active) {
                self.goes_stale(old, at);
            }
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

    /// C10: the side has lost the role.
    fn goes_stale(&mut self, side: Side, at: At) {
        let services = self.sides[side].report.as_ref().map(|report| report.services.clone()).unwrap_or_default();
        self.stale[side] = Some(Stale::new(self.epoch, services, at));
    }

    fn becomes_active(&mut self, side: Option<Side>, at: At) {
        self.active = side;
        self.since = at;
        self.confirmed = false;
        self.decided = None;
        self.module.another_side();
        self.dual = Dual::default();
        self.told = Told::default();
    }

    /// Sets the timer to the next time at which something may come to hold without an event.
    fn arm(&mut self, now: At, out: &mut Actions) {
        let deadlines = self.attempts.deadlines().into_iter().chain(self.stale_deadlines());
        let deadlines = deadlines.chain([
            self.module_deadline(),
            self.notifier_deadline(),
            self.monitor.deadline(),
            self.startup_deadline(),
            self.dual.deadline(),
            self.replication_deadline(),
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

/// A probe's verdict, after `the last`.
fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "was answered",
        Verdict::Wrong => "was rejected",
        Verdict::Silent => "had no answer in time",
        Verdict::Refused => "could not be sent",
    }
}

/// A length of time for people: whole milliseconds.
fn rounded(time: Duration) -> Period {
    Period(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}
