//! C12: an operator's switch, and the commands.

use crate::Cic;
use crate::attempt::Why;
use crate::monitor::Monitor;
use lockstep_policy::action::{Action, OrderAnswer, Urgency};
use lockstep_policy::event::{Command, Order, Role};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, CommandInfo, Side};

/// The right that the vendor asks for.
pub(crate) const RIGHT: &str = "remote-control";

pub(crate) const COMMANDS: &[CommandInfo] = &[
    CommandInfo::new(
        "drill",
        "",
        false,
        "Switch to the backup now, as a drill (C16): refused unless all is well and replication is current. The report \
         comes as an alert. Needs the right `remote-control`.",
    ),
    CommandInfo::new(
        "monitor",
        "",
        false,
        "Start monitoring anew: leaves Stopping and Reconnecting, and puts changed parameters in force that wait for it \
         (C13). Needs the right `remote-control`.",
    ),
    CommandInfo::new(
        "backup",
        "",
        true,
        "Confirm that a stale side was restarted by hand, so that it counts as a backup again (C10). Needs the right \
         `remote-control`.",
    ),
];

impl Cic {
    pub(crate) fn on_order(&mut self, order: &Order, seq: u64, at: At, out: &mut Actions) {
        let to = order.to;
        if !order.may(RIGHT) {
            let text = format!("C12: a switch needs the right `{RIGHT}`, which {} does not have", who(&order.by));
            out.push(Action::RefuseOrder(OrderAnswer { order: order.order, text }));
            return;
        }
        if let Err(why) = self.possible(to) {
            let text = format!("C12: the role cannot be moved to {to} now: {why}");
            out.push(Action::RefuseOrder(OrderAnswer { order: order.order, text }));
            return;
        }
        if let Some(warning) = self.warning(to).filter(|_| !order.confirmed) {
            let text = format!("C12: {warning}. Data may be lost. Switch to {to} all the same?");
            out.push(Action::AskConfirmation(OrderAnswer { order: order.order, text }));
            return;
        }
        let urgency = if self.primary_works(to) { Urgency::Planned } else { Urgency::Failover };
        let reason = format!("C12: {} asks for it", who(&order.by));
        self.stop_monitoring(out);
        self.switch(to, urgency, Why { reason, evidence: vec![seq], order: order.order }, at, out);
    }

    /// Why an order cannot be carried out now.
    pub(crate) fn possible(&self, to: Side) -> Result<(), String> {
        if self.attempts.busy() {
            return Err("a handover is under way; ask again when it has ended".to_owned());
        }
        let view = &self.sides[to];
        if self.active == Some(to) && view.word().is_none_or(|report| report.role == Role::Active) {
            return Err("it is primary already".to_owned());
        }
        view.can_take_over()?;
        match self.stale_over(to) {
            // What calls there were since is lost with it; but a primary that does not work is no better.
            Some(why) if self.primary_works(to) => {
                Err(format!("{why}. When that was done by hand, say so by the command `backup` for {to}"))
            }
            _ => Ok(()),
        }
    }

    /// Why a side that the role would move to from the other is no backup, if it is stale.
    fn stale_over(&self, to: Side) -> Option<String> {
        self.stale[to].as_ref().filter(|_| self.active == Some(to.other())).map(|_| self.why_stale(to))
    }

    /// What would be lost by a switch.
    fn warning(&self, to: Side) -> Option<String> {
        if self.active != Some(to.other()) {
            return None;
        }
        let replication = self.replication_trouble(to).map(|(trouble, _)| trouble);
        let upgrade = self.upgrade().map(|(_, ours, theirs)| {
            format!("{to} runs release {ours} and {} runs {theirs}: replication is limited", to.other())
        });
        let warnings: Vec<String> = [self.stale_over(to), replication, upgrade].into_iter().flatten().collect();
        (!warnings.is_empty()).then(|| warnings.join(", and "))
    }

    /// The side that the role is taken from works, as far as is known.
    fn primary_works(&self, to: Side) -> bool {
        let Some(primary) = self.active.filter(|active| *active != to) else { return false };
        let suspected = !matches!(self.monitor, Monitor::Off | Monitor::Watching) || self.module.failing();
        !suspected && self.sides[primary].word().is_some_and(|report| report.serving)
    }

    pub(crate) fn on_command(&mut self, command: &Command, at: At, out: &mut Actions) {
        let answer = self.obey(command, at, out);
        let order = command.order;
        out.push(match answer {
            Ok(text) => Action::AcceptOrder(OrderAnswer { order, text }),
            Err(text) => Action::RefuseOrder(OrderAnswer { order, text }),
        });
    }

    fn obey(&mut self, command: &Command, at: At, out: &mut Actions) -> Result<String, String> {
        if !command.may(RIGHT) {
            return Err(format!(
                "C12: the command needs the right `{RIGHT}`, which {} does not have",
                who(&command.by)
            ));
        }
        match command.name.as_str() {
            "drill" => {
                let to = self.drill_now(&format!("{} asks for it", who(&command.by)), at, out)?;
                Ok(format!("C16: the drill has begun: {to} takes over; its report comes as an alert"))
            }
            "monitor" => match (&self.monitor, self.active) {
                (Monitor::Off, _) | (_, None) => {
                    Err("C10: nothing is monitored now, and it begins by itself when a backup is in place".to_owned())
                }
                (_, Some(primary)) => {
                    self.start_monitoring(primary, at, out);
                    Ok(format!("monitoring of {primary} has begun anew"))
                }
            },
            "backup" => {
                let side = command.side.ok_or("say which side was restarted")?;
                match self.stale[side].take() {
                    Some(_) => Ok(format!("C10: {side} counts as a backup again, by the word of {}", who(&command.by))),
                    None => Err(format!("C10: {side} is not stale")),
                }
            }
            other => Err(format!("`{other}` is not a command of this policy: drill, monitor or backup")),
        }
    }
}

fn who(by: &str) -> &str {
    if by.is_empty() { "an operator" } else { by }
}
