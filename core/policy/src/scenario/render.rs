//! Actions as text.

use super::moment;
use crate::At;
use crate::action::{Action, Level, ProbeKind, Urgency, Watch};
use std::collections::BTreeMap;

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
    }
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
            format!("GET{port} {}{host}, {status}{body}", http.path)
        }
    };
    format!("watch {} every {interval}, timeout {timeout}: {what}", watch.side)
}

fn evidence(events: &[u64], times: &BTreeMap<u64, At>) -> String {
    if events.is_empty() {
        return String::new();
    }
    let known = |seq: &u64| times.get(seq).map_or(format!("event {seq}, unknown"), |at| moment::at(*at));
    format!(" [{}]", events.iter().map(known).collect::<Vec<_>>().join(" "))
}
