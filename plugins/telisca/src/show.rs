//! What operators read beside a side: the vendor's own words (section 6.1.2).

use crate::Telisca;
use lockstep_policy::Side;
use lockstep_policy::action::Action;
use lockstep_policy::sdk::Actions;

impl Telisca {
    /// Shows what has changed.
    pub(crate) fn show(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let status = self.status(side);
            if self.shown[side] != status {
                self.shown[side] = status.to_owned();
                out.push(Action::Show(side, status.to_owned()));
            }
        }
    }

    fn status(&self, side: Side) -> &'static str {
        let view = &self.sides[side];
        if view.failing() || view.away_since().is_some() || view.isolated() {
            "Error"
        } else if view.probes.last.is_none() && view.word().is_none() {
            "Unknown"
        } else if self.active == Some(side) {
            "Active (Primary)"
        } else {
            "Standby (Backup)"
        }
    }
}
