//! What operators ask.

use super::Driver;
use super::feed::{Ask, Reply};
use super::orders::Origin;
use crate::admin::api::{CommandOrder, Maintenance, Pause, SwitchAnswer, SwitchOrder};
use lockstep_pair::coordinator::{Input, Order};
use lockstep_policy::Side;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{self, What};
use lockstep_wire::clock;
use serde_json::json;
use tokio::sync::oneshot;

impl Driver {
    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Status(reply) => drop(reply.send(self.status())),
            Ask::Latest(reply) => drop(reply.send(self.kept())),
            Ask::Switch(order, rights, reply) => self.order(order, rights, reply),
            Ask::Command(order, rights, reply) => self.command(order, rights, reply),
            Ask::ConfirmGate(order, reply) => self.open_gate(order, reply),
            Ask::Pause(pause, by, reply) => self.pause(pause, &by, reply),
            Ask::Maintenance(wanted, by, reply) => self.maintain(wanted, &by, reply),
            Ask::Manner(manner, reply) => {
                self.proxy.set_manner(*manner);
                let _ = reply.send(());
            }
            Ask::Leave(reply) => self.leave(reply),
            Ask::Policy(policy, reply) => self.change_policy(*policy, reply),
            Ask::Shadow(Some(wanted), by, reply) => self.begin_shadow(*wanted, by, reply),
            Ask::Shadow(None, by, reply) => drop(reply.send(self.end_shadow(&by))),
            Ask::ShadowStatus(reply) => drop(reply.send(self.shadow_status())),
            Ask::Promote(back, by, reply) => self.promote(back, by, reply),
        }
    }

    /// Between two handovers only: what another driver finds in the store is then all that there is to know.
    fn leave(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        let view = self.coordinator.view();
        let under_way = match view.handover {
            Some((to, _)) => Some(format!("a handover to side {to} is under way")),
            None if view.recovering => Some("it still asks its agents how they are".to_owned()),
            None if self.changing.is_some() || self.promotion.is_some() => {
                Some("a change of its policy is under way".to_owned())
            }
            None => None,
        };
        self.leaves = under_way.is_none();
        let _ = reply.send(under_way.map_or(Ok(()), Err));
    }

    /// The policy answers an operator's order; when it cannot, the operator's word is enough.
    fn order(&mut self, order: SwitchOrder, rights: Vec<String>, reply: oneshot::Sender<SwitchAnswer>) {
        let now = clock::now();
        let SwitchOrder { to, confirmed, unsafe_because, by } = order;
        let Some(number) = self.orders.take(now, &by, reply) else { return };
        self.notes.operator(
            now,
            json!({
                "order": number, "switch": to, "confirmed": confirmed, "unsafe_because": &unsafe_because, "by": by
            }),
        );
        if let Some(reason) = unsafe_because {
            return self.insist(number, to, reason, &by);
        }
        if self.seat.is_working(now) {
            return self.tell(What::Order(event::Order { order: number, to, confirmed, by, rights }));
        }
        let id = self.orders.name(Origin { action: None, operator: Some(number) });
        let order = Order {
            id,
            to,
            urgency: Urgency::Planned,
            reason: match self.seat.stand_in() {
                Some(policy) => format!("ordered while `{policy}` stands in for the policy"),
                None => "ordered while the policy does not work".to_owned(),
            },
            by: format!("operator {by}"),
            evidence: Vec::new(),
            unsafe_because: None,
        };
        self.coordinate(Input::Switch(order));
    }

    /// A person's word that the other side does not run is not for the policy to weigh.
    fn insist(&mut self, operator: u64, to: Side, reason: String, by: &str) {
        let order = Order {
            id: self.orders.name(Origin { action: None, operator: Some(operator) }),
            to,
            urgency: Urgency::Failover,
            reason: format!("unsafe: {reason}"),
            by: format!("operator {by}"),
            evidence: Vec::new(),
            unsafe_because: Some(reason),
        };
        self.coordinate(Input::Switch(order));
    }

    /// The policy answers one of its own commands; nobody else could.
    fn command(&mut self, command: CommandOrder, rights: Vec<String>, reply: oneshot::Sender<SwitchAnswer>) {
        let now = clock::now();
        let CommandOrder { name, side, argument, confirmed, by } = command;
        let Some(order) = self.orders.take(now, &by, reply) else { return };
        let said =
            json!({ "order": order, "command": name, "side": side, "argument": argument, "confirmed": confirmed });
        self.notes.operator(now, json!({ "by": by, "said": said }));
        let commands = self.config.policy.plugin.commands();
        if !commands.iter().any(|known| known.name == name) {
            let known: Vec<&str> = commands.iter().map(|known| known.name.as_ref()).collect();
            let known =
                if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
            let why = format!("policy `{}` has no command \"{name}\"; {known}", self.config.policy.plugin.id());
            return self.orders.answer(order, SwitchAnswer::Refused(why));
        }
        if self.seat.is_working(now) {
            return self.tell(What::Command(event::Command { order, name, side, argument, confirmed, by, rights }));
        }
        let why = "the policy does not work now, and nobody else knows its commands: see `lockstep status`";
        self.orders.answer(order, SwitchAnswer::Refused(why.to_owned()));
    }

    fn pause(&mut self, pause: Option<Pause>, by: &str, reply: oneshot::Sender<Result<Option<Pause>, String>>) {
        self.notes.operator(clock::now(), json!({ "pause": &pause, "by": by }));
        let replies = self.replies.clone();
        let wanted = pause.clone();
        let answer = move |result| drop(replies.send(Reply::Paused(wanted, result, reply)));
        self.store.put_pause(&self.config.name, pause, Box::new(answer));
    }

    /// Durable before clients hear of it: what a restart finds is what they were told.
    fn maintain(
        &mut self,
        wanted: Option<Maintenance>,
        by: &str,
        reply: oneshot::Sender<Result<Option<Maintenance>, String>>,
    ) {
        self.notes.operator(clock::now(), json!({ "maintenance": &wanted, "by": by }));
        let replies = self.replies.clone();
        let stored = wanted.clone();
        let answer = move |result| drop(replies.send(Reply::Maintained(wanted, result, reply)));
        self.store.put_maintenance(&self.config.name, stored, Box::new(answer));
    }

    pub(super) fn maintained(
        &mut self,
        wanted: Option<Maintenance>,
        result: Result<(), String>,
        reply: oneshot::Sender<Result<Option<Maintenance>, String>>,
    ) {
        let answer = result.map(|()| {
            self.proxy.set_maintenance(wanted.as_ref().map(|begun| begun.text.clone()));
            self.maintenance = wanted.clone();
            wanted
        });
        let _ = reply.send(answer.map_err(|why| format!("it could not be stored, and nothing was changed: {why}")));
    }

    pub(super) fn paused(
        &mut self,
        pause: Option<Pause>,
        result: Result<(), String>,
        reply: oneshot::Sender<Result<Option<Pause>, String>>,
    ) {
        let answer = result.map(|()| {
            self.pause = pause.clone();
            pause
        });
        let _ = reply.send(answer.map_err(|why| format!("it could not be stored, and nothing was changed: {why}")));
    }
}
