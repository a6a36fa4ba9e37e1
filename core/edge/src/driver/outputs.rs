//! What the coordinator says, done in its order.

use super::feed::Reply;
use super::measure::measures;
use super::orders::Origin;
use super::{Driver, Feed};
use crate::admin::api::{Handover, SwitchAnswer};
use crate::store::KeptHandover;
use crate::{crash, remote, wall};
use lockstep_pair::coordinator::{End, OrderId, Output, Stored, Ticket};
use lockstep_pair::protocol::ToNode;
use lockstep_pair::record::{self, HandoverRecord, Phase};
use lockstep_policy::event::{Outcome, What};
use lockstep_policy::{Epoch, Level, Side};
use lockstep_wire::{FromEdge, clock};
use std::sync::Arc;

/// The latest handover, while this edge lives.
pub(super) struct Latest {
    pub when: String,
    pub record: HandoverRecord,
    /// The phases that tests have been told of.
    phases: usize,
}

impl Driver {
    /// Everything that the coordinator asks for now, and what follows from it.
    pub(super) fn carry_out(&mut self) {
        let mut entered = Vec::new();
        while let Some(output) = self.coordinator.poll() {
            if let Some(phase) = self.execute(output) {
                entered.push(phase);
            }
        }
        entered.into_iter().for_each(|phase| crash::point(name(phase)));
        self.answer_operators();
    }

    /// Does one output. A phase, when one is entered by it.
    fn execute(&mut self, output: Output) -> Option<Phase> {
        match output {
            Output::Store { ticket, stored } => self.store(ticket, stored),
            Output::Route(route) => self.proxy.set_route(route),
            Output::ServeUntil(until) => self.proxy.serve_until(until),
            Output::Send { side, message } => self.send(side, message),
            Output::Drain { side, epoch } => self.drain(side, epoch),
            Output::Cut { side, before } => {
                let cut = self.proxy.cut(side, before);
                tracing::info!(pair = self.config.name, %side, %before, cut, "connections of former epochs cut");
            }
            Output::Fence { side, epoch } => self.fence(side, epoch),
            Output::Tell(handover) => self.tell(What::Handover(handover)),
            Output::Ended { id, end } => self.ended(id, end),
            Output::Record(record) => return self.record(*record),
            Output::Alert(text) => self.notes.alert(clock::now(), Level::Critical, "coordinator", &text),
        }
        None
    }

    fn store(&self, ticket: Ticket, stored: Stored) {
        let replies = self.replies.clone();
        let answer = move |result| drop(replies.send(Reply::Stored(ticket, result)));
        self.store.put_state(&self.config.name, stored, Box::new(answer));
    }

    fn send(&mut self, side: Side, message: ToNode) {
        let Some(commands) = &self.sides[side].commands else { return };
        if let Err(why) = commands.send(FromEdge::Command(message)) {
            // Without its sending half the connection ends, and is made anew.
            tracing::warn!(pair = self.config.name, %side, why, "the agent cannot be told");
            self.sides[side].commands = None;
        }
    }

    /// Runs a side's fencing hook, and says what has become of it.
    fn fence(&self, side: Side, epoch: Epoch) {
        let Some(fence) = self.config.sides[side].fence.clone() else { return };
        let (means, replies, pair) = (Arc::clone(&self.means), self.replies.clone(), self.config.name.clone());
        tracing::warn!(pair, %side, %epoch, "the fencing hook is run");
        tokio::spawn(async move {
            let variables = remote::variables(&pair, side, epoch);
            let result = remote::call::make(&fence.call, &means, &variables).await;
            tracing::warn!(pair, %side, %epoch, ?result, "the fencing hook has ended");
            let _ = replies.send(Reply::Fenced(side, epoch, result.map(|_| ())));
        });
    }

    fn drain(&self, side: Side, epoch: Epoch) {
        let (proxy, feeds) = (Arc::clone(&self.proxy), self.feeds.clone());
        tokio::spawn(async move {
            proxy.drained(side).await;
            let _ = feeds.send(Feed::Drained(epoch)).await;
        });
    }

    fn record(&mut self, record: HandoverRecord) -> Option<Phase> {
        let now = clock::now();
        let same = self.latest.take().filter(|latest| latest.record.epoch == record.epoch);
        if same.as_ref().is_none_or(|latest| latest.record.outcome.is_none()) {
            match record.outcome {
                Some(record::Outcome::Completed) => self.handovers.completed += 1,
                Some(record::Outcome::RolledBack) => self.handovers.rolled_back += 1,
                Some(record::Outcome::NoActive) => self.handovers.no_active += 1,
                None => {}
            }
        }
        let (when, known) = match same {
            Some(latest) => (latest.when, latest.phases),
            None => (wall::before(now.since(record.began)), 0),
        };
        let entered = record.phases.last().filter(|_| record.phases.len() > known).map(|last| last.phase);
        if let Some(phase) = entered {
            tracing::info!(
                pair = self.config.name, epoch = %record.epoch, to = %record.to, phase = name(phase), "handover"
            );
        }
        self.latest = Some(Latest { when, phases: record.phases.len(), record });
        if let Some(kept) = self.kept() {
            self.store.put_handover(&self.config.name, kept);
        }
        entered
    }

    /// The latest handover with what was measured until now.
    pub(super) fn kept(&self) -> Option<KeptHandover> {
        let Latest { when, record, .. } = self.latest.as_ref()?;
        let evidence_began = record.evidence.iter().filter_map(|seq| self.notes.time_of(*seq)).min();
        let expected = self.config.policy.expected_delay;
        let measures = measures(record, evidence_began, expected, |epoch| self.proxy.hold_stats(epoch));
        Some(KeptHandover { when: when.clone(), record: record.clone(), measures })
    }

    fn ended(&mut self, id: OrderId, end: End) {
        let Origin { action, operator } = self.orders.origin(id);
        let (outcome, why) = match &end {
            End::Refused(why) => (Outcome::Refused, why.as_str()),
            End::Ended { outcome: record::Outcome::Completed, .. } => (Outcome::Done, ""),
            End::Ended { why, .. } => (Outcome::Failed, why.as_str()),
        };
        if let Some(action) = action {
            self.result(action, outcome, why);
        }
        match (operator, end) {
            (Some(operator), End::Refused(why)) => self.orders.answer(operator, SwitchAnswer::Refused(why)),
            (Some(operator), End::Ended { .. }) => self.orders.end(clock::now(), operator),
            (None, _) => {}
        }
    }

    fn answer_operators(&mut self) {
        let whole = self.latest.as_ref().is_some_and(|latest| {
            latest.record.outcome.is_some() && latest.record.phases.last().is_none_or(|last| last.ended.is_some())
        });
        for reply in self.orders.complete(clock::now(), whole) {
            // An order that has ended as a handover did has left a record.
            let Some(KeptHandover { when, record, measures }) = self.kept() else { continue };
            let handover = Handover { pair: self.config.name.clone(), when, record, measures, evidence: Vec::new() };
            let _ = reply.send(SwitchAnswer::Ended(Box::new(handover)));
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Hold => "hold",
        Phase::Drain => "drain",
        Phase::Fence => "fence",
        Phase::Activate => "activate",
        Phase::Commit => "commit",
        Phase::Settle => "settle",
    }
}
