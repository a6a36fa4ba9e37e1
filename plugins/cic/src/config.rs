//! `[pair.policy]` of a CIC pair. Defaults and ranges are the vendor's (PureConnect CIC Automated Switchover, 2021 R2).

use lockstep_policy::sdk::Period;
use lockstep_policy::{Setup, Side};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Vendor: about 2000 characters for all paths of one parameter.
const MIRROR_MAX: usize = 2_000;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which module of the primary is monitored (vendor: Switchover Monitoring). `TsServer`: the primary's agent is
    /// asked whether the process is well. `IP`: the primary's address is pinged by ICMP instead.
    pub module: Module,
    /// The monitored service's name in the agents' configuration, where names are of small letters.
    #[schemars(regex(pattern = "^[a-z0-9_][a-z0-9_-]{0,31}$"))]
    pub service: String,
    /// How long a module ping may take, and the pause after one that succeeded (vendor: Switchover TS Timeout, or
    /// Switchover IP Timeout).
    #[schemars(extend("x-minimum" = "5s", "x-maximum" = "60s"))]
    pub module_timeout: Period,
    /// The pause after a module ping without an answer (vendor: Switchover TS Failure Retry Delay, or Switchover IP
    /// Retry Delay). More than nothing.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "10m"))]
    pub module_retry_delay: Period,
    /// Module pings that may fail on one connection (vendor: Switchover Max TS Failures).
    #[schemars(range(min = 1, max = 1_000))]
    pub module_max_failures: u32,
    /// The module is down when its process changes more often than this within `max_restarts_period` (vendor:
    /// Switchover Max Restarts).
    #[schemars(range(max = 1_000))]
    pub max_restarts: u32,
    /// The window in which changes of the module's process are counted (vendor: Switchover Max Restarts Period).
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "24h"))]
    pub max_restarts_period: Period,
    /// The module is down when its process changes at more pings in a row than this (vendor: Switchover Max Sequential
    /// Restarts).
    #[schemars(range(max = 1_000))]
    pub max_sequential_restarts: u32,
    /// Send module pings over the auxiliary connection instead of the main one (vendor: Switchover Ping on Aux
    /// Connection). There is then no second connection to try.
    pub ping_on_aux_connection: bool,
    /// Mark the module pings of the auxiliary connection with `qos_dscp` (vendor: Switchover Use QoS for Ping). Only
    /// with `ping_on_aux_connection`.
    pub use_qos_for_ping: bool,
    /// The code point of marked pings (vendor: Switchover QoS DSCP); 34 is AF41.
    #[schemars(range(max = 63))]
    pub qos_dscp: u8,
    /// How long a notifier ping may take (vendor: Switchover Primary Monitor Timeout). Zero: half of `module_timeout`.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "300s"))]
    pub primary_timeout: Period,
    /// The pause between notifier pings (vendor: Switchover Primary Monitor Ping Delay). Less than a second counts as a
    /// second, so that the pings do not load the agent.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "300s"))]
    pub primary_ping_delay: Period,
    /// The pause before each retry of a failed notifier ping (vendor: Switchover Primary Monitor Retry Ping Delay).
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "300s"))]
    pub primary_retry_ping_delay: Period,
    /// Retries of a failed notifier ping before the connection is diagnosed (vendor: Switchover Primary Monitor Retry
    /// Count).
    #[schemars(range(min = 1, max = 50))]
    pub primary_retry_count: u32,
    /// How long the notifier may stay away after the diagnosis (vendor: Switchover Reconnect Timeout). Zero: switch at
    /// once.
    #[schemars(extend("x-minimum" = "0s"))]
    pub reconnect_timeout: Period,
    /// From one attempt to reach the lost notifier to the next (vendor: Switchover Notifier Reconnect Delay).
    #[schemars(extend("x-minimum" = "5s", "x-maximum" = "60s"))]
    pub notifier_reconnect_delay: Period,
    /// Ping the edge's gateways first in a diagnosis (vendor: Switchover Disable Gateway Ping, the other way round).
    /// Only where the gateways answer pings.
    pub gateway_ping: bool,
    /// Addresses near B, pinged in a diagnosis while A is the backup (vendor: Switchover NetTest A). One that answers is
    /// enough.
    #[schemars(length(max = 16))]
    pub nettest_a: Vec<String>,
    /// Addresses near A, pinged in a diagnosis while B is the backup (vendor: Switchover NetTest B).
    #[schemars(length(max = 16))]
    pub nettest_b: Vec<String>,
    /// How long any ICMP ping may take (vendor: Switchover NetTest Timeout).
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "60s"))]
    pub nettest_timeout: Period,
    /// How many more sets of pings an unreachable primary gets before the switch (vendor: Switchover Unreachable
    /// Primary Ping Count). 0 to 3 mean three; -1: for ever, and no switch.
    #[schemars(range(min = -1, max = 1_000_000))]
    pub unreachable_ping_count: i32,
    /// From one set of pings to the next (vendor: Switchover Unreachable Primary Ping Delay).
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "300s"))]
    pub unreachable_ping_delay: Period,
    /// Never switch by itself (vendor: /ManualSwitchOnly). Not for ordinary operation.
    pub manual_switch_only: bool,
    /// A side that does not become primary by itself when none is (vendor: /ForceBackup). It still takes over when the
    /// primary fails.
    pub force_backup: Option<Side>,
    /// The service of the agents' configuration that must have been started anew on a side that has lost the role
    /// before that side counts as a backup again; not an exclusive one.
    #[schemars(regex(pattern = "^[a-z0-9_][a-z0-9_-]{0,31}$"))]
    pub backup_service: String,
    /// Have the agent restart `backup_service` by itself. False: somebody does it by hand, as the vendor describes.
    pub restart_stale: bool,
    /// The address of A that ICMP pings go to, if not its server's own (vendor: Server A Address, the address of A's
    /// dedicated switchover network card). The connections to the agents go where `[pair.a] agent` says.
    pub main_address_a: Option<String>,
    /// The same of B (vendor: Server B Address).
    pub main_address_b: Option<String>,
    /// Show the names `fqdn_a` and `fqdn_b` to operators (vendor: ForceSwitchoverFQDNs). The vendor hands these names
    /// to its clients; behind a VIP clients need only the VIP's name, so nothing else is done with them.
    pub force_fqdns: bool,
    /// The name of A (vendor: SwitchoverServerFQDN A).
    pub fqdn_a: Option<String>,
    /// The name of B (vendor: SwitchoverServerFQDN B).
    pub fqdn_b: Option<String>,
    /// What is mirrored from the primary to the backup, and how that is watched.
    pub mirror: Mirror,
    /// The hook of the backup's agent that copies everything afresh, run after a reconnection.
    #[schemars(regex(pattern = "^[a-z0-9_][a-z0-9_-]{0,31}$"))]
    pub resynchronise_hook: String,
    /// Days between drills: planned switches that prove that a switch works. The vendor advises 30. Left out: none. When
    /// no handover is known the first drill is at the next `drill_at`.
    #[schemars(range(min = 1, max = 3_650))]
    pub drill_every: Option<u32>,
    /// The edge's local time of day of drills, as `HH:MM`.
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub drill_at: String,
    /// Put the pair's `detect` profile in place of the vendor's second-scale timers, and believe the primary's agent at
    /// once when it says that the module has ended.
    pub fast: bool,
}

/// What is monitored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Module {
    /// The vendor's telephony server.
    TsServer,
    /// The primary's address.
    #[serde(rename = "IP")]
    Ip,
}

/// Mirroring. The copying itself is the vendor's, or that of the agent's hooks. The lists are not sent to the agents: a
/// hook takes no arguments, and finds only the reason that it is run for in `LOCKSTEP_REASON`, which quotes the new list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mirror {
    /// Directories that are mirrored all the time, with `;` between them and a `+` before one with all below it
    /// (vendor: CustomMirrorDir). A change takes effect at once: the backup's agent runs `hook`.
    #[schemars(length(max = 2_000))]
    pub custom: String,
    /// Directories that are mirrored when the backup starts (vendor: InitialMirrorDir).
    #[schemars(length(max = 2_000))]
    pub initial: String,
    /// File name extensions that are not mirrored, with `;` between them (vendor: MirrorExceptions).
    #[schemars(length(max = 2_000))]
    pub exceptions: String,
    /// The hook of the backup's agent that takes up a changed list of directories.
    #[schemars(regex(pattern = "^[a-z0-9_][a-z0-9_-]{0,31}$"))]
    pub hook: String,
    /// How often the backup's replication is looked at (vendor: Switchover File Monitor Health Check Interval). Zero:
    /// not at all.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "24h"))]
    pub health_interval: Period,
    /// How much longer it may be other than current before operators are told (vendor: Switchover File Monitor Health
    /// Check Timeout).
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "24h"))]
    pub health_timeout: Period,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            module: Module::TsServer,
            service: "tsserver".to_owned(),
            module_timeout: Period::secs(10),
            module_retry_delay: Period::secs(1),
            module_max_failures: 2,
            max_restarts: 2,
            max_restarts_period: Period::secs(300),
            max_sequential_restarts: 2,
            ping_on_aux_connection: false,
            use_qos_for_ping: false,
            qos_dscp: 34,
            primary_timeout: Period::secs(0),
            primary_ping_delay: Period::secs(0),
            primary_retry_ping_delay: Period::secs(0),
            primary_retry_count: 2,
            reconnect_timeout: Period::secs(30),
            notifier_reconnect_delay: Period::secs(5),
            gateway_ping: false,
            nettest_a: Vec::new(),
            nettest_b: Vec::new(),
            nettest_timeout: Period::secs(1),
            unreachable_ping_count: 0,
            unreachable_ping_delay: Period::secs(10),
            manual_switch_only: false,
            force_backup: None,
            backup_service: "switchover".to_owned(),
            restart_stale: true,
            main_address_a: None,
            main_address_b: None,
            force_fqdns: false,
            fqdn_a: None,
            fqdn_b: None,
            mirror: Mirror::default(),
            resynchronise_hook: "resynchronise".to_owned(),
            drill_every: None,
            drill_at: "03:00".to_owned(),
            fast: false,
        }
    }
}

impl Default for Mirror {
    fn default() -> Mirror {
        Mirror {
            custom: String::new(),
            initial: String::new(),
            exceptions: String::new(),
            hook: "mirror".to_owned(),
            health_interval: Period::secs(60),
            health_timeout: Period::secs(10),
        }
    }
}

impl Config {
    /// Refuses what the schema cannot tell, with key, value and what would be valid.
    pub(crate) fn check(&self, setup: &Setup) -> Result<(), String> {
        for (side, setup) in setup.sides.iter() {
            if !setup.agent {
                return Err(format!(
                    "side {side} has no agent: policy `cic` asks agents for the module, the notifier and the release. \
                     Give `[pair.{side}]` an `agent = \"HOST:PORT\"`"
                ));
            }
        }
        for (key, list) in [("nettest_a", &self.nettest_a), ("nettest_b", &self.nettest_b)] {
            for address in list {
                if address.parse::<IpAddr>().is_err() {
                    return Err(format!("`{key}` has `{address}`; valid: IPv4 or IPv6 addresses, no names"));
                }
            }
        }
        for (key, address) in [("main_address_a", &self.main_address_a), ("main_address_b", &self.main_address_b)] {
            if let Some(address) = address.as_ref().filter(|address| address.parse::<IpAddr>().is_err()) {
                return Err(format!("`{key} = \"{address}\"` is not an address; valid: IPv4 or IPv6, no names"));
            }
        }
        for (key, name) in [("fqdn_a", &self.fqdn_a), ("fqdn_b", &self.fqdn_b)] {
            if self.force_fqdns && name.is_none() {
                return Err(format!("`force_fqdns = true` needs `{key}`: the server's fully qualified name"));
            }
        }
        for (key, list) in [("mirror.custom", &self.mirror.custom), ("mirror.initial", &self.mirror.initial)] {
            if list.len() > MIRROR_MAX {
                return Err(format!("`{key}` has {} bytes; valid: up to {MIRROR_MAX}", list.len()));
            }
        }
        Ok(())
    }

    /// The NetTest addresses that count while a side is the backup.
    pub(crate) fn nettest(&self, backup: Side) -> &[String] {
        match backup {
            Side::A => &self.nettest_a,
            Side::B => &self.nettest_b,
        }
    }

    /// Where ICMP pings of a side go, if not to its server.
    pub(crate) fn address(&self, side: Side) -> Option<&str> {
        match side {
            Side::A => self.main_address_a.as_deref(),
            Side::B => self.main_address_b.as_deref(),
        }
    }

    /// A side for people to read.
    pub(crate) fn name(&self, side: Side) -> Option<&str> {
        let name = match side {
            Side::A => &self.fqdn_a,
            Side::B => &self.fqdn_b,
        };
        name.as_deref().filter(|_| self.force_fqdns)
    }

    /// The code point of pings over the auxiliary connection.
    pub(crate) fn dscp(&self) -> u8 {
        if self.ping_on_aux_connection && self.use_qos_for_ping { self.qos_dscp } else { 0 }
    }

    /// Minutes after midnight of drills, when there are any.
    pub(crate) fn drill_minute(&self) -> Option<u16> {
        self.drill_every?;
        let (hours, minutes) = self.drill_at.split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    }

    /// Days between drills as a length of time.
    pub(crate) fn drill_period(&self) -> Option<Duration> {
        self.drill_every.map(|days| Duration::from_secs(24 * 60 * 60) * days)
    }
}
