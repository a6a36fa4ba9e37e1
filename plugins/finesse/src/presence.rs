//! F2's third trigger: whether the Finesse application is there for its own Notification Service. It has a probe of its
//! own, so that a password that is wrong makes this trigger blind, and does not look like a service that is down.

use crate::view::Cause;
use crate::{Finesse, probes};
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};

/// Whether a side's user `finesse` is there, as the latest answer told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Presence {
    present: Option<bool>,
    sent: Option<At>,
    seq: u64,
    /// Log-ins in a row that were refused.
    refused: u32,
    /// Operators were told that this side's presence cannot be watched.
    told: bool,
}

impl Presence {
    pub(crate) fn unavailable(&self) -> bool {
        self.present == Some(false)
    }

    pub(crate) fn out(&self) -> Option<Cause> {
        let short = "the presence of its user `finesse` is unavailable".to_owned();
        self.unavailable().then(|| Cause::new(short, "", vec![self.seq]))
    }

    /// It was asked since then, or nothing can be known.
    pub(crate) fn asked_since(&self, since: At) -> bool {
        self.present.is_none() || self.sent.is_some_and(|sent| sent >= since)
    }
}

impl Finesse {
    pub(crate) fn on_presence(&mut self, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let attempts = self.timing.notification.failures;
        let presence = &mut self.sides[result.side].presence;
        let told = result.fact("presence").filter(|_| result.verdict == Verdict::Good);
        presence.sent = Some(at - result.latency);
        presence.seq = seq;
        presence.present = told.map(|presence| presence.eq_ignore_ascii_case("available"));
        match result.verdict {
            Verdict::Good => presence.refused = 0,
            Verdict::Wrong => presence.refused = presence.refused.saturating_add(1),
            // The service is away: its own probe tells.
            Verdict::Silent | Verdict::Refused => return,
        }
        if presence.present.is_some() {
            presence.told = false;
            return;
        }
        let sees_nothing = result.verdict == Verdict::Good;
        if presence.told || !(sees_nothing || presence.refused >= attempts) {
            return;
        }
        presence.told = true;
        let detail = if result.detail.is_empty() { String::new() } else { format!(": {}", result.detail) };
        let what = if sees_nothing {
            format!("lets `notification.user` in, and does not tell the presence of the user `finesse`{detail}")
        } else {
            format!("refused {} log-ins of `notification.user` in a row{detail}", presence.refused)
        };
        let side = result.side;
        let text = format!("F2: the Notification Service of {side} {what}. The third trigger is not watched there");
        out.push(Action::Alert(Alert { level: Level::Warning, text }));
    }

    /// Whether a second look asks for it.
    pub(crate) fn watches_presence(&self, side: Side) -> bool {
        self.watches.iter().any(|watch| watch.probe == probes::presence(side))
    }
}
