//! `[pair.policy]` of a Finesse pair. Defaults are the vendor's (Cisco Finesse failover mechanisms, 12.5 and 12.6).

use lockstep_policy::Side;
use lockstep_policy::action::{Tls, XmppTransport};
use lockstep_policy::sdk::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whose failover logic is followed (vendor: Finesse desktop, or Finesse IP Phone Agent). `desktop`: sessions move
    /// by themselves. `ippa`: they never do, and a side is out of service after three failed polls.
    #[schemars(with = "String", extend("enum" = ["desktop", "ippa"]))]
    pub profile: Profile,
    /// How new sessions are shared out (vendor: agents must be evenly distributed). `prefer-publisher`: all to one side,
    /// the publisher first. `even`: to both sides in turn, so that one outage moves half of the agents.
    #[schemars(with = "String", extend("enum" = ["prefer-publisher", "even"]))]
    pub distribute: Distribute,

    /// Port of the SystemInfo request (vendor: Finesse Tomcat's HTTPS port).
    #[schemars(range(min = 1))]
    pub system_info_port: u16,
    /// Path of the SystemInfo request, from `/` (vendor: SystemInfo API). The element `status` must be `IN_SERVICE`.
    #[schemars(regex(pattern = "^/[^#\\s]*$"))]
    pub system_info_path: String,
    /// How the SystemInfo request and the Notification Service are encrypted. `unverified`: whoever answers is believed,
    /// for these servers have certificates of their own making.
    #[schemars(with = "String", extend("enum" = ["unverified", "verified", "off"]))]
    pub tls: Encryption,
    /// From one SystemInfo poll to the next (vendor: poll `SystemInfo` every 20 seconds; IP Phone Agent: every 5
    /// seconds). Without it: 20 s for `desktop`, 5 s for `ippa`.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]
    pub poll_interval: Option<Period>,
    /// How long a SystemInfo answer may take. The vendor names no time.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1m"))]
    pub poll_timeout: Period,
    /// Polls in a row without an answer after which a side is out of service (vendor, IP Phone Agent: three failed
    /// attempts). Without it: 1 for `desktop`, where the second look follows at once, and 3 for `ippa`.
    #[schemars(range(min = 1, max = 100))]
    pub poll_failures: Option<u32>,

    /// How the Finesse Notification Service is asked.
    pub notification: Notification,
    /// Attempts in a row after which the Notification Service counts as disconnected (vendor: three attempts to
    /// reconnect).
    #[schemars(range(min = 1, max = 100))]
    pub notification_attempts: u32,

    /// The servers' CTI heartbeat interval (vendor: heartbeat interval is five seconds): for the expected delay, and the
    /// interval of `cti_probe`.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1m"))]
    pub cti_heartbeat_interval: Period,
    /// Missed CTI heartbeats after which a CTI server is lost (vendor: three consecutive heartbeats).
    #[schemars(range(min = 1, max = 20))]
    pub cti_heartbeat_misses: u32,
    /// Ask the CTI servers themselves as well. Not needed: SystemInfo tells a side's last CTI heartbeat.
    pub cti_probe: Option<CtiServers>,

    /// Over how long the moves of 2,000 sessions are spread; fewer take proportionally less (vendor: time taken for
    /// failover of 2,000 users on a LAN, 70 to 80 seconds).
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub reload_window: Period,
    /// How many sessions a side may have: for the expected delay, and for pacing while the edge has not counted them
    /// (vendor: 2,000 active users).
    #[schemars(range(min = 1, max = 100_000))]
    pub sessions: u32,
    /// Maintenance mode that has not moved every session after this is abandoned (vendor: `maxMMTimeSec`).
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "24h"))]
    pub maintenance_max: Period,
    /// Notice that a session has before it is moved by an operator (vendor: notifications are triggered 15 seconds before
    /// the desktop reload).
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub maintenance_warning: Period,

    /// Desktops reach the servers over a WAN (vendor: 80 to 110 seconds for 2,000 users at 400 ms): for the explanation.
    pub wan: bool,
    /// The Agent PG is older than 12.5(1), which detects a CTI failover up to 40 s later (vendor: Agent PG 11.6(x) and
    /// 12.0(x)): for the explanation.
    pub old_agent_pg: bool,
    /// Put the pair's `detect` profile in place of `poll_interval`, `poll_timeout`, `poll_failures`,
    /// `notification.interval`, `notification.timeout` and `notification_attempts`.
    pub fast: bool,
}

/// Whose failover logic is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The Finesse desktop's.
    #[default]
    Desktop,
    /// The Finesse IP Phone Agent's.
    Ippa,
}

/// How new sessions are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribute {
    /// All to one side, the publisher first.
    #[default]
    PreferPublisher,
    /// To both sides in turn.
    Even,
}

/// Whether probes are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Not.
    Off,
    /// Encrypted; whoever answers is believed.
    #[default]
    Unverified,
    /// Encrypted; the certificate must be valid by the edge's trusted roots.
    Verified,
}

/// How the Finesse Notification Service is asked (vendor: BOSH over HTTPS, or XMPP).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notification {
    /// `bosh`: as desktops do, over HTTP. `xmpp`: over TCP, as third-party clients do; the connection is not encrypted
    /// on port 5222.
    #[schemars(with = "String", extend("enum" = ["bosh", "xmpp"]))]
    pub transport: Transport,
    /// Its port. Without it: 7443 for `bosh` (7071 with `tls = "off"`), 5222 for `xmpp`.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// For `bosh`: the path, from `/`.
    #[schemars(regex(pattern = "^/[^?#\\s]*$"))]
    pub path: String,
    /// Each side's XMPP domain, as its SystemInfo tells it (vendor: `xmppDomain`). Without it: the server's address.
    pub domain: Domains,
    /// A Finesse user to log in with, so that the presence of the user `finesse` can be watched. Without one, it is not.
    #[schemars(length(max = 255))]
    pub user: String,
    /// The name of that user's password among the edge's `[secrets]`.
    #[schemars(length(max = 255))]
    pub secret: String,
    /// From one attempt to the next (vendor, IP Phone Agent: tries every 5 seconds to reconnect).
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]
    pub interval: Period,
    /// How long an attempt may take. The vendor names no time.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1m"))]
    pub timeout: Period,
}

/// The XMPP domains: each node has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Domains {
    /// The publisher's.
    #[schemars(length(max = 255))]
    pub a: String,
    /// The subscriber's.
    #[schemars(length(max = 255))]
    pub b: String,
}

impl Domains {
    pub(crate) fn of(&self, side: Side) -> &str {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

/// What carries the Notification Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP requests.
    #[default]
    Bosh,
    /// TCP.
    Xmpp,
}

/// How a side's CTI servers are asked (vendor: CTI server of the Agent PG; GED-188).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CtiServers {
    /// The name of the pool, among a side's servers, that lists its CTI hosts. Without it: the Finesse node itself.
    #[schemars(length(max = 63))]
    pub pool: String,
    /// Their port (vendor: 42027 on side A of the PG, 43027 on side B, 42030 and 43030 encrypted). 0: as it stands in the
    /// list of servers.
    pub port: u16,
    /// Whether the connection is encrypted.
    #[schemars(with = "String", extend("enum" = ["off", "unverified", "verified"]))]
    pub tls: Encryption,
    /// The protocol's version.
    #[schemars(range(min = 1, max = 100))]
    pub version: u32,
    /// The peripheral's number (vendor: `peripheralId`). Without it: none.
    pub peripheral: Option<u32>,
    /// The services that the session asks for, as a mask. 0: none, which is enough for heartbeats.
    pub services: u32,
    /// The client's name. Empty: none.
    #[schemars(length(max = 63))]
    pub client: String,
    /// The name of the client's password among the edge's `[secrets]`. Empty: none.
    #[schemars(length(max = 255))]
    pub secret: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            profile: Profile::default(),
            distribute: Distribute::default(),
            system_info_port: 8445,
            system_info_path: "/finesse/api/SystemInfo".to_owned(),
            tls: Encryption::default(),
            poll_interval: None,
            poll_timeout: Period::secs(5),
            poll_failures: None,
            notification: Notification::default(),
            notification_attempts: 3,
            cti_heartbeat_interval: Period::secs(5),
            cti_heartbeat_misses: 3,
            cti_probe: None,
            reload_window: Period::secs(70),
            sessions: 2_000,
            maintenance_max: Period::secs(3_600),
            maintenance_warning: Period::secs(15),
            wan: false,
            old_agent_pg: false,
            fast: false,
        }
    }
}

impl Default for Notification {
    fn default() -> Notification {
        Notification {
            transport: Transport::default(),
            port: None,
            path: "/http-bind/".to_owned(),
            domain: Domains::default(),
            user: String::new(),
            secret: String::new(),
            interval: Period::secs(5),
            timeout: Period::secs(5),
        }
    }
}

impl Default for CtiServers {
    fn default() -> CtiServers {
        CtiServers {
            pool: String::new(),
            port: 42_027,
            tls: Encryption::Off,
            version: 24,
            peripheral: None,
            services: 0,
            client: "lockstep".to_owned(),
            secret: String::new(),
        }
    }
}

impl From<Encryption> for Tls {
    fn from(encryption: Encryption) -> Tls {
        match encryption {
            Encryption::Off => Tls::Off,
            Encryption::Unverified => Tls::Unverified,
            Encryption::Verified => Tls::Verified,
        }
    }
}

impl From<Transport> for XmppTransport {
    fn from(transport: Transport) -> XmppTransport {
        match transport {
            Transport::Bosh => XmppTransport::Bosh,
            Transport::Xmpp => XmppTransport::Tcp,
        }
    }
}
