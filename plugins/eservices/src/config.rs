//! `[pair.policy]` of an eServices pair. Vendor's names and defaults are those of the Workspace Desktop Edition Deployment
//! Guide, eServices Business Continuity with UCS 8.5.

use lockstep_policy::sdk::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `active-passive`: the core and the database run at one site at a time, as the vendor's data centers do; the role
    /// moves by handover. `both`: both sites serve, and sessions are shared out by static rules.
    pub sites: Sites,
    /// disaster-recovery.site of side A's Application Cluster: the site's name.
    #[schemars(regex(pattern = "^\\S+$"))]
    pub site_a: String,
    /// disaster-recovery.site of side B's Application Cluster: the site's name.
    #[schemars(regex(pattern = "^\\S+$"))]
    pub site_b: String,
    /// disaster-recovery.eservices-site, by scope.
    pub site: Site,
    /// Where a request says which tenant, group and user it is for: the name of a header field, `cookie:NAME` or
    /// `query:NAME`.
    pub site_attribute: SiteAttribute,
    /// disaster-recovery.eservices-random-delay-range: clients come back from a moved site spread over so long.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub random_delay_range: Period,
    /// warm-standby.reconnection-random-delay-range: a client that has lost its proxy comes back to the pool within so
    /// long, by its own choice.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub reconnection_random_delay_range: Period,
    /// warm-standby.retry-delay: a server that cannot be reached is tried again after so long.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "10m"))]
    pub retry_delay: Period,
    /// ADDP Local Timeout: from one probe of a server to the next.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "10m"))]
    pub addp_local: Period,
    /// ADDP Remote Timeout: how long a probe may take.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "10m"))]
    pub addp_remote: Period,
    /// Probes of a server that must fail in a row before it is left out of its pool.
    #[schemars(range(min = 1, max = 10))]
    pub failures: u32,
    /// A path to GET from each server, from `/`; any 2xx is good. Without it a connection that is accepted is good.
    #[schemars(regex(pattern = "^/[^#\\s]*$"))]
    pub probe_path: Option<String>,
    /// Put the pair's `detect` profile in place of `addp_local`, `addp_remote`, `retry_delay` and `failures`.
    pub fast: bool,
    /// eservices.session-restore-mediatype: the media that clients restore after they have come back. A client's option:
    /// shown here so that it is looked at together with the rest.
    pub session_restore_media: Vec<String>,
    /// eservices.session-restore-timeout: within so long after they have come back they may have their interactions
    /// again. A client's option, as above.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub session_restore_timeout: Option<Period>,
    /// Agents that work at the busiest time, at both sites together.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub agents: Option<u32>,
    /// Agents that site A can carry.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub capacity_a: Option<u32>,
    /// Agents that site B can carry.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub capacity_b: Option<u32>,
    /// The runbook's hooks and gate.
    pub runbook: Steps,
}

/// How the two sites run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sites {
    /// One is active, the other does not listen.
    #[default]
    ActivePassive,
    /// Both serve.
    Both,
}

/// disaster-recovery.eservices-site: names of sites. The narrowest scope wins: user, group, tenant, application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// In the Workspace application's options: the site of everybody else. Without it: the first that is available.
    pub application: Option<String>,
    /// In tenants' annexes: the tenant's name and its site.
    pub tenant: BTreeMap<String, String>,
    /// In groups' annexes: the agent group's name and its site.
    pub group: BTreeMap<String, String>,
    /// In users' annexes: the user's name and his site.
    pub user: BTreeMap<String, String>,
}

/// Where a request says for whom it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiteAttribute {
    /// The tenant's name.
    #[schemars(regex(pattern = "^(cookie:|query:)?[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub tenant: Option<String>,
    /// The agent group's name.
    #[schemars(regex(pattern = "^(cookie:|query:)?[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub group: Option<String>,
    /// The user's name.
    #[schemars(regex(pattern = "^(cookie:|query:)?[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub user: Option<String>,
}

/// Hooks of the agents' configurations that do steps of the runbook, on the new site's node. A step without one waits
/// for a person who confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Steps {
    /// Stops what still runs at the old site. Only with `sites = "both"`: otherwise the old site's agent does it.
    pub stop_hook: Option<String>,
    /// Suspends the agents' eServices activity.
    pub suspend_hook: Option<String>,
    /// Starts the new site's core. Only with `sites = "both"`: otherwise the handover does it.
    pub core_hook: Option<String>,
    /// Points disaster-recovery.eservices-site to the new site.
    pub site_option_hook: Option<String>,
    /// The manual gate in a node's start that stands for the promoted database: opened when the step `database` is
    /// confirmed.
    #[schemars(regex(pattern = "^\\S+$"))]
    pub database_gate: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sites: Sites::ActivePassive,
            site_a: "Site_A".to_owned(),
            site_b: "Site_B".to_owned(),
            site: Site::default(),
            site_attribute: SiteAttribute::default(),
            random_delay_range: Period::secs(10),
            reconnection_random_delay_range: Period::secs(10),
            retry_delay: Period::secs(5),
            addp_local: Period::secs(5),
            addp_remote: Period::secs(9),
            failures: 1,
            probe_path: None,
            fast: false,
            session_restore_media: Vec::new(),
            session_restore_timeout: None,
            agents: None,
            capacity_a: None,
            capacity_b: None,
            runbook: Steps::default(),
        }
    }
}

impl Default for Steps {
    fn default() -> Steps {
        let database_gate = "database".to_owned();
        Steps { stop_hook: None, suspend_hook: None, core_hook: None, site_option_hook: None, database_gate }
    }
}
