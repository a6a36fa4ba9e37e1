//! Another configuration, while the pair is at work.

use crate::Eservices;
use crate::pools::{Site, probe};
use crate::settings::{Placed, Settings};
use crate::sites::Moved;
use lockstep_policy::action::{Action, Alert, ConfigAnswer, Level, Pending};
use lockstep_policy::event::ConfigChange;
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Setup, Side, Sides};

impl Eservices {
    pub(crate) fn on_config(&mut self, change: &ConfigChange, out: &mut Actions) {
        let change_number = change.change;
        let mut fresh = match fresh(&change.setup) {
            Ok(fresh) => fresh,
            Err(refused) => {
                let answer = ConfigAnswer { change: change_number, refused, pending: Vec::new() };
                out.push(Action::AnswerConfig(answer));
                return;
            }
        };
        let mut pending = Vec::new();
        if self.keep_how_sites_run(&mut fresh) {
            pending.push(waits("sites", "the edge's next start"));
        }
        if !fresh.both && fresh.site != self.settings.site && self.epoch.0 != 0 {
            pending.push(waits("site", "an operator's move of the site"));
        }
        out.push(Action::AnswerConfig(ConfigAnswer { change: change_number, refused: String::new(), pending }));
        self.take(fresh, out);
    }

    fn take(&mut self, fresh: Settings, out: &mut Actions) {
        let was = self.site();
        let before = std::mem::replace(&mut self.settings, fresh);
        self.fit_sites();
        if self.started.is_none() {
            return;
        }
        let settings = &self.settings;
        let same_probes = (&settings.probe, settings.interval, settings.timeout, settings.retry)
            == (&before.probe, before.interval, before.timeout, before.retry);
        for side in Side::BOTH {
            let (now, then) = (&self.settings.servers[side], &before.servers[side]);
            if now == then && same_probes {
                continue;
            }
            for index in now.len()..then.len() {
                out.push(Action::Unwatch(probe(side, index)));
            }
            if now == then { self.watch_all(side, out) } else { self.look_afresh(side, out) }
        }
        self.take_sites(&before, was, out);
    }

    /// E2, E6: the option has changed, and is read afresh: who belongs to another site now is moved there.
    fn take_sites(&mut self, before: &Settings, was: Option<Side>, out: &mut Actions) {
        let settings = &self.settings;
        let ours = (settings.site, &settings.placed, &settings.attributes);
        if !settings.both || ours == (before.site, &before.placed, &before.attributes) {
            return;
        }
        let moved = |placed: &&Placed| !before.placed.contains(placed);
        let mut to: Vec<Side> = settings.placed.iter().filter(moved).map(|placed| placed.side).collect();
        // What is written there now is the operators' latest word.
        self.sharing.application = None;
        self.sharing.moved.clear();
        to.extend(self.site().filter(|site| was != Some(*site)));
        // Sessions are moved one way at a time: most of them with the application.
        let one_way = to.last().copied();
        let also = to.iter().any(|side| Some(*side) != one_way);
        let reason = "E3: the configured sites have changed".to_owned();
        self.share(Moved { to: one_way, reason, evidence: Vec::new(), order: 0 }, out);
        if let Some(side) = one_way.filter(|_| also) {
            let (site, other) = (self.site_name(side), self.site_name(side.other()));
            let text = format!(
                "E3: by the changed configuration some sessions move to {site} now; those that belong to {other} go there \
                 when they connect anew"
            );
            out.push(Action::Alert(Alert { level: Level::Info, text }));
        }
    }

    /// As many servers are known as there are.
    pub(crate) fn fit_sites(&mut self) {
        for side in Side::BOTH {
            let count = self.settings.servers[side].len();
            self.sites[side].servers.resize_with(count, Default::default);
        }
    }

    /// These parameters with the state of before.
    pub(crate) fn with_state_of(self, before: Eservices) -> Eservices {
        let mut settings = self.settings;
        let mut now = before;
        now.keep_how_sites_run(&mut settings);
        now.settings = settings;
        now.fit_sites();
        now
    }

    /// Leases and handovers come or go with it: only the edge's next start changes it. Whether it is to be changed.
    fn keep_how_sites_run(&mut self, fresh: &mut Settings) -> bool {
        let differs = fresh.both != self.settings.both;
        self.next_both = differs.then_some(fresh.both);
        fresh.both = self.settings.both;
        differs
    }

    /// All that was seen is forgotten: what is unknown is unknown.
    pub(crate) fn forget_all(&mut self, at: At) {
        self.started = Some(at);
        self.since = at;
        self.sites = Sides::from_fn(|side| Site::new(self.settings.servers[side].len()));
        self.moves = Default::default();
        self.shown = Sides::default();
        self.told_of_none = false;
        self.told_of_listeners = Sides::default();
        self.armed.begin_anew();
        self.wake = None;
        if let Some(both) = self.next_both.take() {
            self.settings.both = both;
        }
    }
}

fn waits(key: &str, until: &str) -> Pending {
    Pending { key: key.to_owned(), until: until.to_owned() }
}

fn fresh(setup: &str) -> Result<Settings, String> {
    let setup: Setup = serde_json::from_str(setup).map_err(|error| error.to_string())?;
    let parameters = serde_json::Value::Object(setup.parameters.clone());
    let config = serde_json::from_value(parameters).map_err(|error| error.to_string())?;
    Settings::new(&setup, &config)
}
