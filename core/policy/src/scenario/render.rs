//! Actions as text.

use super::moment;
use crate::At;
use crate::action::{
    Action, Answer, ConfigAnswer, IcmpTarget, Level, Pick, ProbeKind, Roster, Share, Tls, Urgency, Watch, When,
    XmppTransport,
};
use crate::event::Connection;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a transcript calls the kind of an action; `result` lines use the same words.
pub(super) fn kind(action: &Action) -> &'static str {
    match action {
        Action::Watch(_) => "watch",
        Action::Unwatch(_) => "unwatch",
        Action::ProbeNow(_) => "probe-now",
        Action::SetTimer(..) => "set-timer",
        Action::CancelTimer(_) => "cancel-timer",
        Action::Prepare(_) => "prepare",
        Action::Switch(_) => "switch",
        Action::StandDown(_) => "stand-down",
        Action::RestartService(_) => "restart",
        Action::Show(..) => "show",
        Action::Alert(_) => "alert",
        Action::RefuseOrder(_) => "refuse",
        Action::AskConfirmation(_) => "ask",
        Action::AcceptOrder(_) => "accept",
        Action::AnswerConfig(_) => "config",
        Action::Share(_) => "share",
        Action::Roster(_) => "roster",
        Action::Answer(_) => "answer",
        Action::Unanswer(_) => "unanswer",
        Action::SetAlarm(..) => "set-alarm",
        Action::ConfirmGate(_) => "confirm-gate",
        Action::RunHook(_) => "hook",
    }
}

/// Whether it is a timer's action, which transcripts leave out by default.
pub(super) fn is_timer(action: &Action) -> bool {
    matches!(action, Action::SetTimer(..) | Action::CancelTimer(_))
}

/// One line for an action. `times` gives the time of an event by its number.
pub(super) fn action(action: &Action, times: &BTreeMap<u64, At>) -> String {
    match action {
        Action::Watch(probe) => watch(probe),
        Action::Unwatch(probe) => format!("unwatch probe {}", probe.0),
        Action::ProbeNow(probe) => format!("probe now: probe {}", probe.0),
        Action::SetTimer(timer, due) => format!("timer {} at {}", timer.0, moment::at(*due)),
        Action::CancelTimer(timer) => format!("forget timer {}", timer.0),
        Action::Prepare(side) => format!("prepare {side}"),
        Action::Switch(switch) => {
            let urgency = match switch.urgency {
                Urgency::Planned => "planned",
                Urgency::Failover => "failover",
            };
            let order = if switch.order == 0 { String::new() } else { format!(", order {}", switch.order) };
            let evidence = evidence(&switch.evidence, times);
            format!("switch to {}, {urgency}{order}: {}{evidence}", switch.to, switch.reason)
        }
        Action::StandDown(order) => {
            format!("stand down {}: {}{}", order.side, order.reason, evidence(&order.evidence, times))
        }
        Action::RestartService(order) => format!("restart {} of {}: {}", order.service, order.side, order.reason),
        Action::Show(side, text) => format!("show {side}: {text}"),
        Action::Alert(alert) => {
            let level = match alert.level {
                Level::Info => "info",
                Level::Warning => "warning",
                Level::Critical => "critical",
            };
            format!("alert, {level}: {}", alert.text)
        }
        Action::RefuseOrder(answer) => format!("refuse order {}: {}", answer.order, answer.text),
        Action::AskConfirmation(answer) => format!("ask about order {}: {}", answer.order, answer.text),
        Action::AcceptOrder(answer) => format!("accept order {}: {}", answer.order, answer.text),
        Action::AnswerConfig(answer) => config(answer),
        Action::Share(order) => share(order, times),
        Action::Roster(order) => roster(order),
        Action::Answer(order) => answer(order),
        Action::Unanswer(rule) => format!("answer {rule} no more"),
        Action::SetAlarm(timer, minute) => format!("alarm {} at {:02}:{:02}", timer.0, minute / 60, minute % 60),
        Action::ConfirmGate(order) => format!("open gate {} of {}, confirmed by {}", order.gate, order.side, order.by),
        Action::RunHook(order) => format!("run hook {} of {}: {}", order.hook, order.side, order.reason),
    }
}

fn config(answer: &ConfigAnswer) -> String {
    if !answer.refused.is_empty() {
        return format!("refuse change {}: {}", answer.change, answer.refused);
    }
    let pending = answer.pending.iter().map(|pending| format!("; {} from {}", pending.key, pending.until));
    format!("take change {}{}", answer.change, pending.collect::<String>())
}

fn share(share: &Share, times: &BTreeMap<u64, At>) -> String {
    let order = if share.order == 0 { String::new() } else { format!(", order {}", share.order) };
    let moves = share.from.map_or_else(String::new, |from| {
        let warning = match share.warning {
            Duration::ZERO => String::new(),
            warning => format!(", warned {} before", moment::duration(warning)),
        };
        format!(", {from} moves over {}{warning}", moment::duration(share.window))
    });
    let rules = share.rules.iter().map(|rule| format!(", {}={} to {}", rule.attribute, rule.value, rule.side));
    let rules: String = rules.collect();
    let evidence = evidence(&share.evidence, times);
    format!("share a {}, b {}{rules}{moves}{order}: {}{evidence}", share.parts.a, share.parts.b, share.reason)
}

fn roster(roster: &Roster) -> String {
    let pick = match roster.pick {
        Pick::Turn => "in turn",
        Pick::Order => "in order",
        Pick::Shuffle => "shuffled",
    };
    let pool = if roster.pool.is_empty() { String::new() } else { format!(" {}", roster.pool) };
    let servers: Vec<String> = roster.servers.iter().map(ToString::to_string).collect();
    let servers = if servers.is_empty() { "none".to_owned() } else { servers.join(" ") };
    format!("roster {}{pool}, {pick}: {servers}", roster.side)
}

fn answer(answer: &Answer) -> String {
    let when = match answer.when {
        When::Always => String::new(),
        When::Serves(side) => format!(", while {side} is served"),
        When::ServesNot(side) => format!(", while {side} is not served"),
    };
    let query = if answer.query.is_empty() { String::new() } else { format!("?{}", answer.query) };
    let host = if answer.host.is_empty() { String::new() } else { format!(" of {}", answer.host) };
    format!("answer {} {}{query}{host}{when}: {} `{}`", answer.rule, answer.path, answer.status, answer.body)
}

fn watch(watch: &Watch) -> String {
    let (interval, timeout) = (moment::duration(watch.interval), moment::duration(watch.timeout));
    let what = match &watch.kind {
        ProbeKind::Tcp { port: 0 } => "tcp".to_owned(),
        ProbeKind::Tcp { port } => format!("tcp {port}"),
        ProbeKind::Http(http) => {
            let port = if http.port == 0 { String::new() } else { format!(" port {}", http.port) };
            let host = if http.host.is_empty() { String::new() } else { format!(", host {}", http.host) };
            let status = if http.status == 0 { "2xx".to_owned() } else { http.status.to_string() };
            let body = if http.body.is_empty() { String::new() } else { format!(" and `{}`", http.body) };
            let tls = encrypted(http.tls);
            let address = if http.address.is_empty() { String::new() } else { format!(" at {}", http.address) };
            let facts: Vec<&str> = http.facts.iter().map(|fact| fact.name.as_str()).collect();
            let facts = if facts.is_empty() { String::new() } else { format!(", facts {}", facts.join(" ")) };
            format!("{tls}GET{port} {}{address}{host}, {status}{body}{facts}", http.path)
        }
        ProbeKind::Icmp(icmp) => {
            let target = match &icmp.target {
                IcmpTarget::Server => "the server".to_owned(),
                IcmpTarget::Gateways => "the gateways".to_owned(),
                IcmpTarget::Addresses(addresses) => addresses.join(" or "),
            };
            format!("icmp {target}{}", dscp(icmp.dscp))
        }
        ProbeKind::Agent(agent) => {
            let connection = match agent.connection {
                Connection::Main => "main",
                Connection::Auxiliary => "aux",
            };
            let service = if agent.service.is_empty() { "the agent" } else { &agent.service };
            format!("ping {service} over {connection}{}", dscp(agent.dscp))
        }
        ProbeKind::Xmpp(xmpp) => {
            let (tls, port) = (encrypted(xmpp.tls), of_port(xmpp.port));
            let over = match xmpp.transport {
                XmppTransport::Tcp => String::new(),
                XmppTransport::Bosh => format!(" BOSH {}", xmpp.path),
            };
            let user = if xmpp.user.is_empty() { String::new() } else { format!(", as {}", xmpp.user) };
            let presence =
                if xmpp.presence.is_empty() { String::new() } else { format!(", presence of {}", xmpp.presence) };
            format!("{tls}xmpp{port}{over}{user}{presence}")
        }
        ProbeKind::Cti(cti) => {
            let tls = encrypted(cti.tls);
            format!("{tls}cti{} version {}", of_port(cti.port), cti.version)
        }
    };
    let server = if watch.server == 0 { String::new() } else { format!(" server {}", watch.server) };
    format!("watch {}{server} every {interval}, timeout {timeout}: {what}", watch.side)
}

fn encrypted(tls: Tls) -> &'static str {
    match tls {
        Tls::Off => "",
        Tls::Unverified => "tls, unverified, ",
        Tls::Verified => "tls, ",
    }
}

fn of_port(port: u16) -> String {
    if port == 0 { String::new() } else { format!(" {port}") }
}

fn dscp(dscp: u8) -> String {
    if dscp == 0 { String::new() } else { format!(", DSCP {dscp}") }
}

fn evidence(events: &[u64], times: &BTreeMap<u64, At>) -> String {
    if events.is_empty() {
        return String::new();
    }
    let known = |seq: &u64| times.get(seq).map_or(format!("event {seq}, unknown"), |at| moment::at(*at));
    format!(" [{}]", events.iter().map(known).collect::<Vec<_>>().join(" "))
}
