//! E3: rules that an operator arms: a site that cannot be reached for long enough is left without asking again.

use crate::Eservices;
use crate::moves::Why;
use crate::sites::Moved;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{At, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most rules at a time.
const MAX: usize = 16;

/// The armed rules. Each fires once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Armed {
    rules: Vec<ArmedRule>,
}

/// All servers of a pool of the active site lost for so long: move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmedRule {
    /// The pool's name; `any` stands for any.
    pub(crate) pool: String,
    pub(crate) patience: Duration,
    /// It starts the runbook, instead of moving at once.
    pub(crate) runbook: bool,
    pub(crate) by: String,
    /// Operators were told why it cannot fire.
    told: bool,
}

impl ArmedRule {
    pub(crate) fn text(&self) -> String {
        let pool = if self.pool == "any" { "any pool".to_owned() } else { format!("pool `{}`", self.pool) };
        let then = if self.runbook { "the runbook starts" } else { "it is left for the other site" };
        format!("when all servers of {pool} of the active site are lost for {}, {then}", Period(self.patience))
    }
}

impl Armed {
    pub(crate) fn rules(&self) -> &[ArmedRule] {
        &self.rules
    }

    /// Another site is active: the rules stay, and wait anew.
    pub(crate) fn begin_anew(&mut self) {
        self.rules.iter_mut().for_each(|rule| rule.told = false);
    }

    /// What was disarmed.
    pub(crate) fn disarm(&mut self, pool: &str) -> Vec<ArmedRule> {
        let (gone, kept) = self.rules.drain(..).partition(|rule| pool.is_empty() || rule.pool == pool);
        self.rules = kept;
        gone
    }
}

impl Eservices {
    /// `POOL TIME [runbook]`.
    pub(crate) fn arm(&mut self, argument: &str, by: &str) -> Result<String, String> {
        let usage = "say `arm POOL TIME` or `arm POOL TIME runbook`, as in `arm any 5m`";
        let (body, runbook) = match argument.trim().strip_suffix("runbook") {
            Some(body) => (body.trim_end(), true),
            None => (argument.trim(), false),
        };
        let (pool, time) = body.split_once(char::is_whitespace).ok_or(usage)?;
        let patience = period(time.trim()).ok_or_else(|| format!("`{}` is no length of time: {usage}", time.trim()))?;
        if patience < Duration::from_secs(1) || patience > Duration::from_secs(24 * 3_600) {
            return Err(format!("{} is out of range: from 1s to 24h", Period(patience)));
        }
        let pools = self.settings.pools(Side::A).into_iter().chain(self.settings.pools(Side::B));
        if pool != "any" && !pools.clone().any(|known| known == pool) {
            let mut pools: Vec<&str> = pools.filter(|pool| !pool.is_empty()).collect();
            pools.sort_unstable();
            pools.dedup();
            return Err(format!("no site has a pool `{pool}`; there are: any {}", pools.join(" ")));
        }
        self.armed.disarm(pool);
        if self.armed.rules.len() >= MAX {
            return Err(format!("{MAX} rules are armed already: disarm one"));
        }
        let (pool, by) = (pool.to_owned(), by.to_owned());
        let rule = ArmedRule { pool, patience, runbook, by, told: false };
        let text = format!("E3: armed: {}. It fires once; `disarm` takes it back", rule.text());
        self.armed.rules.push(rule);
        Ok(text)
    }

    /// The site that armed rules look at.
    fn watched_site(&self) -> Option<Side> {
        if self.settings.both { Some(self.preferred()) } else { self.active }
    }

    pub(crate) fn fire_armed_rules(&mut self, at: At, out: &mut Actions) {
        let Some(side) = self.watched_site().filter(|_| !self.moves.busy() && !self.runbook_runs()) else { return };
        let due = self.armed.rules.iter().position(|rule| {
            self.lost_since(side, &rule.pool).is_some_and(|(since, _)| at.since(since) >= rule.patience)
        });
        let Some(index) = due else { return };
        let rule = self.armed.rules[index].clone();
        let to = side.other();
        if let Err(why_not) = self.could_move_to(to) {
            let armed = &mut self.armed.rules[index];
            if !armed.told {
                armed.told = true;
                let (text, to) = (rule.text(), self.site_name(to));
                let text = format!("E3: the armed rule would fire ({text}), but {to} cannot take over: {why_not}");
                out.push(Action::Alert(Alert { level: Level::Critical, text }));
            }
            return;
        }
        self.armed.rules.remove(index);
        let Some((since, evidence)) = self.lost_since(side, &rule.pool) else { return };
        let time = Period(Duration::from_millis(u64::try_from(at.since(since).as_millis()).unwrap_or(u64::MAX)));
        let which = if rule.pool == "any" { "a pool".to_owned() } else { format!("pool `{}`", rule.pool) };
        let (by, site) = (&rule.by, self.site_name(side));
        let reason =
            format!("E3: all servers of {which} of {site} have been lost for {time}, as the rule says that {by} armed");
        out.push(Action::Alert(Alert { level: Level::Critical, text: reason.clone() }));
        if rule.runbook {
            self.begin_runbook(to, &format!("the rule that {by} armed"), at);
        } else if self.settings.both {
            self.move_site(to, None, Moved { to: Some(to), reason, evidence, order: 0 }, out);
        } else {
            self.switch(to, Why { reason, evidence, order: 0, told: true }, at, out);
        }
    }

    /// Since when all servers of a pool are lost, and by which events.
    fn lost_since(&self, side: Side, pool: &str) -> Option<(At, Vec<u64>)> {
        let pools = self.settings.pools(side);
        let lost = pools.into_iter().filter(|of| pool == "any" || *of == pool).filter_map(|pool| {
            let servers = self.of_pool(side, pool).map(|(_, server)| (server.lost, server.seq));
            let servers: Vec<(Option<At>, u64)> = servers.collect();
            let since: Option<Vec<At>> = servers.iter().map(|(lost, _)| *lost).collect();
            let since = since?.into_iter().max()?;
            Some((since, servers.into_iter().map(|(_, seq)| seq).take(16).collect()))
        });
        lost.min_by_key(|(since, _)| *since)
    }

    /// Why a site cannot be moved to.
    pub(crate) fn could_move_to(&self, to: Side) -> Result<(), String> {
        if !self.settings.both {
            return self.sites[to].can_take_over();
        }
        if self.available(to) {
            return Ok(());
        }
        let dead: Vec<&str> = self.settings.pools(to).into_iter().filter(|pool| self.working(to, pool) == 0).collect();
        Err(match dead.first() {
            Some(&"") => "none of its servers can be reached".to_owned(),
            Some(pool) => format!("no server of its pool `{pool}` can be reached"),
            None => "not all of its pools have answered yet".to_owned(),
        })
    }

    pub(crate) fn armed_deadline(&self) -> Option<At> {
        let side = self.watched_site()?;
        let due = self.armed.rules.iter().filter_map(|rule| {
            let (since, _) = self.lost_since(side, &rule.pool)?;
            Some(since + rule.patience)
        });
        due.min()
    }
}

fn period(text: &str) -> Option<Duration> {
    serde_json::from_value::<Period>(serde_json::Value::String(text.to_owned())).ok().map(|period| period.0)
}
