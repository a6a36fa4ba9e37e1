//! The policy of Cisco Finesse (failover mechanisms, 12.5 and 12.6): publisher preference. Both sides may serve; what
//! moves are sessions. Side A is the publisher, side B the subscriber.
//!
//! Pure: no clock, socket, file, thread or randomness. Each step takes in one event, then looks at the whole picture
//! again; so a rule fires when its condition holds, whichever event made it hold last.
//!
//! | rule | file |
//! |---|---|
//! | F1 eligible, F2 out of service | `view.rs`; its third trigger: `presence.rs` |
//! | F3, F4 second look | `look.rs` |
//! | F5, F6, F10, F11 who serves | `service.rs` |
//! | F5 an operator's order | `manual.rs` |
//! | F7 CTI servers, asked themselves | `cti.rs` |
//! | F8 pace | `moves.rs` |
//! | F9 maintenance mode | `maintenance.rs` |
//!
//! What the edge was told, and taking it back when it did not do it: `stand.rs`. What is asked of the servers:
//! `probes.rs`. The texts of the rules, as `explain` prints them, are in `rules.rs`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod change;
mod config;
mod cti;
mod lint;
mod look;
mod maintenance;
mod manual;
mod moves;
mod presence;
mod probes;
mod rules;
mod service;
mod show;
mod stand;
mod start;
mod timing;
mod view;

pub use config::{Config, CtiServers, Distribute, Domains, Encryption, Notification, Profile, Transport};

use cti::CtiHosts;
use lockstep_policy::abi::kind;
use lockstep_policy::action::{Action, Watch};
use lockstep_policy::event::{Event, ProbeResult, TimerId, Traffic, What};
use lockstep_policy::sdk::{Actions, Policy};
use lockstep_policy::{At, CommandInfo, Lint, Rule, Setup, Sides, Traits};
use look::Look;
use serde::{Deserialize, Serialize};
use stand::{Asked, Stand};
use std::time::Duration;
use timing::Timing;
use view::View;

lockstep_policy::export_policy!(Finesse);

/// The one timer: the earliest time at which a rule's condition may come to hold by itself.
const WAKE: TimerId = TimerId(1);

/// One pair of Finesse servers, as this policy sees it. Serialized, it is the policy's snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finesse {
    timing: Timing,
    watches: Vec<Watch>,

    /// When the first event came; `None` before it.
    started: Option<At>,
    sides: Sides<View>,
    cti: Sides<CtiHosts>,
    stand: Stand,
    look: Option<Look>,
    asked: Option<Asked>,
    /// Nothing is asked of the edge anew before this.
    not_before: At,
    /// Operators were told that the edge does not share sessions out as asked.
    told_refused: bool,
    /// What the edge has in force is not known.
    unsure: bool,
    /// The number of the share for which it has counted sessions last.
    counted_for: u64,
    /// When requests that failed last had a side looked at.
    hinted: Sides<Option<At>>,
    shown: Sides<String>,
    armed: Option<At>,
}

impl Policy for Finesse {
    type Config = Config;
    const ID: &'static str = "finesse";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: u32 = 1;
    const NEEDS: u64 = kind::bits(&[kind::WATCH_XMPP, kind::SHARE, kind::SESSIONS]);

    fn rules() -> &'static [Rule] {
        rules::RULES
    }

    fn create(setup: &Setup, config: Config, _seed: u64) -> Result<Finesse, String> {
        let timing = Timing::new(setup, &config);
        let watches = probes::declared(setup, &config, &timing)?;
        Ok(Finesse {
            timing,
            watches,
            started: None,
            sides: Sides::default(),
            cti: Sides::default(),
            stand: Stand::default(),
            look: None,
            asked: None,
            not_before: At::ZERO,
            told_refused: false,
            unsure: false,
            counted_for: 0,
            hinted: Sides::default(),
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
    fn resume(self, before: Finesse) -> Finesse {
        Finesse { timing: self.timing, watches: self.watches, ..before }
    }

    fn explain(setup: &Setup, config: &Config) -> String {
        rules::explain(setup, config)
    }

    fn commands() -> &'static [CommandInfo] {
        maintenance::COMMANDS
    }

    fn traits(_: &Setup, _: &Config) -> Traits {
        Traits { exclusive: false }
    }

    fn lint(setup: &Setup, config: &Config) -> Vec<Lint> {
        lint::lint(setup, config)
    }

    fn expected_delay(setup: &Setup, config: &Config) -> Duration {
        timing::expected_delay(&Timing::new(setup, config))
    }
}

impl Finesse {
    fn observe(&mut self, event: &Event, out: &mut Actions) {
        let (seq, at) = (event.seq, event.at);
        match &event.what {
            What::Start(start) => self.on_start(*start, at, out),
            What::Probe(result) => self.on_probe(result, seq, at, out),
            What::Traffic(traffic) => self.on_traffic(traffic, at, out),
            What::Timer(_) => self.armed = None,
            What::Order(order) => self.on_order(order, seq, at, out),
            What::Command(command) => self.on_command(command, seq, at, out),
            What::Sessions(sessions) => self.on_sessions(sessions, at, out),
            What::Config(change) => self.on_config(change, out),
            What::Result(result) => self.on_share_result(result, at, out),
            // Both sides may serve: no agent is needed, and no role moves.
            What::Agent(_) | What::Link(_) | What::Handover(_) => {}
        }
    }

    /// The rules that act by themselves. At most one of them shares sessions out anew in a step.
    fn decide(&mut self, at: At, out: &mut Actions) {
        let rules = [
            Finesse::conclude_look,
            Finesse::watch_over_maintenance,
            Finesse::watch_over_move,
            Finesse::leave_when_free,
            Finesse::take_up_when_free,
            Finesse::make_sure,
        ];
        for rule in rules {
            if out.as_slice().iter().any(|action| matches!(action, Action::Share(_))) {
                return;
            }
            rule(self, at, out);
        }
    }

    fn leave_when_free(&mut self, at: At, out: &mut Actions) {
        if self.look.is_none() && at >= self.not_before {
            self.leave(at, out);
        }
    }

    fn take_up_when_free(&mut self, at: At, out: &mut Actions) {
        if self.look.is_none() && at >= self.not_before {
            self.take_up(at, out);
        }
    }

    fn on_probe(&mut self, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let view = &mut self.sides[result.side];
        if result.probe == probes::system_info(result.side) {
            view.on_poll(result, seq, at);
        } else if result.probe == probes::notification(result.side) {
            view.on_attempt(result, seq, at);
        } else if result.probe == probes::presence(result.side) {
            self.on_presence(result, seq, at, out);
        } else {
            self.on_heartbeat(result, out);
        }
    }

    /// Requests that fail prove nothing of a side. But it is asked at once, rather than at the next poll.
    fn on_traffic(&mut self, traffic: &Traffic, at: At, out: &mut Actions) {
        let Traffic { side, server_errors, refused, resets, timeouts, .. } = *traffic;
        let pause = self.timing.look();
        let lately = self.hinted[side].is_some_and(|hinted| at.since(hinted) < pause);
        let failed = server_errors > 0 || refused > 0 || resets > 0 || timeouts > 0;
        let doubt = self.stand.takes[side] && self.sides[side].out(&self.timing).is_none() && self.look.is_none();
        if failed && doubt && !lately && !self.timing.ippa() {
            self.hinted[side] = Some(at);
            out.push(Action::ProbeNow(probes::system_info(side)));
            out.push(Action::ProbeNow(probes::notification(side)));
        }
    }

    /// Sets the timer to the next time at which something may come to hold without an event.
    fn arm(&mut self, now: At, out: &mut Actions) {
        let deadlines = [
            self.look.as_ref().map(|look| look.until),
            self.stand.moving.as_ref().and_then(|moving| moving.until()),
            self.maintenance_deadline(),
            self.start_deadline(),
            Some(self.not_before),
        ];
        // Those that have passed were looked at in this very step.
        let next = deadlines.into_iter().flatten().filter(|deadline| *deadline > now).min();
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
