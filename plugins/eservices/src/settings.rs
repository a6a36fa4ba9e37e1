//! The parameters, resolved: names of sites are sides, scopes are rules, and the times are those in force.

use crate::config::{Config, Sites as How, Steps};
use lockstep_policy::action::{HttpProbe, ProbeKind, ShareRule};
use lockstep_policy::{Setup, Side, Sides};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most servers of a side: each has a probe.
const MAX_SERVERS: usize = 50;
/// The most tenants, groups and users with a site of their own.
const MAX_RULES: usize = 300;
/// The longest name of one, in bytes.
const MAX_NAME: usize = 100;

/// For whom a site is set; the narrowest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    User,
    Group,
    Tenant,
}

impl Scope {
    pub(crate) const NARROWEST_FIRST: [Scope; 3] = [Scope::User, Scope::Group, Scope::Tenant];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Group => "group",
            Scope::Tenant => "tenant",
        }
    }
}

/// A tenant, group or user, and its site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) side: Side,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Both sites serve.
    pub(crate) both: bool,
    pub(crate) names: Sides<String>,
    /// The address and the pool of each server.
    pub(crate) servers: Sides<Vec<Server>>,
    pub(crate) agents: Sides<bool>,
    pub(crate) probe: ProbeKind,
    pub(crate) interval: Duration,
    pub(crate) retry: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u32,
    /// Clients come back from a moved site within this.
    pub(crate) window: Duration,
    /// The application's site.
    pub(crate) site: Option<Side>,
    /// Those that have a site of their own, narrowest first.
    pub(crate) placed: Vec<Placed>,
    /// Where requests say for whom they are, narrowest first.
    pub(crate) attributes: Vec<(Scope, String)>,
    pub(crate) capacity: Sides<Option<u32>>,
    pub(crate) steps: Steps,
}

/// A server, and the pool that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) pool: String,
}

impl Settings {
    pub(crate) fn new(setup: &Setup, config: &Config) -> Result<Settings, String> {
        let names = Sides { a: config.site_a.clone(), b: config.site_b.clone() };
        if names.a == names.b {
            return Err(format!("`site_b = \"{}\"` is `site_a` too; valid: a name of its own for each site", names.b));
        }
        let servers = setup.sides.clone().map(|_, side| {
            let pool = |index: usize| side.pools.get(index).cloned().unwrap_or_default();
            let servers = side.servers.iter().enumerate();
            servers.map(|(index, address)| Server { address: address.clone(), pool: pool(index) }).collect::<Vec<_>>()
        });
        if let Some((side, servers)) = servers.iter().find(|(_, servers)| servers.len() > MAX_SERVERS) {
            return Err(format!("side {side} has {} servers; valid: at most {MAX_SERVERS}", servers.len()));
        }
        let probe = match &config.probe_path {
            None => ProbeKind::Tcp { port: 0 },
            Some(path) => ProbeKind::Http(HttpProbe { path: path.clone(), ..HttpProbe::default() }),
        };
        let millis = Duration::from_millis;
        let detect = &setup.detect;
        let (interval, timeout, failures) = if config.fast {
            (millis(detect.interval_ms.max(1)), millis(detect.timeout_ms), detect.failures.max(1))
        } else {
            (config.addp_local.0, config.addp_remote.0, config.failures)
        };
        let site = config.site.application.as_deref().filter(|name| !name.is_empty());
        Ok(Settings {
            both: config.sites == How::Both,
            site: site.map(|name| named(&names, "site.application", name)).transpose()?,
            placed: placed(config, &names)?,
            attributes: attributes(config),
            names,
            servers,
            agents: Sides::from_fn(|side| setup.sides[side].agent),
            probe,
            interval,
            retry: if config.fast { interval } else { config.retry_delay.0 },
            timeout,
            failures,
            window: config.random_delay_range.0,
            capacity: Sides { a: config.capacity_a, b: config.capacity_b },
            steps: config.runbook.clone(),
        })
    }

    /// The pools of a side, in the order of their first servers.
    pub(crate) fn pools(&self, side: Side) -> Vec<&str> {
        let mut pools = Vec::new();
        for server in &self.servers[side] {
            if !pools.contains(&server.pool.as_str()) {
                pools.push(server.pool.as_str());
            }
        }
        pools
    }

    /// The rules of a share, with what operators have put in place of the configuration's.
    pub(crate) fn rules(&self, moved: &[Placed]) -> Vec<ShareRule> {
        let mut rules = Vec::new();
        for (scope, attribute) in &self.attributes {
            let replaced =
                |placed: &Placed| moved.iter().any(|by| (by.scope, &by.name) == (placed.scope, &placed.name));
            let kept = self.placed.iter().filter(|placed| !replaced(placed));
            for placed in moved.iter().chain(kept).filter(|placed| placed.scope == *scope) {
                let (attribute, value) = (attribute.clone(), placed.name.clone());
                rules.push(ShareRule { attribute, value, side: placed.side });
            }
        }
        rules
    }
}

/// The side of a site.
pub(crate) fn named(names: &Sides<String>, key: &str, name: &str) -> Result<Side, String> {
    let side = names.iter().find(|(_, site)| *site == name).map(|(side, _)| side);
    side.ok_or_else(|| format!("`{key} = \"{name}\"` is no site; valid: \"{}\" or \"{}\"", names.a, names.b))
}

fn placed(config: &Config, names: &Sides<String>) -> Result<Vec<Placed>, String> {
    let (site, attribute) = (&config.site, &config.site_attribute);
    let mut all = Vec::new();
    let scopes: [(Scope, &BTreeMap<String, String>, &Option<String>); 3] = [
        (Scope::User, &site.user, &attribute.user),
        (Scope::Group, &site.group, &attribute.group),
        (Scope::Tenant, &site.tenant, &attribute.tenant),
    ];
    for (scope, sites, attribute) in scopes {
        let key = scope.name();
        if !sites.is_empty() && attribute.is_none() {
            return Err(format!(
                "`site.{key}` needs `site_attribute.{key}`; valid: the name of a header field, \"cookie:NAME\" or \
                 \"query:NAME\""
            ));
        }
        for (name, site) in sites {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(format!("`site.{key}.{name}` is no name; valid: 1 to {MAX_NAME} bytes"));
            }
            let side = named(names, &format!("site.{key}.{name}"), site)?;
            all.push(Placed { scope, name: name.clone(), side });
        }
    }
    if all.len() > MAX_RULES {
        return Err(format!("`site` names {} tenants, groups and users; valid: at most {MAX_RULES}", all.len()));
    }
    Ok(all)
}

fn attributes(config: &Config) -> Vec<(Scope, String)> {
    let by = &config.site_attribute;
    let all = [(Scope::User, &by.user), (Scope::Group, &by.group), (Scope::Tenant, &by.tenant)];
    all.into_iter().filter_map(|(scope, attribute)| Some((scope, attribute.clone()?))).collect()
}
