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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(orders: &mut Orders, now: At) -> (u64, oneshot::Receiver<SwitchAnswer>) {
        let (reply, answer) = oneshot::channel();
        (orders.take(now, "eva", reply).expect("there is room"), answer)
    }

    fn refusal(answer: &mut oneshot::Receiver<SwitchAnswer>) -> String {
        match answer.try_recv() {
            Ok(SwitchAnswer::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_that_the_policy_leaves_without_an_answer_ends_all_the_same() {
        let mut orders = Orders::default();
        let (_, mut answer) = asked(&mut orders, At::ZERO);
        let due = orders.deadline().expect("an answer is waited for");
        orders.expire(due - Duration::from_nanos(1));
        assert!(answer.try_recv().is_err());
        orders.expire(due);
        assert!(refusal(&mut answer).contains("has not answered within 5s; nothing was changed"));
        assert_eq!(orders.deadline(), None);
    }

    #[test]
    fn an_order_that_the_coordinator_has_is_waited_for_until_its_end() {
        let mut orders = Orders::default();
        let (operator, mut answer) = asked(&mut orders, At::ZERO);
        let origin = Origin { action: Some(ActionOf { life: 1, action: 7 }), operator: Some(operator) };
        let id = orders.name(origin);
        orders.expire(At::from_millis(3_600_000));
        assert!(answer.try_recv().is_err(), "a handover may take long");
        assert_eq!(orders.origin(id), origin);
        assert_eq!(orders.origin(id), Origin::default(), "an order ends once");
        orders.end(At::ZERO, operator);
        assert!(orders.complete(At::ZERO, false).is_empty(), "the first answer belongs to the record");
        assert_eq!(orders.complete(At::ZERO, true).len(), 1);
    }

    #[test]
    fn an_order_does_not_wait_for_the_first_answer_for_ever() {
        let mut orders = Orders::default();
        let (operator, _answer) = asked(&mut orders, At::ZERO);
        orders.end(At::ZERO, operator);
        let due = orders.deadline().expect("the record is waited for");
        assert_eq!(orders.complete(due, false).len(), 1);
    }

    #[test]
    fn orders_are_bounded_in_number() {
        let mut orders = Orders::default();
        let _waiting: Vec<_> = (0..ORDERS).map(|_| asked(&mut orders, At::ZERO)).collect();
        let (reply, mut answer) = oneshot::channel();
        assert_eq!(orders.take(At::ZERO, "eva", reply), None);
        assert!(refusal(&mut answer).contains("16 orders are under way already"));
    }

    #[test]
    fn restarts_end_with_the_connection_that_carried_them() {
        let mut orders = Orders::default();
        let of = |action| ActionOf { life: 1, action };
        orders.restarts.extend([(1, (Side::A, of(1))), (2, (Side::B, of(2))), (3, (Side::A, of(3)))]);
        assert_eq!(orders.lose_restarts(Side::A), [of(1), of(3)]);
        assert_eq!(orders.restarts.keys().copied().collect::<Vec<_>>(), [2]);
    }
}
