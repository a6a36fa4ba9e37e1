//! The edge's half of the handover: one per pair.
//!
//! It owns the route, renews the active side's lease with each report, and runs one handover at a time
//! (`handover`, in the order of its phases; `setback`, when it goes wrong). After a start it first asks both agents where they are (`recovery`). It decides *how* the active
//! role moves; *when* is the policy's, whose orders come in as [`Input::Switch`].

mod contract;
mod handover;
mod order;
mod rebase;
mod recovery;
mod setback;
mod side;
mod stand_down;

pub use contract::{
    Bound, End, FenceHook, Fencing, Input, Intent, Leftover, Order, OrderId, Output, Settings, Stored, Ticket,
};

use crate::protocol::{Answer, FromNode, Report, ToNode};
use crate::record::{HandoverRecord, Outcome, Phase};
use crate::route::{Route, RouteKind};
use handover::Handover;
use lockstep_policy::event::{Role, Stage};
use lockstep_policy::{At, Epoch, Side, Sides};
use side::SideView;
use stand_down::StandDown;
use std::collections::VecDeque;
use std::time::Duration;

/// How long after a failed write it is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// The coordinator of one pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    settings: Settings,
    /// What the last write was told to make durable.
    stored: Stored,
    sides: Sides<SideView>,
    route: Route,
    /// The last [`Output::ServeUntil`].
    serve_until: At,
    state: State,
    /// The record of the last completed handover, while its first answer is waited for.
    settling: Option<(HandoverRecord, At)>,
    /// A write of a commit failed: when it is tried again.
    store_again_at: Option<At>,
    /// The epoch whose lease ran out while nobody moved the role, and whose connections have been cut for that.
    lapsed: Epoch,
    last_ticket: Ticket,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Asking both agents after a start, until then at the most.
    Recovering {
        until: At,
    },
    Settled,
    Handover(Box<Handover>),
    StandingDown(Box<StandDown>),
}

/// What `lockstep status` shows of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The highest epoch used.
    pub epoch: Epoch,
    /// The active side, and the epoch in which it became so.
    pub active: Option<(Side, Epoch)>,
    /// The route.
    pub route: Route,
    /// The handover under way: where to, and in which phase.
    pub handover: Option<(Side, Phase)>,
    /// Whether it is still asking both agents after a start.
    pub recovering: bool,
}

impl Coordinator {
    /// A coordinator that continues from what was stored. It first asks both agents.
    #[must_use]
    pub fn new(settings: Settings, stored: Stored, now: At) -> Coordinator {
        let route = Route { epoch: stored.epoch, kind: RouteKind::Hold };
        Coordinator {
            settings,
            stored,
            sides: Sides::from_fn(|side| SideView::unknown(&settings, settings.fencing[side], now)),
            route,
            serve_until: At::ZERO,
            state: State::Recovering { until: now + settings.recover },
            settling: None,
            store_again_at: None,
            lapsed: Epoch(0),
            last_ticket: Ticket(0),
            outputs: VecDeque::from([Output::Route(route)]),
        }
    }

    /// Takes one input. Outputs are then waiting in [`Coordinator::poll`].
    pub fn handle(&mut self, now: At, input: Input) {
        match input {
            Input::Tick => {}
            Input::Link { side, up } => self.linked(now, side, up),
            Input::Node { side, message: FromNode::Report(report) } => self.reported(now, side, report),
            Input::Node { side, message: FromNode::Answer(answer) } => self.answered(now, side, answer),
            Input::Switch(order) => self.switch(now, order),
            Input::StandDown(order) => self.stand_down(now, order),
            Input::Prepare(side) => self.prepare(side),
            Input::Drained { epoch } => self.drained(now, epoch),
            Input::Fenced { side, epoch, result } => self.hook_ended(side, epoch, result),
            Input::Stored(ticket) => self.store_done(now, ticket),
            Input::StoreFailed { ticket, why } => self.store_failed(now, ticket, &why),
            Input::FirstSent { epoch, at } => self.first_sent(epoch, at),
            Input::FirstAnswer { epoch, at } => self.first_answer(epoch, at),
        }
        self.pass_time(now);
        self.check_invariants(now);
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        let state = match &self.state {
            State::Recovering { until } => Some(*until),
            State::Settled => None,
            State::Handover(handover) => self.handover_deadline(handover),
            State::StandingDown(order) => self.stand_down_deadline(order),
        };
        let doubt = self.served().map(|side| self.sides[side].sure_until);
        let settle = self.settling.as_ref().map(|(_, until)| *until);
        let lapse = self.lapse().map(|(_, _, at)| at);
        [state, doubt, settle, lapse, self.store_again_at].into_iter().flatten().min()
    }

    /// How the pair stands.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            epoch: self.stored.epoch,
            active: self.stored.active,
            route: self.route,
            handover: match &self.state {
                State::Handover(handover) => Some((handover.to, handover.phase())),
                _ => None,
            },
            recovering: matches!(self.state, State::Recovering { .. }),
        }
    }

    /// The last report of a side's agent, while it is connected.
    #[must_use]
    pub fn report(&self, side: Side) -> Option<&Report> {
        self.sides[side].report.as_ref()
    }
}

/// What agents say.
impl Coordinator {
    fn linked(&mut self, now: At, side: Side, up: bool) {
        self.sides[side].link(now, up);
        if up {
            self.fence_pending(side);
            self.forget_activation(side);
        }
    }

    fn reported(&mut self, now: At, side: Side, report: Report) {
        // An edge that lost its store, or a foreign hand, may have used later epochs: never use one twice.
        self.stored.epoch = self.stored.epoch.max(report.epoch);
        self.sides[side].hear(&self.settings, now, report);
        if matches!(self.state, State::Recovering { .. }) {
            self.resolve(now, false);
        }
        self.renew(now, side);
        self.activate_pending(now, side);
    }

    /// Renews the lease of a side that has the right to be active.
    fn renew(&mut self, now: At, side: Side) {
        let Some(epoch) = self.entitlement(side) else { return };
        if self.sides[side].is_deaf() || !self.sides[side].is_in(epoch, &[Role::Active, Role::Activating]) {
            return;
        }
        if let Some(lease) = self.sides[side].lease(&self.settings, now) {
            self.sides[side].grant(&self.settings, now, epoch, lease);
            self.send(side, ToNode::Renew { epoch, lease });
        }
    }

    /// The epoch in which a side has the right to be active now. Never both sides at once.
    fn entitlement(&self, side: Side) -> Option<Epoch> {
        let active = self.stored.active.filter(|(active, _)| *active == side).map(|(_, epoch)| epoch);
        match &self.state {
            State::Recovering { .. } | State::Settled => active,
            State::Handover(handover) if handover.to == side && handover.is_activating() => Some(handover.epoch),
            State::Handover(handover) if handover.to != side && handover.is_fencing() => None,
            State::Handover(_) => active,
            State::StandingDown(order) if order.side == side => None,
            State::StandingDown(_) => active,
        }
    }

    fn answered(&mut self, now: At, side: Side, answer: Answer) {
        match answer {
            Answer::StoodDown { epoch } => self.sides[side].stood_down(epoch),
            Answer::Refused { highest, .. } => self.stored.epoch = self.stored.epoch.max(highest),
            Answer::Prepared { .. } | Answer::Activated { .. } | Answer::Failed { .. } => {}
        }
        self.handover_answered(now, side, &answer);
    }

    /// In the node's own epoch: ours may not be durable yet (I4).
    fn prepare(&mut self, side: Side) {
        let view = &self.sides[side];
        let Some(epoch) = view.report.as_ref().filter(|_| view.linked).map(|report| report.epoch) else { return };
        self.send(side, ToNode::Prepare { epoch });
    }
}

/// Time and the route.
impl Coordinator {
    fn pass_time(&mut self, now: At) {
        if let State::Recovering { until } = self.state
            && now >= until
        {
            self.resolve(now, true);
        }
        self.pass_handover_time(now);
        self.cut_when_lapsed(now);
        self.refresh_route(now);
        if self.settling.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.settle(now, "no answer was seen in time");
        }
        if self.store_again_at.is_some_and(|at| now >= at) {
            self.store_again_at = None;
            self.store();
        }
    }

    /// Whether requests still go where they went, as far as any attempt to move the role is concerned.
    fn is_undisturbed(&self) -> bool {
        match &self.state {
            State::Settled | State::StandingDown(_) => true,
            State::Handover(handover) => handover.still_serves(),
            State::Recovering { .. } => false,
        }
    }

    /// When the active side's lease will surely be over, if nobody moves the role before: the side, and its epoch.
    fn lapse(&self) -> Option<(Side, Epoch, At)> {
        let (side, epoch) = self.stored.active.filter(|(_, epoch)| *epoch > self.lapsed && self.is_undisturbed())?;
        Some((side, epoch, self.sides[side].clear_at()?))
    }

    /// Nothing exclusive runs any more at a side whose lease is surely over: what it still answers must reach nobody.
    fn cut_when_lapsed(&mut self, now: At) {
        if let Some((side, epoch, _)) = self.lapse().filter(|(_, _, at)| now >= *at) {
            self.lapsed = epoch;
            self.outputs.push_back(Output::Cut { side, before: epoch.next() });
        }
    }

    /// While nothing moves, requests go to the active side for as long as it surely is: it says that it serves, and
    /// its lease has not run out. Otherwise they wait.
    fn refresh_route(&mut self, now: At) {
        if !self.is_undisturbed() {
            return;
        }
        let (epoch, kind) = match self.stored.active {
            None => (self.stored.epoch, RouteKind::Refuse),
            Some((side, epoch)) => {
                let view = &self.sides[side];
                let sure = view.serves(epoch) && now < view.sure_until;
                (epoch, if sure { RouteKind::Serve(side) } else { RouteKind::Hold })
            }
        };
        if let RouteKind::Serve(side) = kind {
            let until = self.sides[side].sure_until;
            if self.serve_until != until {
                self.serve_until = until;
                self.outputs.push_back(Output::ServeUntil(until));
            }
        }
        self.set_route(Route { epoch, kind });
    }

    fn set_route(&mut self, route: Route) {
        if self.route != route {
            self.route = route;
            self.outputs.push_back(Output::Route(route));
        }
    }

    fn served(&self) -> Option<Side> {
        match self.route.kind {
            RouteKind::Serve(side) => Some(side),
            RouteKind::Hold | RouteKind::Refuse | RouteKind::Share => None,
        }
    }
}

/// After a commit.
impl Coordinator {
    fn first_sent(&mut self, epoch: Epoch, at: At) {
        if let Some((record, _)) = self.settling.as_mut().filter(|(record, _)| record.settles_in(epoch)) {
            record.first_sent_at.get_or_insert(at);
        }
    }

    fn first_answer(&mut self, epoch: Epoch, at: At) {
        if let Some((record, _)) = self.settling.as_mut().filter(|(record, _)| record.settles_in(epoch)) {
            record.first_answer_at.get_or_insert(at);
            self.settle(at, "");
        }
    }

    fn settle(&mut self, now: At, note: &str) {
        if let Some((mut record, _)) = self.settling.take() {
            record.end_phase(now, note);
            self.outputs.push_back(Output::Record(Box::new(record)));
        }
    }
}

/// Outputs.
impl Coordinator {
    fn send(&mut self, side: Side, message: ToNode) {
        self.outputs.push_back(Output::Send { side, message });
    }

    fn store(&mut self) -> Ticket {
        self.last_ticket.0 += 1;
        self.outputs.push_back(Output::Store { ticket: self.last_ticket, stored: self.stored.clone() });
        self.last_ticket
    }

    fn store_done(&mut self, now: At, ticket: Ticket) {
        if ticket == self.last_ticket {
            self.store_again_at = None;
        }
        self.intent_stored(now, ticket);
    }

    fn store_failed(&mut self, now: At, ticket: Ticket, why: &str) {
        if !self.intent_not_stored(now, ticket, why) && ticket == self.last_ticket {
            // The intent is durable, and both agents know the rest: after a crash recovery finds the same outcome.
            self.outputs.push_back(Output::Alert(format!("the store does not take writes: {why}")));
            self.store_again_at = Some(now + STORE_AGAIN);
        }
    }

    fn end(&mut self, ids: Vec<OrderId>, outcome: Outcome, why: &str) {
        for id in ids {
            self.outputs.push_back(Output::Ended { id, end: End::Ended { outcome, why: why.to_owned() } });
        }
    }

    fn refuse(&mut self, id: OrderId, why: String) {
        self.outputs.push_back(Output::Ended { id, end: End::Refused(why) });
    }

    fn tell(&mut self, epoch: Epoch, to: Side, stage: Stage) {
        let active = self.stored.active.map(|(side, _)| side);
        self.outputs.push_back(Output::Tell(lockstep_policy::event::Handover { epoch, to, stage, active }));
    }

    fn check_invariants(&self, now: At) {
        if !cfg!(debug_assertions) {
            return;
        }
        let entitled = Side::BOTH.map(|side| self.entitlement(side));
        assert!(entitled.iter().flatten().count() <= 1, "I1: only one side has the right to be active");
        if let Some((_, epoch)) = self.stored.active {
            assert!(epoch <= self.stored.epoch, "I4: no epoch is in use that was not stored");
        }
        if let RouteKind::Serve(side) = self.route.kind {
            assert_eq!(self.stored.active, Some((side, self.route.epoch)), "I2: the route names the active side");
            assert_eq!(self.entitlement(side), Some(self.route.epoch), "I2: the served side has the right to be");
            assert!(now < self.sides[side].sure_until, "I2: the served side's lease is sure");
        }
        if let State::Handover(handover) = &self.state
            && handover.is_activating()
        {
            let other = &self.sides[handover.to.other()];
            assert!(other.is_clear(handover.epoch, now), "I1: nobody is activated before the other side is fenced");
        }
        if !matches!(self.state, State::Settled) {
            assert!(self.deadline().is_some(), "I5: whatever is under way ends");
        }
    }
}

#[cfg(test)]
mod tests;
