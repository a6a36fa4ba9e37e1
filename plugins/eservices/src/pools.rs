//! E1: which servers of a site's pools requests may be given to; E4: what is no fault at a passive site.

use crate::Eservices;
use lockstep_policy::action::{Action, Alert, Level, Pick, Roster, Watch};
use lockstep_policy::event::{AgentReport, Connection, Link, ProbeId, ProbeResult, Role, Verdict};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Side, Sides};
use serde::{Deserialize, Serialize};

/// The number of a side's first probe; its servers' follow.
const FIRST: Sides<u32> = Sides { a: 0, b: 1_000 };

/// What is known of one site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) servers: Vec<Known>,
    /// The agent's main connection.
    pub(crate) link: Option<bool>,
    pub(crate) report: Option<Report>,
    /// The rosters as they were given, by pool.
    rosters: Vec<(String, Vec<u32>)>,
    /// What operators were told of its pools.
    told: Vec<(String, Spare)>,
}

/// What a pool can afford to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Spare {
    /// A server: N+1.
    Some,
    /// None: the last one serves.
    None,
    /// It is lost.
    Nothing,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) last: Option<Verdict>,
    bad: u32,
    /// It counts as lost, since then.
    pub(crate) lost: Option<At>,
    /// The event that says so.
    pub(crate) seq: u64,
}

/// An agent's report, as far as this policy looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) role: Role,
    pub(crate) fit: bool,
    pub(crate) waiting: String,
    pub(crate) at: At,
    pub(crate) seq: u64,
}

impl Site {
    pub(crate) fn new(servers: usize) -> Site {
        Site { servers: vec![Known::default(); servers], ..Site::default() }
    }

    /// Its agent's last report, as long as the agent is there to take it back.
    pub(crate) fn word(&self) -> Option<&Report> {
        self.report.as_ref().filter(|_| self.link == Some(true))
    }

    /// It could become active; if not, why not.
    pub(crate) fn can_take_over(&self) -> Result<(), String> {
        match self.word() {
            _ if self.link != Some(true) => Err("its agent is not connected".to_owned()),
            None => Err("its agent has not reported yet".to_owned()),
            Some(report) if !report.fit => Err("its agent does not say that it is fit".to_owned()),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn on_link(&mut self, link: Link) {
        if link.connection == Connection::Main {
            if !link.up {
                self.report = None;
            }
            self.link = Some(link.up);
        }
    }

    pub(crate) fn on_report(&mut self, report: &AgentReport, seq: u64, at: At) {
        let (role, fit, waiting) = (report.role, report.fit, report.waiting.clone());
        self.report = Some(Report { role, fit, waiting, at, seq });
    }

    /// What was seen of its servers belongs to another role.
    pub(crate) fn forget(&mut self) {
        self.servers.iter_mut().for_each(|server| *server = Known::default());
    }
}

impl Eservices {
    pub(crate) fn watch(&self, side: Side, index: usize) -> Action {
        let settings = &self.settings;
        let lost = self.sites[side].servers[index].lost.is_some() && !self.passive(side);
        Action::Watch(Watch {
            probe: probe(side, index),
            side,
            server: number(index),
            kind: settings.probe.clone(),
            interval: if lost { settings.retry } else { settings.interval },
            timeout: settings.timeout,
        })
    }

    pub(crate) fn watch_all(&self, side: Side, out: &mut Actions) {
        for index in 0..self.settings.servers[side].len() {
            out.push(self.watch(side, index));
        }
    }

    /// The servers of a side are looked at anew, now.
    pub(crate) fn look_afresh(&mut self, side: Side, out: &mut Actions) {
        self.sites[side].forget();
        self.watch_all(side, out);
    }

    pub(crate) fn on_probe(&mut self, result: &ProbeResult, seq: u64, at: At, out: &mut Actions) {
        let side = result.side;
        let Some(index) = (result.server as usize).checked_sub(1) else { return };
        let failures = self.settings.failures;
        // E4: at a site that is to be passive nothing listens, and that is no reason to ask more or less often.
        let passive = self.passive(side);
        let Some(server) = self.sites[side].servers.get_mut(index) else { return };
        server.last = Some(result.verdict);
        server.seq = seq;
        let was_lost = server.lost.is_some();
        if result.verdict == Verdict::Good {
            (server.bad, server.lost) = (0, None);
        } else {
            server.bad = server.bad.saturating_add(1);
            if server.bad >= failures && server.lost.is_none() {
                server.lost = Some(at);
            }
        }
        if server.lost.is_some() != was_lost && !passive && self.settings.retry != self.settings.interval {
            out.push(self.watch(side, index));
        }
    }

    /// No request is to reach this site: its proxies do not listen.
    pub(crate) fn passive(&self, side: Side) -> bool {
        !self.settings.both && self.active != Some(side)
    }

    /// Tells the edge whom requests may be given to, where that has changed.
    pub(crate) fn give_rosters(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let rosters: Vec<(String, Vec<u32>)> = self
                .settings
                .pools(side)
                .into_iter()
                .map(|pool| (pool.to_owned(), self.eligible(side, pool)))
                .collect();
            for (pool, servers) in rosters.iter().filter(|roster| !self.sites[side].rosters.contains(roster)) {
                let (pool, servers) = (pool.clone(), servers.clone());
                out.push(Action::Roster(Roster { side, pool, pick: Pick::Shuffle, servers }));
            }
            self.sites[side].rosters = rosters;
        }
    }

    /// The servers of a pool that requests may be given to: those that are not lost. One of which nothing is known is
    /// among them: it costs a client one attempt, for the edge goes on to the next by itself. Of a passive site all: none
    /// is lost by not listening. When all are lost, those that were only silent: an edge that hears nobody may be at
    /// fault itself.
    fn eligible(&self, side: Side, pool: &str) -> Vec<u32> {
        let passive = self.passive(side);
        let numbers = |fits: &dyn Fn(&Known) -> bool| -> Vec<u32> {
            self.of_pool(side, pool).filter(|(_, server)| fits(server)).map(|(index, _)| number(index)).collect()
        };
        let working = numbers(&|server| passive || server.lost.is_none());
        if working.is_empty() { numbers(&|server| server.last == Some(Verdict::Silent)) } else { working }
    }

    /// How many servers of a pool are not lost.
    pub(crate) fn working(&self, side: Side, pool: &str) -> usize {
        self.of_pool(side, pool).filter(|(_, server)| server.lost.is_none()).count()
    }

    /// Tells operators when a pool that serves has no server to spare, or none at all.
    pub(crate) fn watch_over_pools(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            if self.passive(side) {
                self.sites[side].told.clear();
                continue;
            }
            let pools = self.settings.pools(side);
            let now: Vec<(String, Spare)> =
                pools.iter().map(|pool| ((*pool).to_owned(), self.spare(side, pool))).collect();
            for (pool, spare) in now.iter().filter(|now| !self.sites[side].told.contains(now)) {
                let before =
                    self.sites[side].told.iter().find(|(of, _)| of == pool).map_or(Spare::Some, |(_, spare)| *spare);
                let site = self.site_name(side);
                let named = if pool.is_empty() { site } else { format!("pool `{pool}` of {site}") };
                let (level, text) = match spare {
                    Spare::Nothing => (Level::Critical, format!("E1: no server of {named} is left")),
                    Spare::None => (Level::Warning, format!("E1: {named} has one server left, and none to spare")),
                    Spare::Some if before == Spare::Some => continue,
                    Spare::Some => (Level::Info, format!("E1: {named} has servers to spare again")),
                };
                out.push(Action::Alert(Alert { level, text }));
            }
            self.sites[side].told = now;
        }
    }

    fn spare(&self, side: Side, pool: &str) -> Spare {
        match (self.working(side, pool), self.of_pool(side, pool).count()) {
            (0, _) => Spare::Nothing,
            // One that never had another is the lint's business.
            (1, all) if all > 1 => Spare::None,
            _ => Spare::Some,
        }
    }

    pub(crate) fn of_pool<'a>(&'a self, side: Side, pool: &'a str) -> impl Iterator<Item = (usize, &'a Known)> {
        let pools = self.settings.servers[side].iter().map(|server| server.pool.as_str());
        let known = self.sites[side].servers.iter().enumerate().zip(pools);
        known.filter(move |(_, of)| *of == pool).map(|(server, _)| server)
    }

    /// Each of its pools has a server that is known to answer.
    pub(crate) fn available(&self, side: Side) -> bool {
        let answers = |pool: &str| self.of_pool(side, pool).any(|(_, server)| server.last == Some(Verdict::Good));
        let pools = self.settings.pools(side);
        !pools.is_empty() && pools.into_iter().all(answers)
    }

    /// One of its pools has no server left.
    pub(crate) fn broken(&self, side: Side) -> bool {
        self.settings.pools(side).into_iter().any(|pool| self.working(side, pool) == 0)
    }
}

pub(crate) fn probe(side: Side, index: usize) -> ProbeId {
    ProbeId(FIRST[side] + number(index))
}

/// Servers are counted from 1.
fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}
