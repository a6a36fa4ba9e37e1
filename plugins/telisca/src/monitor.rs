//! T11: a balancer that checks the pair at this edge is answered as the vendor's own servers would answer it.

use crate::config::Config;
use lockstep_policy::action::{Action, Answer, When};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{Side, Sides};
use serde::{Deserialize, Serialize};

/// Numbers of answers that are for one side: of several that apply the lowest counts, so the side comes first, then
/// the name, then the pair.
const BY_QUERY: Sides<u32> = Sides { a: 1, b: 3 };
const BY_NAME: Sides<u32> = Sides { a: 5, b: 7 };
const OF_THE_PAIR: u32 = 9;
const ALIVE: u32 = 12;

/// What the answers are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MonitorPage {
    pub(crate) path: String,
    /// The names by which a balancer asks for a side.
    pub(crate) names: Sides<Option<String>>,
}

impl MonitorPage {
    /// From the parameters; refuses one name for both sides.
    pub(crate) fn new(config: &Config) -> Result<MonitorPage, String> {
        let names = Sides { a: config.name_a.clone(), b: config.name_b.clone() };
        if let (Some(a), Some(b)) = (&names.a, &names.b)
            && a.eq_ignore_ascii_case(b)
        {
            return Err(format!("`name_b = \"{b}\"` is `name_a` too; valid: a name of its own for each side"));
        }
        Ok(MonitorPage { path: config.monitor_path.clone(), names })
    }

    pub(crate) fn declare(&self, out: &mut Actions) {
        let answer = |rule, query: &str, host: &str, when, body: &str| {
            Action::Answer(Answer {
                rule,
                path: self.path.clone(),
                query: query.to_owned(),
                host: host.to_owned(),
                when,
                status: 200,
                content_type: "text/plain".to_owned(),
                body: body.to_owned(),
            })
        };
        for side in Side::BOTH {
            let query = format!("mod=FT&side={side}");
            out.push(answer(BY_QUERY[side], &query, "", When::Serves(side), "ACTIVE"));
            out.push(answer(BY_QUERY[side] + 1, &query, "", When::ServesNot(side), "STANDBY"));
        }
        for (side, name) in self.names.iter() {
            if let Some(name) = name {
                out.push(answer(BY_NAME[side], "mod=FT", name, When::Serves(side), "ACTIVE"));
                out.push(answer(BY_NAME[side] + 1, "mod=FT", name, When::ServesNot(side), "STANDBY"));
            }
        }
        // Of the pair: this edge has an active side behind it, or none.
        out.push(answer(OF_THE_PAIR, "mod=FT", "", When::Serves(Side::A), "ACTIVE"));
        out.push(answer(OF_THE_PAIR + 1, "mod=FT", "", When::Serves(Side::B), "ACTIVE"));
        out.push(answer(OF_THE_PAIR + 2, "mod=FT", "", When::Always, "STANDBY"));
        out.push(answer(ALIVE, "mod=NONE", "", When::Always, "OK"));
        out.push(answer(ALIVE + 1, "mod=IPSWS", "", When::Always, "IPSWS=OK"));
    }

    /// Replaces what was declared for another page.
    pub(crate) fn declare_anew(&self, before: &MonitorPage, out: &mut Actions) {
        if self == before {
            return;
        }
        for (side, name) in before.names.iter() {
            if name.is_some() && self.names[side].is_none() {
                out.push(Action::Unanswer(BY_NAME[side]));
                out.push(Action::Unanswer(BY_NAME[side] + 1));
            }
        }
        self.declare(out);
    }
}
