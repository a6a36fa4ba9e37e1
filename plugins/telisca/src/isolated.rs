//! T4: a side that finds itself off the LAN (section 6.3.4).

use crate::Telisca;
use lockstep_policy::Side;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::Actions;

impl Telisca {
    /// Tells operators that a side has left the LAN, or has come back.
    pub(crate) fn on_lan(&self, side: Side, before: bool, out: &mut Actions) {
        let isolated = self.sides[side].isolated();
        if isolated == before {
            return;
        }
        let (level, text) = if !isolated {
            (Level::Info, format!("T4: {side} finds itself on the LAN again"))
        } else if self.active == Some(side) {
            (Level::Critical, format!("T4: {side} is active and finds itself off the LAN: its agent stands it down"))
        } else {
            (Level::Warning, format!("T4: {side} finds itself off the LAN: it cannot become active"))
        };
        out.push(Action::Alert(Alert { level, text }));
    }
}
