//! The policy of Genesys eServices: sites, and N+1 pools of proxies at each (Workspace Desktop Edition Deployment Guide,
//! eServices Business Continuity with UCS 8.5).
//!
//! Pure: no clock, socket, file, thread or randomness. A side is a *site*; its servers stand in pools. Each step takes in
//! one event, then looks at the whole picture again.
//!
//! | rule | file |
//! |---|---|
//! | E1 pools, E4 passive sites | `pools.rs`, `show.rs` |
//! | E2 which site, E3 moving sessions, E7 load | `sites.rs` |
//! | E3 moving the active role | `moves.rs` |
//! | E3 armed rules | `arm.rs` |
//! | E5 the site switch runbook, E6 the store | `runbook.rs`, `steps.rs` |
//! | what operators say | `commands.rs` |
//! | lints | `lint.rs` |
//!
//! The texts of the rules, as `explain` prints them, are in `rules.rs`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod arm;
mod change;
mod commands;
mod config;
mod lint;
mod moves;
mod pools;
mod rules;
mod runbook;
mod settings;
mod show;
mod sites;
mod steps;

pub use config::{Config, Site, SiteAttribute, Sites, Steps};

use lockstep_policy::action::Action;
use lockstep_policy::event::{Event, Start, TimerId, What};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::{At, CommandInfo, Epoch, Lint, Rule, Setup, Side, Sides, Traits};
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::time::Duration;

lockstep_policy::export_policy!(Eservices);

/// The one timer: the earliest time at which a rule's condition may come to hold by itself.
const WAKE: TimerId = TimerId(1);

/// One pair of eServices sites, as this policy sees it. Serialized, it is the policy's snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eservices {
    settings: Settings,
    /// How the sites run from the edge's next start on, if otherwise.
    next_both: Option<bool>,
    /// When the first event came; `None` before it.
    started: Option<At>,
    active: Option<Side>,
    epoch: Epoch,
    /// Since when the active side, or none, is what it is.
    since: At,
    sites: Sides<pools::Site>,
    sharing: sites::Sharing,
    moves: moves::Moves,
    armed: arm::Armed,
    runbook: Option<runbook::Runbook>,
    /// Operators were told that no site is active.
    told_of_none: bool,
    /// Operators were told that a passive site listens.
    told_of_listeners: Sides<bool>,
    shown: Sides<String>,
    wake: Option<At>,
}

impl Policy for Eservices {
    type Config = Config;
    const ID: &'static str = "eservices";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: u32 = 1;

    fn rules() -> &'static [Rule] {
        rules::RULES
    }

    fn commands() -> &'static [CommandInfo] {
        commands::COMMANDS
    }

    fn create(setup: &Setup, config: Config, _seed: u64) -> Result<Eservices, String> {
        let settings = Settings::new(setup, &config)?;
        let sites = Sides::from_fn(|side| pools::Site::new(settings.servers[side].len()));
        Ok(Eservices {
            settings,
            next_both: None,
            started: None,
            active: None,
            epoch: Epoch::default(),
            since: At::ZERO,
            sites,
            sharing: sites::Sharing::default(),
            moves: moves::Moves::default(),
            armed: arm::Armed::default(),
            runbook: None,
            told_of_none: false,
            told_of_listeners: Sides::default(),
            shown: Sides::default(),
            wake: None,
        })
    }

    fn step(&mut self, event: &Event, out: &mut Actions) {
        self.observe(event, out);
        if self.started.is_some() {
            self.decide(event.at, out);
            self.show(out);
            self.arm_timer(event.at, out);
        }
    }

    /// Today's parameters with the pair's state of before: also what operators have armed, moved and confirmed.
    fn resume(self, before: Eservices) -> Eservices {
        self.with_state_of(before)
    }

    fn explain(setup: &Setup, config: &Config) -> String {
        rules::explain(setup, config)
    }

    fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
        lint::lint(setup, config)
    }

    /// With a core that may run once the active role moves by lease and handover; where both sites serve, sessions do.
    fn traits(_: &Setup, config: &Config) -> Traits {
        Traits { exclusive: config.sites == Sites::ActivePassive }
    }

    /// E1's: a client that has lost its proxy is back at another one. A site is moved by people.
    fn expected_delay(setup: &Setup, config: &Config) -> Duration {
        Settings::new(setup, config).map_or(Duration::ZERO, |settings| rules::expected_delay(&settings, config))
    }
}

impl Eservices {
    fn observe(&mut self, event: &Event, out: &mut Actions) {
        let (seq, at) = (event.seq, event.at);
        match &event.what {
            What::Start(start) => self.on_start(*start, at, out),
            What::Probe(result) => self.on_probe(result, seq, at, out),
            What::Agent(report) => self.sites[report.side].on_report(report, seq, at),
            What::Link(link) => self.sites[link.side].on_link(*link),
            What::Traffic(traffic) => self.on_traffic(traffic),
            What::Timer(_) => self.wake = None,
            What::Order(order) => self.on_order(order, seq, at, out),
            What::Command(command) => self.on_command(command, seq, at, out),
            What::Handover(handover) => self.on_handover(handover, at, out),
            What::Sessions(sessions) => self.on_sessions(sessions, out),
            What::Config(change) => self.on_config(change, out),
            What::Result(result) => {
                self.on_switch_result(result, at, out);
                self.on_step_result(result, at, out);
                self.on_gate_result(result, out);
            }
        }
    }

    /// What is done without being told: at most one of these asks for a switch.
    fn decide(&mut self, at: At, out: &mut Actions) {
        self.give_up_waiting(at, out);
        self.fire_armed_rules(at, out);
        self.advance_runbook(at, out);
        self.keep_a_site_active(at, out);
        self.share_out(out);
        self.give_rosters(out);
        self.watch_over_pools(out);
        self.check_passive_sites(out);
    }

    /// What operators have armed, moved and confirmed stays; what was seen does not.
    fn on_start(&mut self, start: Start, at: At, out: &mut Actions) {
        self.active = start.active;
        self.epoch = start.epoch;
        self.forget_all(at);
        self.begin_step_anew();
        for side in Side::BOTH {
            self.watch_all(side, out);
        }
        self.share_first(out);
    }

    /// Sets the timer to the next time at which something may come to hold without an event.
    fn arm_timer(&mut self, now: At, out: &mut Actions) {
        let deadlines = self.moves.deadlines().into_iter().chain([self.armed_deadline(), self.runbook_deadline()]);
        let grace = self.grace_end().filter(|_| self.active.is_none() && !self.settings.both);
        let next = deadlines.chain([grace]).flatten().filter(|deadline| *deadline > now).min();
        if next == self.wake {
            return;
        }
        match next {
            Some(due) => out.push(Action::SetTimer(WAKE, due)),
            None => out.push(Action::CancelTimer(WAKE)),
        };
        self.wake = next;
    }
}
