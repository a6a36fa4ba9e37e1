//! The policy: an instance of a vendor's plugin, its timers and alarms, and its actions carried out. It answers after a
//! while, as a worker does, and may be away for a while, as one that is made again.

use super::edge::Origin;
use super::{MS, What, World};
use lockstep_edge::rehearsal::{Alarms, Timers, Today};
use lockstep_pair::RouteKind;
use lockstep_pair::coordinator::{Input, Order, OrderId};
use lockstep_policy::action::{Switch, Urgency, Watch};
use lockstep_policy::event::{self, Connection, Event, Link, Outcome, ProbeId, Start};
use lockstep_policy::host::Instance;
use lockstep_policy::{Action, Side};
use std::collections::{BTreeMap, VecDeque};

/// The seat and who sits in it.
#[derive(Default)]
pub struct Policy {
    instance: Option<Instance>,
    /// Counts the instances.
    pub life: u64,
    seq: u64,
    pub declared: BTreeMap<ProbeId, Declared>,
    pub declarations: u64,
    timers: Timers,
    alarms: Alarms,
    armed: Option<u64>,
    /// It is being made again as it was: what it is told waits.
    away: bool,
    unheard: VecDeque<Event>,
    /// What it has given and was not carried out yet: the first action's number, and the actions.
    given: VecDeque<(u64, Vec<Action>)>,
    /// It answers in order.
    answers_at: u64,
    /// Operators' orders that it has not answered: to which side.
    orders: BTreeMap<u64, Side>,
    last_order: u64,
}

/// A probe that was declared.
#[derive(Clone, Debug)]
pub struct Declared {
    pub watch: Watch,
    pub declaration: u64,
}

/// Lives.
impl World {
    pub(super) fn policy_begins(&mut self) {
        self.policy.life += 1;
        let (setup, seed) = (&self.plan.setup, self.plan.seed);
        let instance = match self.plan.library.instance(setup, seed) {
            Ok(instance) => instance,
            Err(error) => return self.broken(format!("the policy is not made: {error}")),
        };
        let life = self.policy.life;
        let seq = self.policy.seq;
        self.policy = Policy { instance: Some(instance), life, seq, ..Policy::default() };
        let Some(view) = self.edge.coordinator.as_ref().map(|coordinator| coordinator.view()) else { return };
        let start = Start {
            active: view.active.map(|(side, _)| side),
            epoch: view.epoch,
            restored: false,
            since_handover: None,
        };
        self.inform(event::What::Start(start));
        for side in Side::BOTH {
            let known = self.edge.last_words[side].known().cloned();
            for (connection, up) in
                [(Connection::Main, self.links[side].up), (Connection::Auxiliary, self.links[side].auxiliary)]
            {
                if up {
                    self.inform(event::What::Link(Link { side, connection, up }));
                }
            }
            if let Some(report) = known.filter(|_| self.links[side].up) {
                self.inform(event::What::Agent(report));
            }
        }
    }

    pub(super) fn policy_ends(&mut self) {
        let (life, seq) = (self.policy.life + 1, self.policy.seq);
        self.policy = Policy { life, seq, ..Policy::default() };
    }

    pub(super) fn policy_goes_away(&mut self) {
        self.tell(|| "the policy's worker is killed".to_owned());
        self.policy.away = true;
        let pause = self.rng.u64(20..3_000) * MS;
        self.after(pause, What::PolicyBack { life: self.policy.life });
    }

    /// It is back as it was: from its state, and what it was told meanwhile.
    pub(super) fn policy_back(&mut self) {
        let Some(before) = self.policy.instance.take() else { return };
        let again = self.plan.library.instance(&self.plan.setup, self.plan.seed).map_err(|error| error.to_string());
        let restored = before.save().map_err(|error| error.to_string()).and_then(|state| {
            let mut again = again?;
            again.restore(&state).map_err(|error| error.to_string())?;
            Ok(again)
        });
        match restored {
            Ok(again) => self.policy.instance = Some(again),
            Err(why) => return self.broken(format!("the policy is not made again: {why}")),
        }
        self.policy.away = false;
        for event in std::mem::take(&mut self.policy.unheard) {
            self.step(&event);
        }
    }
}

/// What it is told, and what it gives.
impl World {
    /// Tells the policy.
    pub(super) fn inform(&mut self, what: event::What) {
        if self.policy.instance.is_none() {
            return;
        }
        self.policy.seq += 1;
        let event = Event { seq: self.policy.seq, at: self.edge_now(), what };
        if self.policy.away {
            self.policy.unheard.push_back(event);
        } else {
            self.step(&event);
        }
    }

    fn step(&mut self, event: &Event) {
        let Some(instance) = &mut self.policy.instance else { return };
        self.stats.policy_events += 1;
        let actions = match instance.step(event) {
            Ok(actions) => actions,
            Err(error) => return self.broken(format!("the policy fails: {error}")),
        };
        if actions.is_empty() {
            return;
        }
        let first = instance.given() - actions.len() as u64 + 1;
        let slow = self.has_faults() && self.rng.u32(0..200) == 0;
        let delay = if slow { self.rng.u64(1..300) * MS } else { self.rng.u64(MS / 20..2 * MS) };
        self.policy.answers_at = (self.now + delay).max(self.policy.answers_at + 1);
        self.policy.given.push_back((first, actions));
        self.at(self.policy.answers_at, What::PolicyActs { life: self.policy.life });
    }

    pub(super) fn policy_acts(&mut self) {
        let Some((first, actions)) = self.policy.given.pop_front() else { return };
        for (action, number) in actions.into_iter().zip(first..) {
            self.act(number, action);
        }
        self.arm_policy();
    }

    fn act(&mut self, number: u64, action: Action) {
        let (life, now) = (self.policy.life, self.edge_now());
        match action {
            Action::Watch(watch) => self.watch(watch),
            Action::Unwatch(probe) => drop(self.policy.declared.remove(&probe)),
            Action::ProbeNow(probe) => self.probe_now(probe),
            Action::SetTimer(timer, at) => {
                self.policy.alarms.cancel(timer);
                if let Err(why) = self.policy.timers.set(timer, at) {
                    self.result(life, number, Outcome::Refused, why);
                }
            }
            Action::CancelTimer(timer) => {
                self.policy.timers.cancel(timer);
                self.policy.alarms.cancel(timer);
            }
            Action::SetAlarm(timer, minute) => {
                let today = self.today();
                match self.policy.alarms.set(timer, minute, now, &today) {
                    Ok(()) => self.policy.timers.cancel(timer),
                    Err(why) => self.result(life, number, Outcome::Refused, why),
                }
            }
            Action::Prepare(side) if self.links[side].up => self.tell_edge(Input::Prepare(side)),
            Action::Prepare(side) => {
                let why = format!("the agent of side {side} is not connected");
                self.result(life, number, Outcome::Refused, why);
            }
            Action::Switch(Switch { to, urgency, reason, evidence, order }) => {
                self.tell(|| format!("policy: switch to {to}, {urgency:?}: {reason}"));
                self.policy.orders.remove(&order);
                let by = if order == 0 { "policy" } else { "operator" }.to_owned();
                self.order(
                    Origin::Policy { life, action: number },
                    Order { id: OrderId(0), to, urgency, reason, by, evidence, unsafe_because: None },
                    false,
                );
            }
            Action::StandDown(order) => {
                self.tell(|| format!("policy: stand {} down: {}", order.side, order.reason));
                self.order(Origin::Policy { life, action: number }, plain(order.side, order.reason, "policy"), true);
            }
            Action::RestartService(order) => {
                self.tell(|| format!("policy: restart {} of {}: {}", order.service, order.side, order.reason));
                self.restart_for_policy(life, number, order.side, order.service);
            }
            Action::Alert(alert) => {
                self.paced |= alert.text.contains("each minute") || alert.text.contains("one each 1m");
                self.tell(|| format!("policy says: {}", alert.text));
            }
            Action::RefuseOrder(answer) => {
                self.tell(|| format!("policy refuses: {}", answer.text));
                self.policy.orders.remove(&answer.order);
            }
            Action::AcceptOrder(answer) => drop(self.policy.orders.remove(&answer.order)),
            Action::AskConfirmation(answer) => {
                if let Some(to) = self.policy.orders.remove(&answer.order)
                    && self.rng.bool()
                {
                    self.operator_orders(to, true);
                }
            }
            Action::ConfirmGate(_) | Action::RunHook(_) => self.result(life, number, Outcome::Done, String::new()),
            _ => {}
        }
    }
}

fn plain(to: Side, reason: String, by: &str) -> Order {
    Order {
        id: OrderId(0),
        to,
        urgency: Urgency::Failover,
        reason,
        by: by.to_owned(),
        evidence: Vec::new(),
        unsafe_because: None,
    }
}

/// Timers and alarms.
impl World {
    /// The time of day at the edge, which anybody may set.
    fn today(&self) -> Today {
        let passed = i64::try_from(self.now / MS).expect("the world is young");
        Today::utc(self.plan.day + passed + self.wall_jumps)
    }

    fn arm_policy(&mut self) {
        let next = [self.policy.timers.earliest(), self.policy.alarms.wake()].into_iter().flatten().min();
        let Some(at) = next else { return };
        let time = self.edge.clock.world(at).max(self.now + MS / 10);
        if self.policy.armed.is_none_or(|armed| time < armed) {
            self.policy.armed = Some(time);
            let late = self.rng.u64(0..2 * MS);
            self.at(time + late, What::PolicyTimer { life: self.policy.life });
        }
    }

    pub(super) fn policy_timer(&mut self) {
        self.policy.armed = None;
        let now = self.edge_now();
        while let Some(timer) = self.policy.timers.due(now) {
            self.inform(event::What::Timer(timer));
        }
        if self.policy.alarms.wake().is_some_and(|at| at <= now) {
            let today = self.today();
            for timer in self.policy.alarms.look(now, &today) {
                self.tell(|| "an alarm rings".to_owned());
                self.inform(event::What::Timer(timer));
            }
        }
        self.arm_policy();
    }
}

/// Operators.
impl World {
    pub(super) fn operator(&mut self) {
        let pause = self.rng.u64(1_000..9_000) * MS;
        self.after(pause, What::Operator);
        if !self.edge.is_up() || self.edge.asleep {
            return;
        }
        let to = if self.rng.bool() { Side::A } else { Side::B };
        if !self.has_faults() {
            return self.operator_mends();
        }
        match self.rng.u32(0..10) {
            // Past the policy: a failover by hand, and a side that is stood down.
            0 => {
                self.tell(|| format!("operator: fail over to {to}"));
                self.order(Origin::Operator, plain(to, "by hand".into(), "operator"), false);
            }
            1 => {
                self.tell(|| format!("operator: stand {to} down"));
                self.order(Origin::Operator, plain(to, "by hand".into(), "operator"), true);
            }
            choice => self.operator_orders(to, choice < 7),
        }
    }

    /// Where a policy waits for a person, somebody comes when nobody has been served for a while, and tries one side after
    /// the other.
    fn operator_mends(&mut self) {
        let served = matches!(self.edge.route.kind, RouteKind::Serve(_));
        let late = self.now > self.plan.faults_end + 8_000 * MS;
        if served || !late || !self.plan.policy.needs_people() || self.edge.handover.is_some() {
            return;
        }
        self.stats.mended = 1;
        self.mends_with = self.mends_with.other();
        self.operator_orders(self.mends_with, true);
    }

    fn operator_orders(&mut self, to: Side, confirmed: bool) {
        self.tell(|| format!("operator: switch to {to}{}", if confirmed { ", confirmed" } else { "" }));
        if self.policy.away {
            let order = Order { urgency: Urgency::Planned, ..plain(to, "no policy".into(), "operator") };
            return self.order(Origin::Operator, order, false);
        }
        self.policy.last_order += 1;
        let order = self.policy.last_order;
        self.policy.orders.insert(order, to);
        let (by, rights) = ("eva".to_owned(), vec!["all".to_owned()]);
        self.inform(event::What::Order(event::Order { order, to, confirmed, by, rights }));
        self.arm_policy();
    }

    /// The policy's clock, for probes.
    pub(super) fn is_declared(&self, probe: ProbeId, declaration: u64) -> bool {
        self.policy.declared.get(&probe).is_some_and(|declared| declared.declaration == declaration)
    }
}
