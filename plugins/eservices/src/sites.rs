//! E2: which site a session belongs to, where both serve; E3: only an operator, or a rule that he armed, moves one.

use crate::Eservices;
use crate::settings::{Placed, Scope};
use lockstep_policy::action::{Action, Alert, Level, Share, ShareRule};
use lockstep_policy::event::Sessions;
use lockstep_policy::sdk::{Actions, Period};
use lockstep_policy::{Side, Sides};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most tenants, groups and users that operators may have moved.
const MAX_MOVED: usize = 100;

/// How sessions are shared out, and what operators have moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sharing {
    given: Option<(Sides<u32>, Vec<ShareRule>)>,
    /// The action of the latest share.
    share: u64,
    /// The application's site, as an operator has moved it.
    pub(crate) application: Option<Side>,
    /// Tenants, groups and users that an operator has moved.
    pub(crate) moved: Vec<Placed>,
    /// A move of sessions is under way: to there.
    moving: Option<Side>,
    /// Operators were told that one site could not carry all sessions.
    told_of_load: Sides<bool>,
    /// The site that is first of those available, where none is configured.
    first: Option<Side>,
}

/// Why a share is given.
pub(crate) struct Moved {
    /// The site that sessions come to; none: nobody is moved.
    pub(crate) to: Option<Side>,
    pub(crate) reason: String,
    pub(crate) evidence: Vec<u64>,
    pub(crate) order: u64,
}

impl Eservices {
    /// The application's site: an operator's word, or the configuration's.
    pub(crate) fn site(&self) -> Option<Side> {
        self.sharing.application.or(self.settings.site)
    }

    /// The site of new sessions that have none of their own.
    pub(crate) fn preferred(&self) -> Side {
        self.site().or(self.sharing.first).unwrap_or(Side::A)
    }

    /// Shares sessions out as the rules and the sites are now.
    pub(crate) fn share_out(&mut self, out: &mut Actions) {
        if !self.settings.both || self.sharing.given.is_none() {
            return;
        }
        let first = self.first_available();
        let before = self.sharing.first;
        if self.site().is_some() || first == before {
            return;
        }
        self.sharing.first = first;
        let Some(side) = first.filter(|side| *side != before.unwrap_or(Side::A)) else { return };
        let why = "is now the first that is available";
        let reason = format!("E2: no site is configured, and {} {why}", self.site_name(side));
        let evidence = self.sites.iter().flat_map(|(_, site)| site.servers.iter().map(|server| server.seq));
        let evidence = evidence.max().into_iter().filter(|seq| *seq != 0).collect();
        self.share(Moved { to: None, reason, evidence, order: 0 }, out);
    }

    /// The first site in the list that is available. As long as none is known to be, the one that was.
    fn first_available(&self) -> Option<Side> {
        let available = Side::BOTH.into_iter().find(|side| self.available(*side));
        // A may still be on its way to being known: B does not come before it is known to be broken.
        match available {
            Some(Side::B) if !self.broken(Side::A) => self.sharing.first,
            Some(side) => Some(side),
            None => self.sharing.first,
        }
    }

    /// The first share of an instance.
    pub(crate) fn share_first(&mut self, out: &mut Actions) {
        if !self.settings.both {
            return;
        }
        let reason = match self.site() {
            Some(side) => format!("E2: the application's site is {}", self.site_name(side)),
            None => "E2: no site is configured: the first of the list, until more is known".to_owned(),
        };
        self.share(Moved { to: None, reason, evidence: Vec::new(), order: 0 }, out);
    }

    pub(crate) fn share(&mut self, moved: Moved, out: &mut Actions) {
        let Moved { to, reason, evidence, order } = moved;
        let side = self.preferred();
        let parts = Sides::from_fn(|of| u32::from(of == side));
        let rules = self.settings.rules(&self.sharing.moved);
        self.sharing.given = Some((parts, rules.clone()));
        self.sharing.moving = to;
        let from = to.map(Side::other);
        let window = if from.is_some() { self.settings.window } else { Duration::ZERO };
        let warning = Duration::ZERO;
        self.sharing.share =
            out.push(Action::Share(Share { parts, rules, from, window, warning, reason, evidence, order }));
    }

    /// Moves the application, or one tenant, group or user.
    pub(crate) fn move_site(&mut self, to: Side, whom: Option<(Scope, String)>, moved: Moved, out: &mut Actions) {
        match whom {
            None => self.sharing.application = Some(to),
            Some((scope, name)) => {
                let placed = &mut self.sharing.moved;
                placed.retain(|placed| (placed.scope, &placed.name) != (scope, &name));
                placed.push(Placed { scope, name, side: to });
            }
        }
        self.share(moved, out);
    }

    /// Why a tenant, group or user cannot be moved.
    pub(crate) fn movable(&self, scope: Scope, name: &str) -> Result<(), String> {
        let key = scope.name();
        if !self.settings.attributes.iter().any(|(of, _)| *of == scope) {
            return Err(format!("requests do not say their {key}: set `site_attribute.{key}`"));
        }
        let known = self.sharing.moved.iter().any(|placed| (placed.scope, placed.name.as_str()) == (scope, name));
        if self.sharing.moved.len() >= MAX_MOVED && !known {
            return Err(format!("{MAX_MOVED} are moved already: put their sites into the configuration"));
        }
        Ok(())
    }

    pub(crate) fn site_name(&self, side: Side) -> String {
        format!("{} ({side})", self.settings.names[side])
    }

    pub(crate) fn on_sessions(&mut self, sessions: &Sessions, out: &mut Actions) {
        if sessions.ended && sessions.share == self.sharing.share {
            self.end_of_move(sessions, out);
        }
        self.check_load(sessions, out);
    }

    fn end_of_move(&mut self, sessions: &Sessions, out: &mut Actions) {
        let Some(to) = self.sharing.moving.take() else { return };
        let (moved, failed, site) = (sessions.moved, sessions.failed, self.site_name(to));
        let names = if sessions.names.is_empty() { String::new() } else { format!(": {}", sessions.names.join(", ")) };
        let level = if failed == 0 { Level::Info } else { Level::Warning };
        let text = format!("E3: the move to {site} is over: {moved} sessions moved, {failed} did not come back{names}");
        out.push(Action::Alert(Alert { level, text }));
        self.clients_came(to, format!("{moved} sessions moved"));
    }

    /// E7: each site must be able to carry all.
    fn check_load(&mut self, sessions: &Sessions, out: &mut Actions) {
        let all = sessions.on.a.saturating_add(sessions.on.b);
        for side in Side::BOTH {
            let Some(capacity) = self.settings.capacity[side] else { continue };
            let much = all > capacity;
            if much && !self.sharing.told_of_load[side] {
                let site = self.site_name(side);
                let text = format!(
                    "E7: {all} sessions are open, and {site} can carry {capacity}: it could not carry all should the \
                     other site be lost"
                );
                out.push(Action::Alert(Alert { level: Level::Warning, text }));
            }
            self.sharing.told_of_load[side] = much;
        }
    }

    /// How clients come to the other site.
    pub(crate) fn spread(&self) -> String {
        format!("clients come back spread over {}", Period(self.settings.window))
    }
}
