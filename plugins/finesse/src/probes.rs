//! What is asked of each side: SystemInfo, the Notification Service and, if wanted, its CTI servers.

use crate::config::{Config, Encryption, Notification, Transport};
use crate::timing::{Rhythm, Timing};
use lockstep_policy::action::{CtiProbe, Extract, HttpProbe, ProbeKind, Source, Watch, XmppProbe};
use lockstep_policy::event::ProbeId;
use lockstep_policy::{Setup, Side, Sides};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most CTI hosts of a side.
const MAX_CTI_HOSTS: usize = 8;

/// GED-188 servers refuse a shorter `IdleTimeout`.
const LEAST_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The user whose presence says whether the Finesse application is connected to its Notification Service.
const FINESSE_USER: &str = "finesse";

/// What is read from a SystemInfo answer, also from one with status 503: a fact's name and its path.
const FACTS: &[(&str, &str)] = &[
    ("status", "SystemInfo/status"),
    ("statusReason", "SystemInfo/statusReason"),
    ("lastCTIHeartbeatStatus", "SystemInfo/lastCTIHeartbeatStatus"),
    ("ctiHeartbeatInterval", "SystemInfo/ctiHeartbeatInterval"),
    ("finesseMMode", "SystemInfo/finesseMMode"),
    ("ErrorType", "ApiErrors/ApiError/ErrorType"),
];

/// The number of a side's SystemInfo probe.
pub(crate) fn system_info(side: Side) -> ProbeId {
    ProbeId(if side == Side::A { 1 } else { 2 })
}

/// The number of a side's Notification Service probe.
pub(crate) fn notification(side: Side) -> ProbeId {
    ProbeId(if side == Side::A { 3 } else { 4 })
}

/// The number of the probe of a side's user `finesse`.
pub(crate) fn presence(side: Side) -> ProbeId {
    ProbeId(if side == Side::A { 5 } else { 6 })
}

/// The number of the probe of a side's CTI host.
fn cti(side: Side, server: u32) -> ProbeId {
    ProbeId(if side == Side::A { 100 } else { 200 } + server)
}

/// All probes of a pair. Refuses servers that are no Finesse pair's.
pub(crate) fn declared(setup: &Setup, config: &Config, timing: &Timing) -> Result<Vec<Watch>, String> {
    let nodes = Sides { a: node(setup, Side::A)?, b: node(setup, Side::B)? };
    whole(&config.notification)?;
    let mut watches = Vec::new();
    for side in Side::BOTH {
        let watch = |probe, kind, rhythm: Rhythm| {
            let Rhythm { interval, timeout, .. } = rhythm;
            Watch { probe, side, server: nodes[side], kind, interval, timeout }
        };
        watches.push(watch(system_info(side), ProbeKind::Http(poll(config)), timing.poll));
        watches.push(watch(notification(side), ProbeKind::Xmpp(attempt(config, side)), timing.notification));
        if !config.notification.user.is_empty() {
            // `fast` is not for log-ins.
            let rhythm = Rhythm {
                interval: config.notification.interval.0,
                timeout: config.notification.timeout.0,
                failures: config.notification_attempts,
            };
            watches.push(watch(presence(side), ProbeKind::Xmpp(log_in(config, side)), rhythm));
        }
        for server in cti_hosts(setup, config, side)? {
            let heartbeat = watch(cti(side, server), ProbeKind::Cti(heartbeat(config, timing)), timing.cti);
            watches.push(Watch { server, ..heartbeat });
        }
    }
    Ok(watches)
}

/// Refuses a user who could not log in, or could not be told whose presence to watch.
fn whole(asked: &Notification) -> Result<(), String> {
    let missing = |key: &str, what: &str| {
        Err(format!("`notification.user = \"{}\"` needs `notification.{key}`: {what}", asked.user))
    };
    let domainless = asked.domain.a.is_empty() || asked.domain.b.is_empty();
    match (asked.user.is_empty(), asked.secret.is_empty(), domainless) {
        (false, true, _) => missing("secret", "the name of the user's password among the edge's [secrets]"),
        (false, _, true) => missing("domain", "for a and for b, what their SystemInfo tell as xmppDomain"),
        (true, false, _) => {
            Err(format!("`notification.secret = \"{}\"` needs `notification.user`: who logs in with it", asked.secret))
        }
        _ => Ok(()),
    }
}

/// The Finesse node of a side: the first of its servers that is in no pool with a name.
fn node(setup: &Setup, side: Side) -> Result<u32, String> {
    let own = || servers(setup, side).filter(|(_, _, pool)| pool.is_empty());
    let hosts: BTreeSet<&str> =
        own().map(|(_, server, _)| server.rsplit_once(':').map_or(server, |(host, _)| host)).collect();
    match (own().next(), hosts.len()) {
        (Some((number, _, _)), 1) => Ok(number),
        (None, _) => Err(format!(
            "side {side} has no server without a pool's name: `servers` must name its Finesse node, such as \
             [\"10.0.0.1:8445\"]"
        )),
        (Some(_), _) => Err(format!(
            "side {side} has servers on {} hosts ({}): a side of a Finesse pair is one node, the publisher (a) or the \
             subscriber (b)",
            hosts.len(),
            hosts.into_iter().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// A side's servers, counted from 1, with their pools.
fn servers(setup: &Setup, side: Side) -> impl Iterator<Item = (u32, &str, &str)> {
    let side = &setup.sides[side];
    let pools = side.pools.iter().map(String::as_str).chain(std::iter::repeat(""));
    (1..).zip(side.servers.iter().map(String::as_str)).zip(pools).map(|((number, server), pool)| (number, server, pool))
}

/// The numbers of the servers of a side that are its CTI hosts.
fn cti_hosts(setup: &Setup, config: &Config, side: Side) -> Result<Vec<u32>, String> {
    let Some(cti) = &config.cti_probe else { return Ok(Vec::new()) };
    if cti.pool.is_empty() {
        return Ok(vec![node(setup, side)?]);
    }
    let of_pool = servers(setup, side).filter(|(_, _, pool)| *pool == cti.pool);
    let numbers: Vec<u32> = of_pool.map(|(number, _, _)| number).collect();
    match numbers.len() {
        0 => Err(format!(
            "`cti_probe.pool = \"{}\"` is no pool of side {side}: name one that lists its CTI hosts",
            cti.pool
        )),
        1..=MAX_CTI_HOSTS => Ok(numbers),
        many => Err(format!(
            "`cti_probe.pool = \"{}\"` has {many} servers on side {side}; valid: 1 to {MAX_CTI_HOSTS}",
            cti.pool
        )),
    }
}

fn poll(config: &Config) -> HttpProbe {
    let fact = |(name, path): &(&str, &str)| Extract {
        name: (*name).to_owned(),
        source: Source::Xml,
        expression: (*path).to_owned(),
    };
    HttpProbe {
        port: config.system_info_port,
        path: config.system_info_path.clone(),
        status: 200,
        tls: config.tls.into(),
        facts: FACTS.iter().map(fact).collect(),
        ..HttpProbe::default()
    }
}

fn attempt(config: &Config, side: Side) -> XmppProbe {
    let asked = &config.notification;
    let port = asked.port.unwrap_or(match (asked.transport, config.tls) {
        (Transport::Bosh, Encryption::Off) => 7_071,
        (Transport::Bosh, _) => 7_443,
        (Transport::Xmpp, _) => 5_222,
    });
    // Port 5222 is plain, 5223 is encrypted from the start.
    let plain = asked.transport == Transport::Xmpp && port == 5_222;
    XmppProbe {
        transport: asked.transport.into(),
        port,
        tls: if plain { Encryption::Off } else { config.tls }.into(),
        path: if asked.transport == Transport::Bosh { asked.path.clone() } else { String::new() },
        domain: asked.domain.of(side).to_owned(),
        user: String::new(),
        secret: String::new(),
        presence: String::new(),
    }
}

fn log_in(config: &Config, side: Side) -> XmppProbe {
    let Notification { user, secret, domain, .. } = config.notification.clone();
    XmppProbe { user, secret, presence: format!("{FINESSE_USER}@{}", domain.of(side)), ..attempt(config, side) }
}

fn heartbeat(config: &Config, timing: &Timing) -> CtiProbe {
    let cti = config.cti_probe.clone().unwrap_or_default();
    CtiProbe {
        port: cti.port,
        tls: cti.tls.into(),
        version: cti.version,
        peripheral: cti.peripheral.unwrap_or(u32::MAX),
        services: cti.services,
        idle_timeout: (timing.cti.interval * (timing.cti.failures + 1)).max(LEAST_IDLE_TIMEOUT),
        client: cti.client,
        secret: cti.secret,
    }
}

/// Whether a probe is a CTI host's.
pub(crate) fn is_heartbeat(watch: &Watch) -> bool {
    matches!(watch.kind, ProbeKind::Cti(_))
}
