//! All services of a node as one state machine. It waits for nothing: it is told what has happened and what time it is,
//! and starts tasks that tell it the rest.
//!
//! - Here: what is known of each service, and what becomes of what is heard.
//! - [`exclusive`]: started in their order and stopped in the reverse of it, when the node says so.
//! - [`gates`]: steps among them that a person takes.
//! - [`troubles`]: those that have ended, hang, or do not become ready in time: tried again, as often as they may.
//! - [`upkeep`]: the others, started when the agent starts, each when the one before it is ready, and kept up; and
//!   restarts of single services on an edge's order.

mod exclusive;
mod gates;
mod troubles;
mod upkeep;

#[cfg(test)]
mod tests;

use super::budget::Budget;
use super::launch::Launch;
use super::{Event, Happening, ORDERS, Order, Post};
use crate::checkup::Vital;
use crate::config;
use crate::guard::order::{Reach, reserve};
use exclusive::Sequence;
use lockstep_pair::node::{Condition, Input};
use lockstep_policy::event::{Outcome, Replication, Service, ServiceState};
use lockstep_policy::{At, Epoch};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use upkeep::{Closing, Restart};

/// How long services may take to stop, before an edge has named the pair's times.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a crew says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// To the node.
    Node(Input),
    /// To the edge that asked for it.
    Restarted { id: u64, outcome: Outcome, why: String },
}

/// The services of a node.
#[derive(Debug)]
pub(crate) struct Crew<L> {
    slots: Vec<Slot>,
    sequence: Sequence,
    /// The node has become active, and its exclusive services have not been stopped since.
    has_served: bool,
    /// Of the node's last start.
    epoch: Epoch,
    /// How long exclusive services may live.
    reach: Option<Reach>,
    stop_max: Duration,
    release: String,
    replication: (Replication, String),
    launch: L,
    happenings: mpsc::Sender<Happening>,
    lives: u64,
    closing: Option<Closing>,
    condition: Option<Condition>,
    said: VecDeque<Said>,
}

/// One service, over all of its lives.
#[derive(Debug)]
struct Slot {
    config: config::Service,
    life: Option<Life>,
    /// Why it does not run, when nobody has ordered that.
    ended: Option<String>,
    /// How often it was started, not counting an exclusive one's starts by the node.
    starts: u32,
    /// How often in the node's present start.
    tries: u32,
    budget: Budget,
    retry_at: Option<At>,
    /// It has ended, and the agent starts it again: nobody else's business yet.
    returns: bool,
    restart: Option<Restart>,
    /// Who has opened it, when it is a gate, and for which epoch.
    opened: Option<(Epoch, String)>,
}

/// From a service's start to the moment when nothing of it runs any more.
#[derive(Debug)]
struct Life {
    number: u64,
    orders: mpsc::Sender<Order>,
    began: At,
    pid: u32,
    ready: bool,
    was_ready: bool,
    /// Its end was ordered, or it is an earlier life's.
    stopping: bool,
    /// It was the agent that gave it up: it is to be started again.
    given_up: bool,
    /// When it must be ready.
    start_by: Option<At>,
    /// The earliest end by force that was ordered.
    kill_at: Option<At>,
    exited: bool,
    /// When it last said that it is well.
    heard: Option<At>,
    check: Option<tokio::task::AbortHandle>,
    /// Looks again and again whether it is well.
    watch: Option<tokio::task::AbortHandle>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end_checks();
    }
}

impl Life {
    fn becomes_ready(&mut self) {
        if !self.stopping && !self.exited {
            self.ready = true;
            self.was_ready = true;
        }
    }

    fn end_checks(&mut self) {
        for check in [self.check.take(), self.watch.take()].into_iter().flatten() {
            check.abort();
        }
    }

    fn stop(&mut self, kill_at: At) {
        self.stopping = true;
        self.ready = false;
        if self.kill_at.is_none_or(|earlier| kill_at < earlier) {
            self.kill_at = Some(kill_at);
            self.tell(Order::Stop { kill_at });
        }
    }

    fn tell(&self, order: Order) {
        // A life that takes no more orders is hung: its dead-man's switch is what is left.
        if self.orders.try_send(order).is_err() {
            tracing::warn!(?order, "an order to a service was lost");
        }
    }
}

impl Slot {
    fn is_ready(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.ready)
    }

    /// When it is started again.
    fn retry(&self) -> Option<At> {
        self.retry_at.filter(|_| self.life.is_none())
    }

    /// Whether the dead-man's switch is for it too.
    fn has_reach(&self) -> bool {
        self.config.exclusive || self.config.flush
    }

    fn state(&self) -> ServiceState {
        match &self.life {
            None if self.returns => ServiceState::Starting,
            None if self.ended.is_some() => ServiceState::Exited,
            None => ServiceState::Stopped,
            Some(life) if life.stopping => ServiceState::Stopping,
            Some(life) if life.exited && self.returns => ServiceState::Starting,
            Some(life) if life.exited => ServiceState::Exited,
            Some(life) if life.ready => ServiceState::Running,
            Some(life) if life.was_ready => ServiceState::Unready,
            Some(_) => ServiceState::Starting,
        }
    }

    fn report(&self) -> Service {
        Service {
            name: self.config.name.clone(),
            exclusive: self.config.exclusive,
            state: self.state(),
            pid: self.life.as_ref().map_or(0, |life| life.pid),
            restarts: self.starts.saturating_sub(u32::from(!self.config.exclusive)),
        }
    }
}

impl<L: Launch> Crew<L> {
    /// A crew of which nothing is known yet: each service is taken to run still, from an earlier life of the agent, until
    /// it is proved not to.
    pub(crate) fn new(
        services: &[config::Service],
        release: &str,
        launch: L,
        happenings: mpsc::Sender<Happening>,
        now: At,
    ) -> Crew<L> {
        let slot = |config: &config::Service| Slot {
            config: config.clone(),
            life: None,
            ended: None,
            starts: 0,
            tries: 0,
            budget: Budget::new(config),
            retry_at: None,
            returns: false,
            restart: None,
            opened: None,
        };
        let mut crew = Crew {
            slots: services.iter().map(slot).collect(),
            sequence: Sequence::Rest,
            has_served: false,
            epoch: Epoch(0),
            reach: None,
            stop_max: STOP_MAX,
            release: release.to_owned(),
            replication: (Replication::Unknown, String::new()),
            launch,
            happenings,
            lives: 0,
            closing: None,
            condition: None,
            said: VecDeque::new(),
        };
        for service in 0..crew.slots.len() {
            crew.adopt(service, now);
        }
        crew.advance(now);
        crew
    }

    /// The next thing to say.
    pub(crate) fn poll(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// When [`Crew::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<At> {
        let deadlines = [self.sequence_deadline(), self.upkeep_deadline(), self.trouble_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: At) {
        self.advance(now);
    }

    /// How long the pair's services may take to stop.
    pub(crate) fn terms(&mut self, stop_max: Duration) {
        self.stop_max = stop_max;
        let named: Duration = self.of(true).filter_map(|slot| slot.config.stop_timeout).sum();
        let time = stop_max.saturating_sub(reserve(stop_max));
        if named > time {
            tracing::warn!(
                ?named,
                ?time,
                "the exclusive services' stop_timeout are more than a stop has: they are shortened"
            );
        }
    }

    /// The application's release was found out.
    pub(crate) fn release(&mut self, release: String) {
        self.release = release;
        self.tell_condition();
    }

    /// How the copy of the pair's data is was found out.
    pub(crate) fn replication(&mut self, state: Replication, detail: String) {
        self.replication = (state, detail);
        self.tell_condition();
    }

    /// Whether something exclusive runs, or may be started.
    pub(crate) fn may_run_exclusive(&self) -> bool {
        self.reach.is_some() || self.of(true).any(|slot| slot.life.is_some())
    }

    /// What those who ask whether a service is well need to know, in the configuration's order.
    pub(crate) fn vitals(&self) -> Vec<Vital> {
        let vital = |slot: &Slot| {
            let (pid, heard) = slot.life.as_ref().map_or((0, None), |life| (life.pid, life.heard));
            Vital { state: slot.state(), pid, heard }
        };
        self.slots.iter().map(vital).collect()
    }

    /// Something has become of a life.
    pub(crate) fn hear(&mut self, now: At, Happening { service, life: number, event }: Happening) {
        let Some(slot) = self.slots.get_mut(service) else { return };
        let Some(life) = slot.life.as_mut().filter(|life| life.number == number) else { return };
        match event {
            Event::Started { pid } => {
                life.pid = pid;
                // It has its time to say so.
                life.heard = Some(now);
                life.end_checks();
                match &slot.config.ready {
                    Some(config::Ready::Notify) => {}
                    Some(ready) => {
                        let to = self.happenings.clone();
                        life.check = Some(self.launch.check(ready, Post { service, life: number, to }));
                    }
                    None => self.becomes_ready(service),
                }
            }
            Event::Ready => self.becomes_ready(service),
            Event::Unready => life.ready = false,
            Event::Alive => life.heard = Some(now),
            Event::Hung { why } => self.give_up(now, service, why),
            Event::Exited { how } => {
                life.exited = true;
                life.ready = false;
                life.pid = 0;
                life.end_checks();
                // Not by itself: its switch has ended it, with the lease, before this agent did.
                life.stopping |= slot.config.flush && self.reach.is_some_and(|reach| reach.kill <= now);
                if !life.stopping {
                    self.has_ended(now, service, how);
                }
            }
            Event::Gone => self.gone(now, service),
        }
        self.advance(now);
    }

    fn advance(&mut self, now: At) {
        self.look_for_troubles(now);
        self.advance_upkeep(now);
        self.advance_sequence(now);
        self.advance_restarts(now);
        self.tell_condition();
    }

    fn tell_condition(&mut self) {
        let all = |exclusive: bool| self.of(exclusive).all(Slot::is_ready);
        let condition = Condition {
            fit: all(false),
            ready: all(true),
            running: self.of(true).any(|slot| slot.life.is_some()),
            services: self.slots.iter().map(Slot::report).collect(),
            release: self.release.clone(),
            replication: self.replication.0,
            replication_detail: self.replication.1.clone(),
            waiting: self.waits_at().unwrap_or_default().to_owned(),
            unbound: self
                .of(true)
                .filter(|slot| slot.config.is_unbound())
                .map(|slot| slot.config.name.clone())
                .collect(),
        };
        if self.condition.as_ref() != Some(&condition) {
            self.condition = Some(condition.clone());
            self.said.push_back(Said::Node(Input::Condition(condition)));
        }
    }

    fn of(&self, exclusive: bool) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.config.exclusive == exclusive)
    }

    fn indices(&self, exclusive: bool) -> impl DoubleEndedIterator<Item = usize> + use<L> {
        let indices: Vec<usize> =
            (0..self.slots.len()).filter(|index| self.slots[*index].config.exclusive == exclusive).collect();
        indices.into_iter()
    }

    /// Takes what an earlier life of the agent may have left of a service for a life of its own.
    fn adopt(&mut self, service: usize, now: At) {
        let (orders, post) = self.new_life(service, now);
        let exclusive = self.slots[service].config.exclusive;
        if let Some(life) = &mut self.slots[service].life {
            life.stopping = true;
            if !exclusive {
                life.stop(now + STOP_MAX / 2);
            }
        }
        self.launch.adopt(&self.slots[service].config, self.stop_max, orders, post);
    }

    fn start_life(&mut self, service: usize, now: At) {
        let (orders, post) = self.new_life(service, now);
        let slot = &mut self.slots[service];
        slot.ended = None;
        slot.retry_at = None;
        slot.returns = false;
        if let Some(life) = &mut slot.life {
            life.start_by = slot.config.start.timeout.map(|timeout| now + timeout);
        }
        // What is begun anew after it was flushed has nothing to be flushed of.
        let gives_role_up = matches!(self.sequence, Sequence::Stopping(_) | Sequence::Rest);
        let reach = self.reach.filter(|_| slot.config.exclusive || slot.config.flush && !gives_role_up);
        self.launch.start(&slot.config, reach, self.stop_max, orders, post);
        self.open_if_confirmed(service);
    }

    fn new_life(&mut self, service: usize, now: At) -> (mpsc::Receiver<Order>, Post) {
        self.lives += 1;
        let (orders, receiver) = mpsc::channel(ORDERS);
        self.slots[service].life = Some(Life {
            number: self.lives,
            orders,
            began: now,
            pid: 0,
            ready: false,
            was_ready: false,
            stopping: false,
            given_up: false,
            start_by: None,
            kill_at: None,
            exited: false,
            heard: None,
            check: None,
            watch: None,
        });
        (receiver, Post { service, life: self.lives, to: self.happenings.clone() })
    }
}
