//! `[pair.policy]` of a telisca pair. Defaults are the vendor's (Administrators Guide 7.x, section 3.1.2).

use lockstep_policy::sdk::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Period of the monitor probe.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]
    pub heartbeat_interval: Period,
    /// How long the monitor's answer may take. Should be the AXL timeout (7 s) and 3 s more.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "5m"))]
    pub heartbeat_timeout: Period,
    /// Consecutive failures to fail over, and consecutive successes to roll back.
    #[schemars(range(min = 1, max = 100))]
    pub failures_to_switch: u32,
    /// Path of the monitor page, from `/`, without a query.
    #[schemars(regex(pattern = "^/[^?#\\s]*$"))]
    pub monitor_path: String,
    /// False: any 200 in time is good (`mod=NONE`). True: the application must say that it is well (`mod=IPSWS`).
    pub switch_on_application_error: bool,
    /// Roll back to side A by itself when A is well again.
    pub first_server_auto_restart_as_active: bool,
    /// How long side A must have been well, without a break, before a rollback. Without it: as long as
    /// `failures_to_switch` probes take; with `fast`: 5 s.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "24h"))]
    pub rollback_after: Option<Period>,
    /// How long IPS Framework takes to restart.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub restart_time: Period,
    /// What the CTI service does when it starts: for the expected delay.
    pub cti_startup: CtiStartup,
    /// Put the pair's `detect` profile in place of `heartbeat_interval`, `heartbeat_timeout` and
    /// `failures_to_switch`, and believe the agents' word at once.
    pub fast: bool,
    /// The external balancer in front of the pair, if there is one: compared with these parameters.
    pub balancer: Option<Balancer>,
    /// Test VIP address IP destination: ask the VIP which server it reaches, and make that one active. For a pair behind
    /// somebody else's balancer; never for a VIP that this edge serves itself.
    pub test_vip_destination: bool,
    /// What to ask the VIP for, as `http://IP[:PORT]/PATH` or `https://…`: a page that names the server which answers.
    /// With `https` the certificate is not checked, for the URL has no name in it. Needed for `test_vip_destination`.
    pub vip_url: Option<String>,
    /// A header field of the VIP's answer whose value names the server. Without it the answer's text is searched for
    /// the first of both names, or for `ACTIVE` or `STANDBY`.
    #[schemars(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub vip_header: Option<String>,
    /// How the VIP's answer names server A. Without it: the IP address of the side's first server.
    #[schemars(regex(pattern = "^\\S+$"))]
    pub vip_name_a: Option<String>,
    /// How the VIP's answer names server B. Without it: the IP address of the side's first server.
    #[schemars(regex(pattern = "^\\S+$"))]
    pub vip_name_b: Option<String>,
    /// The name by which a balancer asks this edge for server A (the `Host` of its check).
    #[schemars(regex(pattern = "^[^\\s/:]+$"))]
    pub name_a: Option<String>,
    /// The name by which a balancer asks this edge for server B (the `Host` of its check).
    #[schemars(regex(pattern = "^[^\\s/:]+$"))]
    pub name_b: Option<String>,
    /// CTI Server Restart time: the time of day, as `HH:MM` in the edge's local time, at which the CTI service of the
    /// active side is restarted.
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub cti_restart_at: Option<String>,
}

/// What the CTI service does when it starts (section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CtiStartup {
    /// To connect to the CTI manager.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub connect: Period,
    /// CTI ports that it registers.
    #[schemars(range(max = 100_000))]
    pub ports: u32,
    /// Devices that it monitors.
    #[schemars(range(max = 100_000))]
    pub devices: u32,
    /// For each port and each device.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1m"))]
    pub per_item: Period,
}

/// How an external balancer checks the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// From one of its checks to the next.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub interval: Period,
    /// Consecutive failures after which it redirects.
    #[schemars(range(min = 1, max = 100))]
    pub failures: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_interval: Period::secs(30),
            heartbeat_timeout: Period::secs(10),
            failures_to_switch: 5,
            monitor_path: "/IPSCFG/admin/monitor.aspx".to_owned(),
            switch_on_application_error: false,
            first_server_auto_restart_as_active: true,
            rollback_after: None,
            restart_time: Period::secs(60),
            cti_startup: CtiStartup::default(),
            fast: false,
            balancer: None,
            test_vip_destination: false,
            vip_url: None,
            vip_header: None,
            vip_name_a: None,
            vip_name_b: None,
            name_a: None,
            name_b: None,
            cti_restart_at: None,
        }
    }
}

impl Default for CtiStartup {
    fn default() -> CtiStartup {
        CtiStartup { connect: Period::secs(3), ports: 0, devices: 0, per_item: Period::millis(200) }
    }
}

impl Config {
    /// `cti_restart_at` in minutes after midnight.
    pub(crate) fn restart_minute(&self) -> Result<Option<u16>, String> {
        let Some(time) = &self.cti_restart_at else { return Ok(None) };
        let minutes = time.split_once(':').and_then(|(hours, minutes)| {
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        });
        match minutes {
            Some(minutes) => Ok(Some(minutes)),
            None => {
                Err(format!("`cti_restart_at = \"{time}\"` is not a time of day; valid: from \"00:00\" to \"23:59\""))
            }
        }
    }
}
