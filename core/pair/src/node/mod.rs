//! The agent's half of the handover: one per node.
//!
//! A node is active only under a lease, counted on its own clock from a stamp that it sent itself. When the lease is
//! over it stops what is exclusive, whoever can be reached or not. It obeys nothing of an epoch lower than the highest
//! that it has made durable (I3), and a new life begins fenced: with a stop, and without a lease.
//!
//! A node that finds itself isolated from its LAN takes no lease any more, and lets the one that it holds run out (T4): an
//! edge that still reaches it may well renew, and nobody on the LAN is served. It does not stop before the lease is over,
//! because until then an edge may believe that it serves (I2); but it says at once that it does not.

mod contract;
mod rebase;

pub use contract::{Condition, Input, Output, Run, Stored, Ticket};

use crate::protocol::{Answer, FromNode, Lease, Report, Session, Stamp, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Lan, Role};
use lockstep_policy::{At, Epoch};
use std::collections::VecDeque;
use std::time::Duration;

/// How long services of an earlier life may take to stop, before an edge has named the pair's times.
const BOOT_STOP: Duration = Duration::from_secs(5);

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    session: Session,
    terms: Option<Terms>,
    stored: Stored,
    phase: Phase,
    lease: Option<Lease>,
    /// A stand-down that is not answered yet.
    fence: Option<Fence>,
    /// A prepare that is not answered yet.
    preparing: Option<Epoch>,
    /// An activation that was given up while it was being made durable: its epoch is on the disk, or will be.
    given_up: Option<(Ticket, Epoch)>,
    condition: Condition,
    lan: Lan,
    /// Why the node may not be active: it is isolated from its LAN, and that binds it.
    isolated: Option<String>,
    next_report: At,
    last_ticket: Ticket,
    last_run: Run,
    outputs: VecDeque<Output>,
}

/// Where the node's exclusive services are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Standby,
    /// An activation is being made durable. Services of an earlier epoch may run on meanwhile.
    Accepting {
        ticket: Ticket,
        epoch: Epoch,
        was_active: bool,
    },
    Activating {
        run: Run,
    },
    Active,
    StandingDown {
        run: Run,
        /// Why the activation failed that this stop cleans up after, and its epoch.
        failure: Option<(Epoch, String)>,
    },
    Failed,
}

/// A stand-down on its way to its answer: durable, then stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fence {
    epoch: Epoch,
    ticket: Ticket,
    urgency: Urgency,
    durable: bool,
}

impl Node {
    /// A node whose agent has just started: whatever was stored, it begins with a stop, and has no lease.
    #[must_use]
    pub fn new(session: Session, stored: Stored, now: At) -> Node {
        let mut node = Node {
            session,
            terms: None,
            stored,
            phase: Phase::Standby,
            lease: None,
            fence: None,
            preparing: None,
            given_up: None,
            condition: Condition::default(),
            lan: Lan::Unknown,
            isolated: None,
            next_report: now,
            last_ticket: Ticket(0),
            last_run: Run(0),
            outputs: VecDeque::new(),
        };
        node.stop(now + BOOT_STOP, Urgency::Failover, None);
        node
    }

    /// Takes one input. Outputs are then waiting in [`Node::poll`].
    pub fn handle(&mut self, now: At, input: Input) {
        // A node that was asleep learns that its lease is over before it listens to anyone.
        self.expire(now);
        let before = self.appearance(now);
        match input {
            Input::Tick => {}
            Input::Terms(terms) => {
                self.terms = Some(terms);
                self.next_report = now;
            }
            Input::Message(message) => self.obey(now, message),
            Input::Stored(ticket) => self.stored(now, ticket),
            Input::StoreFailed { ticket, why } => self.store_failed(now, ticket, &why),
            Input::Started(run) => self.started(now, run),
            Input::StartFailed { run, why } => self.start_failed(now, run, why),
            Input::Stopped(run) => self.stopped(now, run),
            Input::StopFailed { run, why } => self.stop_failed(now, run, &why),
            Input::Broken { why } => self.broken(now, why),
            Input::Condition(condition) => self.condition_changed(condition),
            Input::Lan { lan, why, binding } => self.lan_looked_at(now, lan, why, binding),
        }
        if self.appearance(now) != before || now >= self.next_report {
            self.send_report(now);
        }
        self.check_invariants(now);
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due: the lease's end, or the next report.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        let report = self.terms.map(|_| self.next_report);
        let lease = self.lease.filter(|_| self.holds_lease()).map(|lease| lease.end());
        report.into_iter().chain(lease).min()
    }

    /// How the node is now.
    #[must_use]
    pub fn report(&self, now: At) -> Report {
        let lease_left = self.lease.filter(|_| self.holds_lease()).map_or(Duration::ZERO, |l| l.end().since(now));
        Report {
            stamp: Stamp { session: self.session, at: now },
            epoch: self.stored.epoch,
            role: self.role(),
            serving: self.serving(),
            fit: self.condition.fit,
            running: self.running(),
            lease_left,
            services: self.condition.services.clone(),
            release: self.condition.release.clone(),
            replication: self.condition.replication,
            replication_detail: self.condition.replication_detail.clone(),
            lan: self.lan,
            waiting: self.condition.waiting.clone(),
            unbound: self.condition.unbound.clone(),
        }
    }

    /// Until when the node serves, on its own clock: the end of its lease. None when it does not serve, or has heard that it
    /// is to stand down: who asks for an answer after that is not to get it from this node (I2).
    #[must_use]
    pub fn serves_until(&self) -> Option<At> {
        self.lease.filter(|_| self.serving() && self.fence.is_none()).map(|lease| lease.end())
    }

    fn role(&self) -> Role {
        match self.phase {
            Phase::Standby => Role::Standby,
            Phase::Accepting { .. } | Phase::Activating { .. } => Role::Activating,
            Phase::Active => Role::Active,
            Phase::StandingDown { .. } => Role::StandingDown,
            Phase::Failed => Role::Failed,
        }
    }

    /// Not once it has heard that it is to stand down: an edge that hears it for the first time would give it requests for
    /// as long as its lease lasts, while it stops (I2).
    fn serving(&self) -> bool {
        let well = self.condition.ready && self.condition.fit;
        self.phase == Phase::Active && well && self.isolated.is_none() && self.fence.is_none()
    }

    fn running(&self) -> bool {
        self.condition.running || !matches!(self.phase, Phase::Standby | Phase::Failed)
    }

    /// What a change of is reported at once.
    fn appearance(&self, now: At) -> Report {
        let constant = Stamp { session: self.session, at: At::ZERO };
        Report { stamp: constant, lease_left: Duration::ZERO, ..self.report(now) }
    }

    /// Whether something exclusive runs, or may be started, by right of the lease.
    fn holds_lease(&self) -> bool {
        matches!(self.phase, Phase::Accepting { .. } | Phase::Activating { .. } | Phase::Active)
    }

    /// The highest epoch that was heard in an accepted command, durable or not yet.
    fn highest(&self) -> Epoch {
        let fence = self.fence.map_or(Epoch(0), |fence| fence.epoch);
        let accepting = match self.phase {
            Phase::Accepting { epoch, .. } => epoch,
            _ => Epoch(0),
        };
        let given_up = self.given_up.map_or(Epoch(0), |(_, epoch)| epoch);
        self.stored.epoch.max(fence).max(accepting).max(given_up)
    }

    fn stop_max(&self) -> Duration {
        self.terms.map_or(BOOT_STOP, |terms| terms.stop_max)
    }
}

/// Commands.
impl Node {
    fn obey(&mut self, now: At, message: ToNode) {
        match message {
            ToNode::Prepare { epoch } => self.prepare(epoch),
            ToNode::StandDown { epoch, urgency } => self.stand_down(epoch, urgency),
            ToNode::Activate { epoch, lease } => self.activate(now, epoch, lease),
            ToNode::Renew { epoch, lease } => self.renew(now, epoch, lease),
        }
    }

    fn prepare(&mut self, epoch: Epoch) {
        if epoch < self.highest() {
            self.refuse(epoch, "a newer attempt is under way");
        } else if self.condition.fit {
            self.answer(Answer::Prepared { epoch });
        } else {
            self.preparing = Some(epoch);
        }
    }

    fn stand_down(&mut self, epoch: Epoch, urgency: Urgency) {
        if epoch < self.highest() {
            return self.refuse(epoch, "a newer attempt is under way");
        }
        let ticket = self.store(Stored { epoch, active: false });
        self.fence = Some(Fence { epoch, ticket, urgency, durable: false });
    }

    fn activate(&mut self, now: At, epoch: Epoch, lease: Lease) {
        let fenced_here =
            self.fence.is_some_and(|fence| fence.epoch == epoch) || (epoch == self.stored.epoch && !self.stored.active);
        if epoch < self.highest() {
            self.refuse(epoch, "a newer attempt is under way");
        } else if epoch == Epoch(0) || fenced_here {
            self.refuse(epoch, "the node has stood down in this epoch");
        } else if let Some(why) = &self.isolated {
            let why = format!("the node is isolated from its LAN: {why}");
            self.refuse(epoch, &why);
        } else if !self.is_valid(now, lease) {
            self.refuse(epoch, "the lease was over when it came");
        } else if self.terms.is_none() {
            self.refuse(epoch, "no edge has named the pair's times yet");
        } else if matches!(self.phase, Phase::StandingDown { .. }) {
            self.refuse(epoch, "services are still being stopped");
        } else if epoch > self.stored.epoch {
            // The old lease, if there is one, is left as it is: the later of the two counts.
            let was_active = matches!(self.phase, Phase::Active | Phase::Accepting { was_active: true, .. });
            if matches!(self.phase, Phase::Activating { .. }) {
                return self.refuse(epoch, "services are still being started for an earlier attempt");
            }
            self.extend(lease);
            let ticket = self.store(Stored { epoch, active: true });
            self.phase = Phase::Accepting { ticket, epoch, was_active };
        } else {
            self.extend(lease);
            match self.phase {
                Phase::Active => {
                    self.arm();
                    self.answer(Answer::Activated { epoch });
                }
                Phase::Standby | Phase::Failed => self.start(),
                // Its answer comes when the start has ended.
                Phase::Activating { .. } => self.arm(),
                Phase::Accepting { .. } | Phase::StandingDown { .. } => {}
            }
        }
    }

    fn renew(&mut self, now: At, epoch: Epoch, lease: Lease) {
        // A fence that was heard ends the right to be renewed before it is durable.
        let entitled = self.stored == (Stored { epoch, active: true }) && epoch == self.highest();
        if entitled
            && self.isolated.is_none()
            && self.is_valid(now, lease)
            && matches!(self.phase, Phase::Activating { .. } | Phase::Active)
        {
            self.extend(lease);
            self.arm();
            self.show(now, lease);
        }
    }

    /// A lease that came after a later report was written: the edge is shown at once that it has come, before it takes it for lost.
    fn show(&mut self, now: At, lease: Lease) {
        let Some(Terms { renew, .. }) = self.terms else { return };
        let reported = self.next_report - renew;
        if reported > lease.stamp.at && now >= reported + renew / 2 {
            self.next_report = now;
        }
    }

    fn is_valid(&self, now: At, lease: Lease) -> bool {
        // A stamp from the future is of another boot of the machine.
        lease.stamp.session == self.session && lease.stamp.at <= now && lease.end() > now
    }

    fn extend(&mut self, lease: Lease) {
        if !self.holds_lease() || self.lease.is_none_or(|held| held.end() < lease.end()) {
            self.lease = Some(lease);
        }
    }

    /// No exclusive service outlives the lease by more than `stop_max`, whatever happens to this process.
    fn arm(&mut self) {
        if let Some(lease) = self.lease {
            self.outputs.push_back(Output::Deadman(lease.end() + self.stop_max()));
        }
    }

    fn start(&mut self) {
        self.arm();
        self.last_run.0 += 1;
        self.phase = Phase::Activating { run: self.last_run };
        self.outputs.push_back(Output::Start(self.last_run));
    }

    fn stop(&mut self, by: At, urgency: Urgency, failure: Option<(Epoch, String)>) {
        if let Phase::Accepting { ticket, epoch, .. } = self.phase {
            self.given_up = Some((ticket, epoch));
        }
        self.last_run.0 += 1;
        self.phase = Phase::StandingDown { run: self.last_run, failure };
        self.outputs.push_back(Output::Stop { run: self.last_run, by, urgency });
    }

    /// Stands down by itself when the lease is over.
    fn expire(&mut self, now: At) {
        let Some(lease) = self.lease.filter(|lease| self.holds_lease() && lease.end() <= now) else { return };
        // What is isolated is not broken: its services are stopped in order.
        let urgency = if self.isolated.is_some() { Urgency::Planned } else { Urgency::Failover };
        self.give_up(now, lease.end() + self.stop_max(), urgency, "the lease ran out");
    }

    /// Stands down by itself. What is in the node's store is left as it is: nothing there makes it active again, only
    /// an edge's next [`ToNode::Activate`] does.
    fn give_up(&mut self, now: At, by: At, urgency: Urgency, cause: &str) {
        let failure = match self.phase {
            Phase::Accepting { epoch, .. } => Some((epoch, format!("{cause} before the services were started"))),
            Phase::Activating { .. } => {
                Some((self.stored.epoch, format!("{cause} while the services were being started")))
            }
            _ => None,
        };
        self.stop(by, urgency, failure);
        self.send_report(now);
    }
}

/// What the shell says.
impl Node {
    fn stored(&mut self, now: At, ticket: Ticket) {
        if let Some((_, epoch)) = self.given_up.take_if(|(awaited, _)| *awaited == ticket) {
            self.stored = Stored { epoch, active: true };
            return;
        }
        if let Some(fence) = self.fence.as_mut().filter(|fence| fence.ticket == ticket) {
            fence.durable = true;
            let Fence { epoch, urgency, .. } = *fence;
            self.stored = Stored { epoch, active: false };
            return self.stop_for_fence(now, epoch, urgency);
        }
        if let Phase::Accepting { ticket: awaited, epoch, was_active } = self.phase
            && awaited == ticket
        {
            self.stored = Stored { epoch, active: true };
            if self.fence.is_some() {
                // Overtaken by a fence whose write is still under way: nothing is started any more.
                self.phase = if was_active { Phase::Active } else { Phase::Standby };
            } else if was_active && self.condition.ready {
                self.phase = Phase::Active;
                self.arm();
                self.answer(Answer::Activated { epoch });
            } else {
                self.start();
            }
        }
    }

    fn stop_for_fence(&mut self, now: At, fenced: Epoch, urgency: Urgency) {
        // A stop that is under way already ends at least as early.
        let failure = match self.phase {
            Phase::StandingDown { .. } => return,
            // A later attempt, which was accepted while this fence was being written: it is ordered anew when it fails.
            Phase::Accepting { epoch, .. } if epoch > fenced => Some((
                epoch,
                format!("a stand-down of epoch {fenced} came to its end before the services were started"),
            )),
            _ => None,
        };
        self.stop(now + self.stop_max(), urgency, failure);
    }

    fn store_failed(&mut self, now: At, ticket: Ticket, why: &str) {
        self.given_up.take_if(|(awaited, _)| *awaited == ticket);
        if let Some(fence) = self.fence.filter(|fence| fence.ticket == ticket) {
            // Without the epoch on the disk it may not say that it stood down; it stops all the same.
            self.fence = None;
            self.answer(Answer::Failed { epoch: fence.epoch, why: format!("the epoch could not be stored: {why}") });
            return self.stop_for_fence(now, fence.epoch, fence.urgency);
        }
        if let Phase::Accepting { ticket: awaited, epoch, was_active } = self.phase
            && awaited == ticket
        {
            self.answer(Answer::Failed { epoch, why: format!("the epoch could not be stored: {why}") });
            if was_active {
                self.stop(now + self.stop_max(), Urgency::Failover, None);
                self.given_up = None;
            } else {
                self.phase = Phase::Standby;
                self.lease = None;
            }
        }
    }

    fn started(&mut self, now: At, run: Run) {
        if self.phase == (Phase::Activating { run }) {
            self.phase = Phase::Active;
            self.send_report(now);
            self.answer(Answer::Activated { epoch: self.stored.epoch });
        }
    }

    fn start_failed(&mut self, now: At, run: Run, why: String) {
        if self.phase == (Phase::Activating { run }) {
            self.stop(now + self.stop_max(), Urgency::Failover, Some((self.stored.epoch, why)));
        }
    }

    fn stopped(&mut self, now: At, run: Run) {
        let Some(failure) = self.end_of_stop(run) else { return };
        self.lease = None;
        self.condition.running = false;
        self.phase = if failure.is_some() { Phase::Failed } else { Phase::Standby };
        self.send_report(now);
        if let Some((epoch, why)) = failure {
            self.answer(Answer::Failed { epoch, why });
        }
        if let Some(fence) = self.fence.take_if(|fence| fence.durable) {
            self.answer(Answer::StoodDown { epoch: fence.epoch });
        }
    }

    fn stop_failed(&mut self, now: At, run: Run, why: &str) {
        let Some(failure) = self.end_of_stop(run) else { return };
        self.lease = None;
        self.condition.running = true;
        self.phase = Phase::Failed;
        self.send_report(now);
        let epochs = [self.fence.take().map(|fence| fence.epoch), failure.map(|(epoch, _)| epoch)];
        for epoch in epochs.into_iter().flatten() {
            self.answer(Answer::Failed { epoch, why: format!("services could not be stopped: {why}") });
        }
    }

    /// It gives the role up, and says that it has failed: who is active next is the policy's decision.
    fn broken(&mut self, now: At, why: String) {
        if self.phase == Phase::Active {
            self.stop(now + self.stop_max(), Urgency::Planned, Some((self.stored.epoch, why)));
        }
    }

    /// The failure that the stop cleaned up after, if this is the stop under way.
    #[expect(clippy::option_option, reason = "outer: is it this stop; inner: was there a failure")]
    fn end_of_stop(&mut self, run: Run) -> Option<Option<(Epoch, String)>> {
        match &mut self.phase {
            Phase::StandingDown { run: awaited, failure } if *awaited == run => Some(failure.take()),
            _ => None,
        }
    }

    fn condition_changed(&mut self, condition: Condition) {
        self.condition = condition;
        if self.condition.fit
            && let Some(epoch) = self.preparing.take()
        {
            self.answer(Answer::Prepared { epoch });
        }
    }

    fn lan_looked_at(&mut self, now: At, lan: Lan, why: String, binding: bool) {
        self.lan = lan;
        self.isolated = (lan == Lan::Isolated && binding).then_some(why);
        let begun = matches!(self.phase, Phase::Accepting { .. } | Phase::Activating { .. });
        if self.isolated.is_some() && begun {
            // Nobody believes yet that it serves.
            self.give_up(now, now + self.stop_max(), Urgency::Planned, "the node found itself isolated from its LAN");
        }
    }
}

/// Outputs.
impl Node {
    fn store(&mut self, stored: Stored) -> Ticket {
        self.last_ticket.0 += 1;
        self.outputs.push_back(Output::Store { ticket: self.last_ticket, stored });
        self.last_ticket
    }

    fn answer(&mut self, answer: Answer) {
        self.outputs.push_back(Output::Send(FromNode::Answer(answer)));
    }

    fn refuse(&mut self, epoch: Epoch, why: &str) {
        self.answer(Answer::Refused { epoch, highest: self.highest(), why: why.to_owned() });
    }

    fn send_report(&mut self, now: At) {
        if let Some(terms) = self.terms {
            self.next_report = now + terms.renew;
            self.outputs.push_back(Output::Send(FromNode::Report(self.report(now))));
        }
    }

    fn check_invariants(&self, now: At) {
        if !cfg!(debug_assertions) {
            return;
        }
        if self.holds_lease() {
            let lease = self.lease.expect("a node that runs what is exclusive has a lease");
            assert!(lease.end() > now, "a lease that is over was noticed");
            assert_eq!(lease.stamp.session, self.session, "a lease is of this life");
            assert!(self.isolated.is_none() || self.phase == Phase::Active, "T4: an isolated node starts nothing");
        }
        if matches!(self.phase, Phase::Activating { .. } | Phase::Active) && self.fence.is_none() {
            assert!(self.stored.active, "I4: a node is active only in an epoch that is on its disk");
        }
        if let Some(fence) = self.fence {
            let newest = fence.durable || fence.epoch >= self.stored.epoch;
            assert!(newest, "I3: nothing of an older epoch is written over a newer one");
        }
    }
}

#[cfg(test)]
mod tests;
