//! Who waits for what: operators for the end of their orders, the policy for the results of its actions.

use crate::admin::api::SwitchAnswer;
use lockstep_pair::coordinator::OrderId;
use lockstep_policy::{At, Side};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// Orders of operators that may be under way at once.
const ORDERS: usize = 16;

/// A policy that works answers an order at once.
const POLICY_ANSWER: Duration = Duration::from_secs(5);

/// So long after its end an order's answer waits for the handover's first good answer, which belongs to its record.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// An action of one life of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ActionOf {
    pub life: u64,
    pub action: u64,
}

/// Who gave an order to the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub action: Option<ActionOf>,
    pub operator: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    by: String,
    reply: oneshot::Sender<SwitchAnswer>,
    /// The policy must have answered by then; none when it has.
    until: Option<At>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    last_operator: u64,
    last_order: u64,
    last_restart: u64,
    waiting: BTreeMap<u64, Waiting>,
    origins: BTreeMap<OrderId, Origin>,
    /// Ended, but for the record.
    ended: Vec<(oneshot::Sender<SwitchAnswer>, At)>,
    /// Services that are being restarted for the policy.
    pub restarts: BTreeMap<u64, (Side, ActionOf)>,
}

impl Orders {
    /// Takes an operator's order; its number. It is answered when there are too many.
    pub fn take(&mut self, now: At, by: &str, reply: oneshot::Sender<SwitchAnswer>) -> Option<u64> {
        if self.waiting.len() >= ORDERS {
            let _ = reply.send(SwitchAnswer::Refused(format!("{ORDERS} orders are under way already")));
            return None;
        }
        self.last_operator += 1;
        let until = Some(now + POLICY_ANSWER);
        self.waiting.insert(self.last_operator, Waiting { by: by.to_owned(), reply, until });
        Some(self.last_operator)
    }

    /// Who gave an operator's order that still waits.
    pub fn giver(&self, operator: u64) -> Option<&str> {
        self.waiting.get(&operator).map(|waiting| waiting.by.as_str())
    }

    /// An order for the coordinator, by somebody.
    pub fn name(&mut self, origin: Origin) -> OrderId {
        self.last_order += 1;
        let id = OrderId(self.last_order);
        self.origins.insert(id, origin);
        if let Some(waiting) = origin.operator.and_then(|operator| self.waiting.get_mut(&operator)) {
            waiting.until = None;
        }
        id
    }

    /// A number for a service's restart.
    pub fn next_restart(&mut self) -> u64 {
        self.last_restart += 1;
        self.last_restart
    }

    /// The restarts that are under way at a side are answered no more.
    pub fn lose_restarts(&mut self, side: Side) -> Vec<ActionOf> {
        let restarts = std::mem::take(&mut self.restarts);
        let (lost, kept): (Vec<_>, Vec<_>) = restarts.into_iter().partition(|(_, (of, _))| *of == side);
        self.restarts = kept.into_iter().collect();
        lost.into_iter().map(|(_, (_, action))| action).collect()
    }

    /// Who gave an order that has ended.
    pub fn origin(&mut self, id: OrderId) -> Origin {
        self.origins.remove(&id).unwrap_or_default()
    }

    /// Answers an operator's order.
    pub fn answer(&mut self, operator: u64, answer: SwitchAnswer) {
        if let Some(waiting) = self.waiting.remove(&operator) {
            let _ = waiting.reply.send(answer);
        }
    }

    /// An operator's order has ended as the handover did: it is answered with the record, as soon as that is whole.
    pub fn end(&mut self, now: At, operator: u64) {
        if let Some(waiting) = self.waiting.remove(&operator) {
            self.ended.push((waiting.reply, now + FIRST_ANSWER));
        }
    }

    /// Orders that are to be answered with the record now.
    pub fn complete(&mut self, now: At, record_is_whole: bool) -> Vec<oneshot::Sender<SwitchAnswer>> {
        let (due, waiting) =
            std::mem::take(&mut self.ended).into_iter().partition(|(_, until)| record_is_whole || now >= *until);
        self.ended = waiting;
        due.into_iter().map(|(reply, _): (_, At)| reply).collect()
    }

    /// Orders that the policy has left without an answer.
    pub fn expire(&mut self, now: At) {
        let late = |waiting: &Waiting| waiting.until.is_some_and(|until| now >= until);
        let expired: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| late(waiting)).map(|(order, _)| *order).collect();
        for order in expired {
            let why = format!("the policy has not answered within {POLICY_ANSWER:?}; nothing was changed");
            self.answer(order, SwitchAnswer::Refused(why));
        }
    }

    /// When there is something to do without any event.
    pub fn deadline(&self) -> Option<At> {
        let unanswered = self.waiting.values().filter_map(|waiting| waiting.until);
        unanswered.chain(self.ended.iter().map(|(_, until)| *until)).min()
    }

    /// Whether the coordinator was given an order by an action that has not ended.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.origins.is_empty() && self.ended.is_empty()
    }
}
