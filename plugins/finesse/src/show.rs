//! What operators read beside a side.

use crate::Finesse;
use crate::moves::Kind;
use lockstep_policy::Side;
use lockstep_policy::action::Action;
use lockstep_policy::sdk::Actions;

impl Finesse {
    /// Shows what has changed.
    pub(crate) fn show(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let status = self.status(side);
            if self.shown[side] != status {
                self.shown[side].clone_from(&status);
                out.push(Action::Show(side, status));
            }
        }
    }

    fn status(&self, side: Side) -> String {
        let (view, stand) = (&self.sides[side], &self.stand);
        let service = match (view.out(&self.timing), view.eligible()) {
            (Some(cause), _) => format!("Out of service: {}", cause.short),
            (None, Ok(())) => "In service".to_owned(),
            (None, Err(_)) if !view.known() => "Unknown".to_owned(),
            (None, Err(why_not)) => format!("Not eligible: {why_not}"),
        };
        let takes = if stand.takes[side] { "; takes new sessions" } else { "" };
        let maintenance = stand.maintenance.as_ref().filter(|maintenance| maintenance.side == side);
        let maintenance = maintenance.map_or("", |maintenance| {
            if maintenance.emptied { "; maintenance: may be taken down" } else { "; maintenance" }
        });
        let moving = stand.moving.as_ref().filter(|moving| moving.from == side);
        let moving = moving.map_or_else(String::new, |moving| {
            let what = if moving.kind == Kind::Failover { "failover" } else { "move" };
            format!("; {what} to {}: {}", side.other(), moving.progress())
        });
        format!("{service}{takes}{maintenance}{moving}{}", self.cti_in_words(side))
    }
}
