//! F5: an operator moves sessions to a side, paced. It is the only way back.

use crate::Finesse;
use crate::look::{Asker, Purpose};
use crate::moves::Kind;
use crate::stand::Why;
use lockstep_policy::action::{Action, OrderAnswer};
use lockstep_policy::event::Order;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};

impl Finesse {
    pub(crate) fn on_order(&mut self, asked: &Order, seq: u64, at: At, out: &mut Actions) {
        let Order { order, to, .. } = *asked;
        if let Err(why) = self.possible(to) {
            let text = format!("F5: the sessions cannot be moved to {to} now: {why}");
            out.push(Action::RefuseOrder(OrderAnswer { order, text }));
            return;
        }
        if let Some(text) = self.question(to).filter(|_| !asked.confirmed) {
            out.push(Action::AskConfirmation(OrderAnswer { order, text }));
            return;
        }
        let by = if asked.by.is_empty() { "an operator".to_owned() } else { asked.by.clone() };
        self.look_again(Purpose::Order(Asker { order, seq, by, to }), at, out);
    }

    /// Why an order cannot be carried out now, as far as that is known without a second look.
    fn possible(&self, to: Side) -> Result<(), String> {
        if let Some(busy) = self.busy() {
            return Err(busy);
        }
        if self.stand.maintenance.as_ref().is_some_and(|maintenance| maintenance.side == to) {
            return Err(format!("{to} is in maintenance; end it first: maintenance stop"));
        }
        let from = to.other();
        let none_left = self.sides[from].sessions.map_or(!self.stand.holds[from], |sessions| sessions == 0);
        let there = self.stand.takes[to] && none_left;
        if there { Err(format!("there are none on {from}, and new ones go to {to} already")) } else { Ok(()) }
    }

    fn question(&self, to: Side) -> Option<String> {
        let from = to.other();
        if self.timing.ippa() {
            return Some(format!(
                "F11: phones are not moved silently: the users of {from} are signed out, and must sign in again by \
                 themselves on {to}. Move them all the same?"
            ));
        }
        self.timing.even().then(|| {
            format!(
                "F10: `distribute = \"even\"`: when the sessions of {from} have moved, new ones go to both sides in turn \
                 again. To keep {from} empty, put it in maintenance instead. Move them all the same?"
            )
        })
    }

    pub(crate) fn conclude_order(&mut self, asker: &Asker, since: At, at: At, out: &mut Actions) {
        let Asker { order, seq, by, to } = asker;
        let (order, to) = (*order, *to);
        if let Err(why_not) = self.sides[to].eligible_since(since) {
            let text = format!("F4: the sessions cannot be moved to {to} now: {why_not}");
            out.push(Action::RefuseOrder(OrderAnswer { order, text }));
            return;
        }
        let from = to.other();
        let pace = self.timing.planned(from, self.sessions_of(from));
        let reason = format!("F5: {by} asks for it; {to} is eligible (F4); {}", self.in_so_long(pace));
        self.begin_move(Kind::Order, pace, Why { reason, evidence: vec![*seq], order }, at, out);
    }
}
