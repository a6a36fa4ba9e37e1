//! What is valid and odd.

use super::{Config, OnSwitch, PairConfig, SideConfig};
use humantime::format_duration;
use lockstep_pair::coordinator::Leftover;
use lockstep_policy::Side;
use std::time::Duration;

pub(super) fn lints(config: &Config) -> Vec<String> {
    let admin = config.edge.admin;
    let exposed = (!admin.ip().is_loopback()).then(|| {
        format!(
            "edge: edge.admin = {admin} is not loopback: the admin token crosses the network in clear text; \
             listen on 127.0.0.1, or let only operators' machines reach it"
        )
    });
    let trust = crate::trust::lint(&config.edge).map(|text| format!("edge: edge.tls: {text}"));
    exposed.into_iter().chain(trust).chain(config.pairs.iter().flat_map(of_pair)).collect()
}

fn of_pair(pair: &PairConfig) -> Vec<String> {
    let about = |text: String| format!("pair `{}`: {text}", pair.name);
    let leased = [max_wait(pair), fence(pair)].into_iter().filter(|_| pair.policy.traits.exclusive);
    let tls = crate::encryption::lint(pair).into_iter().map(Some);
    let own = leased
        .chain([probe_overlap(pair)])
        .chain(unheard(pair))
        .chain(unfenced(pair))
        .chain(tls)
        .chain([cut_short(pair)]);
    own.flatten().chain(of_policy(pair)).map(about).collect()
}

fn of_policy(pair: &PairConfig) -> Vec<String> {
    let policy = &pair.policy;
    let mut said: Vec<String> = match policy.plugin.lint(&policy.setup) {
        Ok(lints) => lints.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    said.extend(
        policy.expected_delay.map(|delay| format!("expected switch delay, at worst: {}", format_duration(delay))),
    );
    said
}

/// Who is let finish, and is cut before.
fn cut_short(pair: &PairConfig) -> Option<String> {
    let finishes = pair.listener.iter().any(|listener| listener.on_switch == OnSwitch::Finish);
    (finishes && pair.settings.leftover == Leftover::Cut).then(|| {
        "a listener has `on_switch = \"finish\"`, but a switch cuts what is left at the old side as soon as that has stood down: \
         `leftover = \"finish\"` in [pair.handover] lets it go on"
            .to_owned()
    })
}

/// What nobody confirms, and what nobody asks for.
fn unfenced(pair: &PairConfig) -> impl Iterator<Item = Option<String>> {
    let of_side = |(side, config): (Side, &SideConfig)| {
        let remote = config.remote.as_ref()?;
        let said = match (&config.fence, remote.unfenced_delay) {
            (_, Some(delay)) => format!(
                "a failover from it goes on {} after its stop was ordered although nobody has confirmed it: both sides may \
                 then be active; a fencing hook ([pair.{side}.fence]) would know",
                format_duration(delay)
            ),
            (None, None) => format!(
                "a failover from a node that has lost its power waits until a person says `switch --unsafe`; a fencing \
                 hook ([pair.{side}.fence]) would know"
            ),
            (Some(_), None) => return Some(format!("side {side} has no agent and no lease; its hook fences it")),
        };
        Some(format!("side {side} has no agent and no lease: {said}"))
    };
    pair.sides.iter().map(of_side).collect::<Vec<_>>().into_iter()
}

/// A failover that must wait for the lease holds requests at least for so long.
fn max_wait(pair: &PairConfig) -> Option<String> {
    let settings = &pair.settings;
    let drift = settings.terms.ttl.mul_f64(f64::from(settings.drift_ppm) / 1e6);
    let fenced = settings.terms.ttl + drift + settings.margin + settings.terms.stop_max;
    (pair.hold.max_wait < fenced).then(|| {
        format!(
            "hold.max_wait = {} is shorter than what a failover may have to wait for the lease alone, {} (ttl {} + \
             drift + margin {} + stop_max {}): its held requests will be answered 503",
            format_duration(pair.hold.max_wait),
            whole(fenced),
            format_duration(settings.terms.ttl),
            format_duration(settings.margin),
            format_duration(settings.terms.stop_max),
        )
    })
}

/// A planned handover gives up when the old side has not stood down in time.
fn fence(pair: &PairConfig) -> Option<String> {
    let (fence, stop_max) = (pair.settings.fence, pair.settings.terms.stop_max);
    (fence < stop_max).then(|| {
        format!(
            "handover.fence = {} is shorter than lease.stop_max = {}: a planned handover is given up while the old \
             side may still be stopping",
            format_duration(fence),
            format_duration(stop_max),
        )
    })
}

fn probe_overlap(pair: &PairConfig) -> Option<String> {
    let detect = pair.policy.setup.detect;
    let overlapping = detect.timeout_ms / detect.interval_ms.max(1);
    (overlapping > 20).then(|| {
        format!(
            "detect.timeout = {} ms is {overlapping} times detect.interval = {} ms: so many probes of one server may \
             be under way at once",
            detect.timeout_ms, detect.interval_ms,
        )
    })
}

/// Pools that no listener leads to.
fn unheard(pair: &PairConfig) -> Vec<Option<String>> {
    let mut pools = pair.sides.a.pools.clone();
    pools.dedup();
    let heard = |pool: &String| match pool.as_str() {
        _ if pair.listener.iter().any(|listener| listener.pool == *pool) => true,
        "" => !pair.listen.is_empty(),
        name => pair.listeners.iter().any(|listeners| listeners.pool == name),
    };
    let unheard = pools.into_iter().filter(|pool| !heard(pool));
    let said = unheard.map(|pool| match pool.as_str() {
        "" => "pair.listen is missing: no request reaches the servers without a pool".to_owned(),
        name => format!("pair.listeners.{name} is missing: no request reaches the servers of pool \"{name}\""),
    });
    said.map(Some).collect()
}

/// To the millisecond: what comes of a multiplication is not shown to the nanosecond.
fn whole(time: Duration) -> humantime::FormattedDuration {
    format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}
