//! The edge's host: the coordinator and what carries its outputs out. A thin shell: the driver's own is bound to channels
//! and tasks, and is proved end to end.

use super::clock::Clock;
use super::disk::Disk;
use super::links::EdgeSays;
use super::network::Place;
use super::{MS, What, World};
use lockstep_edge::rehearsal::{LastWord, Rehearsal};
use lockstep_pair::coordinator::{self, Coordinator, End, Input, Order, OrderId, Output, Ticket};
use lockstep_pair::protocol::{FromNode, ToNode};
use lockstep_pair::record::{HandoverRecord, Outcome, Phase};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::event::{self, ActionResult};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::collections::BTreeMap;

/// The edge.
pub struct Edge {
    pub clock: Clock,
    pub coordinator: Option<Coordinator>,
    /// Counts the edge's lives.
    pub life: u64,
    pub asleep: bool,
    pub deferred: Vec<What>,
    pub disk: Disk<coordinator::Stored>,
    timer: Option<u64>,
    pub proxy: Rehearsal,
    pub route: Route,
    pub serve_until: At,
    /// The handover under way: its epoch, since when, and how long the edge had slept by then.
    pub handover: Option<(u64, u64, u64)>,
    /// Operators were told something since it began.
    alerted: bool,
    /// How long it has slept in all its life.
    pub slept: u64,
    drains: Option<(Side, Epoch)>,
    pub last_words: Sides<LastWord>,
    /// Who waits for the end of an order.
    origins: BTreeMap<OrderId, Origin>,
    last_order: u64,
    restarts: BTreeMap<u64, (Side, u64, u64)>,
    last_restart: u64,
    /// The highest epoch that it has heard of from nodes.
    heard_of: u64,
}

/// Who gave an order: an action of a life of the policy, or an operator past the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Policy { life: u64, action: u64 },
    Operator,
}

impl Edge {
    pub fn new(clock: Clock, proxy: Rehearsal) -> Edge {
        Edge {
            clock,
            coordinator: None,
            life: 0,
            asleep: false,
            deferred: Vec::new(),
            disk: Disk::default(),
            timer: None,
            proxy,
            route: Route { epoch: Epoch(0), kind: RouteKind::Hold },
            serve_until: At::ZERO,
            handover: None,
            alerted: false,
            slept: 0,
            drains: None,
            last_words: Sides::default(),
            origins: BTreeMap::new(),
            last_order: 0,
            restarts: BTreeMap::new(),
            last_restart: 0,
            heard_of: 0,
        }
    }

    /// Its process is there, asleep or not.
    pub fn is_up(&self) -> bool {
        self.coordinator.is_some()
    }
}

/// Lives and deaths.
impl World {
    pub(super) fn edge_now(&self) -> At {
        self.edge.clock.now(self.now)
    }

    pub(super) fn edge_up(&mut self) {
        if self.edge.is_up() {
            return;
        }
        self.tell(|| "the edge starts".to_owned());
        let settings = self.plan.believed();
        let (now, proxy) = (self.edge_now(), Rehearsal::new(self.plan.proxy()));
        let edge = &mut self.edge;
        edge.life += 1;
        edge.timer = None;
        edge.proxy = proxy;
        edge.handover = None;
        edge.drains = None;
        edge.heard_of = 0;
        edge.serve_until = At::ZERO;
        edge.last_words = Sides::default();
        edge.origins.clear();
        edge.restarts.clear();
        edge.coordinator = Some(Coordinator::new(settings, edge.disk.durable().clone(), now));
        for side in Side::BOTH {
            let delay = self.rng.u64(1..50) * MS;
            self.after(delay, What::LinkUp { side });
        }
        self.policy_begins();
        self.edge_outputs();
    }

    /// The edge's process dies, or its whole host; so many of its writes under way are done.
    pub(super) fn edge_dies(&mut self, writes: usize, reboots: bool) {
        if self.edge.coordinator.take().is_none() {
            return;
        }
        self.tell(|| if reboots { "the edge's host reboots".to_owned() } else { "the edge is killed".to_owned() });
        self.edge.life += 1;
        self.edge.asleep = false;
        self.edge.deferred.clear();
        self.edge.disk.crash(writes);
        self.stats.edge_crashes += 1;
        self.policy_ends();
        self.requests_lose_edge();
        for side in Side::BOTH {
            self.links[side].up = false;
            self.links[side].auxiliary = false;
        }
        if reboots {
            self.edge.clock.reboot(self.now);
        }
        let pause = self.rng.u64(20..3_000) * MS;
        self.after(pause, What::EdgeUp);
    }

    pub(super) fn edge_wakes(&mut self, slept: u64) {
        if !std::mem::replace(&mut self.edge.asleep, false) {
            return;
        }
        self.tell(|| "the edge wakes".to_owned());
        self.edge.slept += slept;
        for what in std::mem::take(&mut self.edge.deferred) {
            self.at(self.now, what);
        }
    }
}

/// The coordinator.
impl World {
    pub(super) fn tell_edge(&mut self, input: Input) {
        let now = self.edge_now();
        let Some(coordinator) = &mut self.edge.coordinator else { return };
        coordinator.handle(now, input);
        self.edge_outputs();
    }

    pub(super) fn edge_timer(&mut self) {
        self.edge.timer = None;
        self.tell_edge(Input::Tick);
    }

    fn edge_outputs(&mut self) {
        while let Some(output) = self.edge.coordinator.as_mut().and_then(Coordinator::poll) {
            self.carry_out(output);
        }
        let Some(at) = self.edge.coordinator.as_ref().and_then(Coordinator::deadline) else { return };
        let time = self.edge.clock.world(at);
        if self.edge.timer.is_none_or(|armed| time < armed) {
            self.edge.timer = Some(time);
            // A timer is late, as timers are.
            let late = self.rng.u64(0..3 * MS);
            self.at(time + late, What::EdgeTimer { life: self.edge.life });
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Store { ticket, stored } => self.edge_stores(ticket, stored),
            Output::Route(route) => self.set_route(route),
            Output::ServeUntil(until) => {
                self.edge.serve_until = until;
                self.edge.proxy.serve_until(until, self.edge_now());
                self.release_held();
            }
            Output::Send { side, message } => self.command(side, message),
            Output::Drain { side, epoch } => {
                self.edge.drains = Some((side, epoch));
                self.look_whether_drained();
            }
            Output::Cut { side, before } => {
                self.tell(|| format!("edge cuts what side {side} was given before epoch {before}"));
                self.edge.proxy.cut(side, before);
                self.cut_requests(side, before);
            }
            Output::Tell(handover) => self.inform(event::What::Handover(handover)),
            Output::Ended { id, end } => self.order_ended(id, end),
            Output::Record(record) => self.record(&record),
            Output::Alert(text) => {
                self.edge.alerted = true;
                self.tell(|| format!("ALERT {text}"));
            }
            Output::Fence { side, epoch } => {
                self.tell(|| format!("edge has side {side} turned off"));
                let delay = self.rng.u64(50..1_500) * MS;
                let works = self.rng.u32(0..4) > 0 || !self.has_faults();
                self.after(delay, What::FenceHook { life: self.edge.life, side, epoch: epoch.0, works });
            }
        }
    }

    fn edge_stores(&mut self, ticket: Ticket, stored: coordinator::Stored) {
        self.edge.disk.write(ticket.0, stored);
        let (health, crash, life) = (self.edge.disk.health, self.edge.disk.crash.take(), self.edge.life);
        let (delay, well) = self.fate_of_write(health);
        if let Some(done) = crash {
            return self.after(delay, What::EdgeDies { life, done });
        }
        self.after(delay, What::EdgeStored { life, ticket: ticket.0, well });
    }

    pub(super) fn edge_stored(&mut self, ticket: u64, well: bool) {
        for ticket in self.edge.disk.done(ticket, well) {
            let ticket = Ticket(ticket);
            self.tell_edge(if well {
                Input::Stored(ticket)
            } else {
                Input::StoreFailed { ticket, why: "no space left on device".into() }
            });
        }
    }

    fn command(&mut self, side: Side, message: ToNode) {
        let epoch = match message {
            ToNode::Prepare { epoch }
            | ToNode::StandDown { epoch, .. }
            | ToNode::Activate { epoch, .. }
            | ToNode::Renew { epoch, .. } => epoch,
        };
        let durable = self.edge.disk.durable().epoch.0.max(self.edge.heard_of);
        if epoch.0 > durable {
            self.broken(format!("I4: the edge uses epoch {epoch}, and has {durable} on its disk: {message:?}"));
        }
        if !matches!(message, ToNode::Renew { .. }) {
            self.tell(|| format!("edge -> {side}: {message:?}"));
        }
        if matches!(message, ToNode::Activate { .. }) && self.plan.mutation.moves_route_early() {
            self.set_route(Route { epoch, kind: RouteKind::Serve(side) });
            self.edge.proxy.serve_until(At(u64::MAX), self.edge_now());
            self.release_held();
        }
        self.say_to_agent(side, EdgeSays::Command(message));
    }

    fn set_route(&mut self, route: Route) {
        self.tell(|| format!("route: {:?} (epoch {})", route.kind, route.epoch));
        self.edge.route = route;
        self.edge.proxy.set_route(route);
        self.release_held();
    }

    /// The answer to [`Output::Drain`], as soon as nothing is in flight.
    pub(super) fn look_whether_drained(&mut self) {
        if let Some((side, epoch)) = self.edge.drains
            && self.edge.proxy.in_flight(side) == 0
        {
            self.edge.drains = None;
            self.after(MS / 10, What::Drained { life: self.edge.life, epoch: epoch.0 });
        }
    }

    fn record(&mut self, record: &HandoverRecord) {
        let phase = record.phases.last().map(|last| last.phase);
        let Some(outcome) = record.outcome else {
            if self.edge.handover.is_none_or(|(epoch, ..)| epoch != record.epoch.0) {
                self.edge.handover = Some((record.epoch.0, self.now, self.edge.slept));
                self.edge.alerted = false;
                self.tell(|| {
                    let HandoverRecord { epoch, to, urgency, by, reason, .. } = record;
                    format!("HANDOVER {epoch} to {to}, {urgency:?}, by {by}: {reason}")
                });
            }
            return self.tell(|| format!("  phase {phase:?}"));
        };
        if let Some((_, since, slept)) = self.edge.handover.take() {
            let took = (self.now - since).saturating_sub(self.edge.slept - slept);
            self.stats.ended(outcome, took);
            self.tell(|| format!("HANDOVER {} ends: {outcome:?} {}", record.epoch, record.why));
            let refuses = self.edge.route.kind == RouteKind::Refuse && self.edge.alerted;
            if outcome == Outcome::NoActive && !refuses {
                let (kind, alerted) = (self.edge.route.kind, self.edge.alerted);
                self.broken(format!(
                    "I5: no side is active, the route is {kind:?}, and operators were told: {alerted}"
                ));
            }
        }
        if phase == Some(Phase::Settle) && record.first_sent_at.is_some() {
            self.stats.settled += 1;
        }
    }

    pub(super) fn fence_hook(&mut self, side: Side, epoch: u64, works: bool) {
        let result = if works {
            let pause = self.rng.u64(500..3_000) * MS;
            self.power_off(side, pause);
            Ok(())
        } else {
            Err("the power switch does not answer".to_owned())
        };
        self.tell_edge(Input::Fenced { side, epoch: Epoch(epoch), result });
    }
}

/// Agents' words.
impl World {
    pub(super) fn heard(&mut self, side: Side, message: FromNode) {
        if let FromNode::Report(report) = &message {
            self.edge.heard_of = self.edge.heard_of.max(report.epoch.0);
        } else if let FromNode::Answer(lockstep_pair::protocol::Answer::Refused { highest, .. }) = &message {
            self.edge.heard_of = self.edge.heard_of.max(highest.0);
        }
        let report = match &message {
            FromNode::Report(report) => Some(report.clone()),
            FromNode::Answer(_) => None,
        };
        self.tell_edge(Input::Node { side, message });
        let now = self.edge_now();
        if let Some(told) = report.and_then(|report| self.edge.last_words[side].hear(now, side, &report)) {
            self.inform(event::What::Agent(told));
        }
    }
}

/// Orders.
impl World {
    pub(super) fn order(&mut self, origin: Origin, order: Order, stands_down: bool) {
        self.edge.last_order += 1;
        let id = OrderId(self.edge.last_order);
        self.edge.origins.insert(id, origin);
        let order = Order { id, ..order };
        self.tell_edge(if stands_down { Input::StandDown(order) } else { Input::Switch(order) });
    }

    fn order_ended(&mut self, id: OrderId, end: End) {
        let Some(Origin::Policy { life, action }) = self.edge.origins.remove(&id) else { return };
        let (outcome, why) = match end {
            End::Refused(why) => (event::Outcome::Refused, why),
            End::Ended { outcome: Outcome::Completed, .. } => (event::Outcome::Done, String::new()),
            End::Ended { why, .. } => (event::Outcome::Failed, why),
        };
        self.result(life, action, outcome, why);
    }

    pub(super) fn result(&mut self, life: u64, action: u64, outcome: event::Outcome, why: String) {
        if life == self.policy.life {
            self.inform(event::What::Result(ActionResult { action, outcome, why }));
        }
    }

    pub(super) fn restart_for_policy(&mut self, life: u64, action: u64, side: Side, service: String) {
        if !self.links[side].up {
            let why = format!("the agent of side {side} is not connected");
            return self.result(life, action, event::Outcome::Refused, why);
        }
        self.edge.last_restart += 1;
        let number = self.edge.last_restart;
        self.edge.restarts.insert(number, (side, life, action));
        self.say_to_agent(side, EdgeSays::Restart { number, service });
    }

    pub(super) fn restarted(&mut self, number: u64, outcome: event::Outcome, why: &str) {
        if let Some((_, life, action)) = self.edge.restarts.remove(&number) {
            self.result(life, action, outcome, why.to_owned());
        }
    }

    pub(super) fn lose_restarts(&mut self, side: Side) {
        let lost: Vec<u64> =
            self.edge.restarts.iter().filter(|(_, (of, ..))| *of == side).map(|(number, _)| *number).collect();
        for number in lost {
            self.restarted(number, event::Outcome::Failed, "the connection to the agent broke before its answer");
        }
    }

    /// A broken connection of a process that has died is noticed, if the news can arrive.
    pub(super) fn link_breaks(&mut self, side: Side, link: u64) {
        if link == self.links[side].number && self.network.open(Place::Node(side), Place::Edge) {
            self.disconnect(side, "its connection broke");
        }
    }
}
