//! What the policy asks for, given to whom it concerns.

use super::Driver;
use super::orders::{ActionOf, Origin};
use crate::admin::api::SwitchAnswer;
use lockstep_pair::coordinator::{Input, Order};
use lockstep_policy::action::{Alert, RestartService, StandDown, Switch, Urgency};
use lockstep_policy::event::Outcome;
use lockstep_policy::{Action, Side};
use lockstep_wire::{FromEdge, clock};
use serde_json::json;

/// The longest text that is shown beside a side, in characters.
const SHOWN_MAX: usize = 256;

impl Driver {
    pub(super) fn act(&mut self, of: ActionOf, action: Action) {
        self.standing.note(&action);
        match action {
            Action::Watch(watch) => {
                let servers = self.config.sides[watch.side].servers.clone();
                self.sides[watch.side].probes.remove(&watch.probe);
                if let Err(why) = self.probes.watch(watch, &servers) {
                    self.result(of, Outcome::Refused, &why);
                }
                self.share_probes();
            }
            Action::Unwatch(probe) => {
                self.probes.unwatch(probe);
                Side::BOTH.into_iter().for_each(|side| drop(self.sides[side].probes.remove(&probe)));
                self.share_probes();
            }
            Action::ProbeNow(probe) => {
                if let Err(why) = self.probes.now(probe) {
                    self.result(of, Outcome::Refused, &why);
                }
            }
            Action::SetTimer(timer, at) => {
                self.cancel_alarm(timer);
                if let Err(why) = self.seat.timers.set(timer, at) {
                    self.result(of, Outcome::Refused, &why);
                }
            }
            Action::CancelTimer(timer) => {
                self.seat.timers.cancel(timer);
                self.cancel_alarm(timer);
            }
            Action::SetAlarm(timer, minute) => {
                if let Err(why) = self.set_alarm(timer, minute) {
                    self.result(of, Outcome::Refused, &why);
                }
            }
            Action::Share(share) => self.share(of, share),
            Action::Roster(roster) => self.roster(of, &roster),
            Action::Answer(answer) => self.give_answer(of, &answer),
            Action::Unanswer(rule) => self.forget_answer(rule),
            Action::Prepare(side) => self.prepare(of, side),
            Action::Switch(switch) => self.switch(of, switch),
            Action::StandDown(order) => self.stand_down(of, order),
            Action::RestartService(order) => self.restart(of, order),
            Action::Show(side, text) => self.sides[side].shown = text.chars().take(SHOWN_MAX).collect(),
            Action::Alert(Alert { level, text }) => self.notes.alert(clock::now(), level, "policy", &text),
            Action::RefuseOrder(answer) => self.answer(answer.order, SwitchAnswer::Refused(answer.text)),
            Action::AskConfirmation(answer) => self.answer(answer.order, SwitchAnswer::Question(answer.text)),
            Action::AcceptOrder(answer) => self.answer(answer.order, SwitchAnswer::Accepted(answer.text)),
            Action::AnswerConfig(answer) => self.config_answered(answer),
            Action::ConfirmGate(order) => self.confirm_gate(of, order),
            Action::RunHook(order) => self.run_hook(of, order),
        }
    }

    pub(super) fn answer(&mut self, order: u64, answer: SwitchAnswer) {
        let said = json!({ "order": order, "answer": &answer });
        self.notes.operator(clock::now(), said);
        self.orders.answer(order, answer);
    }

    fn prepare(&mut self, of: ActionOf, side: Side) {
        if let Some(why) = self.refuses_roles() {
            return self.result(of, Outcome::Refused, why);
        }
        if self.sides[side].commands.is_none() {
            return self.result(of, Outcome::Refused, &format!("the agent of side {side} is not connected"));
        }
        self.coordinate(Input::Prepare(side));
    }

    fn switch(&mut self, of: ActionOf, switch: Switch) {
        let operator = Some(switch.order).filter(|order| *order != 0);
        let giver = operator.map(|order| self.orders.giver(order).map(|by| format!("operator {by}")));
        let by = match giver {
            Some(Some(by)) => by,
            Some(None) => return self.result(of, Outcome::Refused, "nobody waits for that order any more"),
            None => match &self.pause {
                None => "policy".to_owned(),
                Some(pause) => {
                    let why = format!("paused by {}: {}", pause.by, pause.reason);
                    return self.result(of, Outcome::Refused, &why);
                }
            },
        };
        let id = self.orders.name(Origin { action: Some(of), operator });
        let Switch { to, urgency, reason, evidence, .. } = switch;
        self.coordinate(Input::Switch(Order { id, to, urgency, reason, by, evidence, unsafe_because: None }));
    }

    fn stand_down(&mut self, of: ActionOf, order: StandDown) {
        let id = self.orders.name(Origin { action: Some(of), operator: None });
        let StandDown { side: to, reason, evidence } = order;
        let (urgency, by) = (Urgency::Failover, "policy".to_owned());
        let order = Order { id, to, urgency, reason, by, evidence, unsafe_because: None };
        self.coordinate(Input::StandDown(order));
    }

    fn restart(&mut self, of: ActionOf, order: RestartService) {
        let id = self.orders.next_restart();
        let RestartService { side, service, reason } = order;
        let Some(commands) = &self.sides[side].commands else {
            return self.result(of, Outcome::Refused, &format!("the agent of side {side} is not connected"));
        };
        match commands.send(FromEdge::RestartService { id, name: service.clone() }) {
            Ok(()) => {
                tracing::info!(pair = self.config.name, %side, service, reason, "service is restarted");
                self.orders.restarts.insert(id, (side, of));
            }
            Err(why) => self.result(of, Outcome::Failed, &why),
        }
    }
}
