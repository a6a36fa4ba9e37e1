//! Events and actions to bytes.

use super::codes::{Code, side_or_none};
use super::layout::{
    DoAlarm, DoAlert, DoAnswer, DoAnswerConfig, DoConfirmGate, DoFault, DoPrepare, DoProbe, DoReply, DoRestart,
    DoRoster, DoRunHook, DoShare, DoShow, DoStandDown, DoSwitch, DoTimer, DoUnanswer, EvAgent, EvCommand, EvConfig,
    EvHandover, EvLink, EvOrder, EvProbe, EvResult, EvSessions, EvStart, EvTimer, EvTraffic, Fact, Flat, Head, List,
    Pending, Service, ShareRule, Text,
};
use super::watch::encode_watch;
use super::{MUST_KNOW, kind};
use crate::action::{Action, Answer, Share, Switch, When};
use crate::event::{AgentReport, Event, What};
use crate::{At, Side};
use std::time::Duration;

/// When an answer of the edge applies.
pub(super) const ALWAYS: u32 = 1;
/// See [`ALWAYS`].
pub(super) const SERVES: u32 = 2;
/// See [`ALWAYS`].
pub(super) const SERVES_NOT: u32 = 3;

/// Appends the event's record. `out` may hold others already, and is worth keeping for its memory.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
    let stamp = (event.seq, event.at);
    match &event.what {
        What::Start(start) => Record::new(out, kind::START, stamp).finish(|head, _| EvStart {
            head,
            active: side_or_none(start.active),
            restored: start.restored.into(),
            epoch: start.epoch.0,
            // Zero is none.
            since_handover_ns: start.since_handover.map_or(0, |since| nanos(since).max(1)),
        }),
        What::Probe(probe) => Record::new(out, kind::PROBE, stamp).finish(|head, tail| EvProbe {
            head,
            side: probe.side.code(),
            probe: probe.probe.0,
            verdict: probe.verdict.code(),
            status: probe.status.into(),
            latency_ns: nanos(probe.latency),
            detail: tail.text(&probe.detail),
            server: probe.server,
            pad: 0,
            facts: tail
                .list(&probe.facts, |fact, tail| Fact { name: tail.text(&fact.name), value: tail.text(&fact.value) }),
        }),
        What::Agent(report) => encode_report(report, Record::new(out, kind::AGENT, stamp)),
        What::Link(link) => Record::new(out, kind::LINK, stamp).finish(|head, _| EvLink {
            head,
            side: link.side.code(),
            connection: link.connection.code(),
            up: link.up.into(),
            pad: 0,
        }),
        What::Traffic(traffic) => Record::new(out, kind::TRAFFIC, stamp).finish(|head, _| EvTraffic {
            head,
            side: traffic.side.code(),
            good: traffic.good,
            server_errors: traffic.server_errors,
            refused: traffic.refused,
            resets: traffic.resets,
            timeouts: traffic.timeouts,
            window_ns: nanos(traffic.window),
            slow: traffic.slow,
            pad: 0,
        }),
        What::Timer(timer) => {
            Record::new(out, kind::TIMER, stamp).finish(|head, _| EvTimer { head, timer: timer.0, pad: 0 });
        }
        What::Order(order) => Record::new(out, kind::ORDER, stamp).finish(|head, tail| EvOrder {
            head,
            order: order.order,
            to: order.to.code(),
            confirmed: order.confirmed.into(),
            by: tail.text(&order.by),
            rights: tail.texts(&order.rights),
        }),
        What::Handover(handover) => Record::new(out, kind::HANDOVER, stamp).finish(|head, _| EvHandover {
            head,
            epoch: handover.epoch.0,
            to: handover.to.code(),
            stage: handover.stage.code(),
            active: side_or_none(handover.active),
            pad: 0,
        }),
        What::Result(result) => Record::new(out, kind::RESULT, stamp).finish(|head, tail| EvResult {
            head,
            action: result.action,
            outcome: result.outcome.code(),
            pad: 0,
            why: tail.text(&result.why),
        }),
        What::Config(config) => Record::new(out, kind::CONFIG, stamp).finish(|head, tail| EvConfig {
            head,
            change: config.change,
            setup: tail.text(&config.setup),
        }),
        What::Command(command) => Record::new(out, kind::COMMAND, stamp).finish(|head, tail| EvCommand {
            head,
            order: command.order,
            side: side_or_none(command.side),
            confirmed: command.confirmed.into(),
            name: tail.text(&command.name),
            argument: tail.text(&command.argument),
            by: tail.text(&command.by),
            rights: tail.texts(&command.rights),
        }),
        What::Sessions(sessions) => Record::new(out, kind::SESSIONS, stamp).finish(|head, tail| EvSessions {
            head,
            share: sessions.share,
            on_a: sessions.on.a,
            on_b: sessions.on.b,
            moved: sessions.moved,
            left: sessions.left,
            failed: sessions.failed,
            ended: sessions.ended.into(),
            names: tail.texts(&sessions.names),
        }),
    }
}

fn encode_report(report: &AgentReport, record: Record<'_>) {
    record.finish(|head, tail| EvAgent {
        head,
        side: report.side.code(),
        role: report.role.code(),
        epoch: report.epoch.0,
        serving: report.serving.into(),
        fit: report.fit.into(),
        services: tail.list(&report.services, |service, tail| Service {
            name: tail.text(&service.name),
            exclusive: service.exclusive.into(),
            state: service.state.code(),
            pid: service.pid,
            restarts: service.restarts,
        }),
        release: tail.text(&report.release),
        replication: report.replication.code(),
        lan: report.lan.code(),
        replication_detail: tail.text(&report.replication_detail),
        waiting: tail.text(&report.waiting),
    });
}

/// Appends the action's record: its number among the instance's actions, and when it was given.
pub fn encode_action(number: u64, at: At, action: &Action, out: &mut Vec<u8>) {
    let stamp = (number, at);
    let side_only = |out, side: Side| {
        Record::new(out, kind::PREPARE, stamp).finish(|head, _| DoPrepare { head, side: side.code(), pad: 0 });
    };
    match action {
        Action::Watch(watch) => encode_watch(watch, stamp, out),
        Action::Unwatch(probe) => {
            Record::new(out, kind::UNWATCH, stamp).finish(|head, _| DoProbe { head, probe: probe.0, pad: 0 });
        }
        Action::ProbeNow(probe) => {
            Record::new(out, kind::PROBE_NOW, stamp).finish(|head, _| DoProbe { head, probe: probe.0, pad: 0 });
        }
        Action::SetTimer(timer, due) => Record::new(out, kind::SET_TIMER, stamp).finish(|head, _| DoTimer {
            head,
            timer: timer.0,
            pad: 0,
            due_ns: due.0,
        }),
        Action::CancelTimer(timer) => Record::new(out, kind::CANCEL_TIMER, stamp).finish(|head, _| DoTimer {
            head,
            timer: timer.0,
            pad: 0,
            due_ns: 0,
        }),
        Action::Prepare(side) => side_only(out, *side),
        Action::Switch(switch) => encode_switch(switch, Record::new(out, kind::SWITCH, stamp)),
        Action::StandDown(order) => Record::new(out, kind::STAND_DOWN, stamp).finish(|head, tail| DoStandDown {
            head,
            side: order.side.code(),
            pad: 0,
            reason: tail.text(&order.reason),
            evidence: tail.list(&order.evidence, |seq, _| *seq),
        }),
        Action::RestartService(order) => {
            Record::new(out, kind::RESTART_SERVICE, stamp).finish(|head, tail| DoRestart {
                head,
                side: order.side.code(),
                pad: 0,
                service: tail.text(&order.service),
                reason: tail.text(&order.reason),
            })
        }
        Action::Show(side, text) => Record::new(out, kind::SHOW, stamp).finish(|head, tail| DoShow {
            head,
            side: side.code(),
            pad: 0,
            text: tail.text(text),
        }),
        Action::Alert(alert) => Record::new(out, kind::ALERT, stamp).finish(|head, tail| DoAlert {
            head,
            level: alert.level.code(),
            pad: 0,
            text: tail.text(&alert.text),
        }),
        Action::RefuseOrder(answer) => Record::new(out, kind::REFUSE_ORDER, stamp).finish(|head, tail| DoAnswer {
            head,
            order: answer.order,
            text: tail.text(&answer.text),
        }),
        Action::AskConfirmation(answer) => {
            Record::new(out, kind::ASK_CONFIRMATION, stamp).finish(|head, tail| DoAnswer {
                head,
                order: answer.order,
                text: tail.text(&answer.text),
            });
        }
        Action::AcceptOrder(answer) => Record::new(out, kind::ACCEPT_ORDER, stamp).finish(|head, tail| DoAnswer {
            head,
            order: answer.order,
            text: tail.text(&answer.text),
        }),
        Action::AnswerConfig(answer) => {
            Record::new(out, kind::ANSWER_CONFIG, stamp).finish(|head, tail| DoAnswerConfig {
                head,
                change: answer.change,
                refused: tail.text(&answer.refused),
                pending: tail.list(&answer.pending, |pending, tail| Pending {
                    key: tail.text(&pending.key),
                    until: tail.text(&pending.until),
                }),
            });
        }
        Action::Share(share) => encode_share(share, Record::new(out, kind::SHARE, stamp)),
        Action::Roster(roster) => Record::new(out, kind::ROSTER, stamp).finish(|head, tail| DoRoster {
            head,
            side: roster.side.code(),
            pick: roster.pick.code(),
            pool: tail.text(&roster.pool),
            servers: tail.list(&roster.servers, |server, _| u64::from(*server)),
        }),
        Action::Answer(answer) => encode_answer(answer, Record::new(out, kind::ANSWER, stamp)),
        Action::Unanswer(rule) => {
            Record::new(out, kind::UNANSWER, stamp).finish(|head, _| DoUnanswer { head, rule: *rule, pad: 0 });
        }
        Action::SetAlarm(timer, minute) => Record::new(out, kind::SET_ALARM, stamp).finish(|head, _| DoAlarm {
            head,
            timer: timer.0,
            minute: (*minute).into(),
        }),
        Action::ConfirmGate(order) => Record::new(out, kind::CONFIRM_GATE, stamp).finish(|head, tail| DoConfirmGate {
            head,
            side: order.side.code(),
            pad: 0,
            gate: tail.text(&order.gate),
            by: tail.text(&order.by),
        }),
        Action::RunHook(order) => Record::new(out, kind::RUN_HOOK, stamp).finish(|head, tail| DoRunHook {
            head,
            side: order.side.code(),
            pad: 0,
            hook: tail.text(&order.hook),
            reason: tail.text(&order.reason),
        }),
    }
}

fn encode_share(share: &Share, record: Record<'_>) {
    record.finish(|head, tail| DoShare {
        head,
        a: share.parts.a,
        b: share.parts.b,
        from: side_or_none(share.from),
        pad: 0,
        window_ns: nanos(share.window),
        warning_ns: nanos(share.warning),
        order: share.order,
        reason: tail.text(&share.reason),
        evidence: tail.list(&share.evidence, |seq, _| *seq),
        rules: tail.list(&share.rules, |rule, tail| ShareRule {
            attribute: tail.text(&rule.attribute),
            value: tail.text(&rule.value),
            side: rule.side.code(),
            pad: 0,
        }),
    });
}

fn encode_answer(answer: &Answer, record: Record<'_>) {
    let (when, side) = match answer.when {
        When::Always => (ALWAYS, None),
        When::Serves(side) => (SERVES, Some(side)),
        When::ServesNot(side) => (SERVES_NOT, Some(side)),
    };
    record.finish(|head, tail| DoReply {
        head,
        rule: answer.rule,
        when,
        side: side_or_none(side),
        status: answer.status.into(),
        path: tail.text(&answer.path),
        query: tail.text(&answer.query),
        host: tail.text(&answer.host),
        content_type: tail.text(&answer.content_type),
        body: tail.text(&answer.body),
    });
}

fn encode_switch(switch: &Switch, record: Record<'_>) {
    record.finish(|head, tail| DoSwitch {
        head,
        to: switch.to.code(),
        urgency: switch.urgency.code(),
        order: switch.order,
        reason: tail.text(&switch.reason),
        evidence: tail.list(&switch.evidence, |seq, _| *seq),
    });
}

/// Appends a fault's record: why the step that returns an error failed.
pub fn encode_fault(at: At, text: &str, out: &mut Vec<u8>) {
    Record::new(out, kind::FAULT, (0, at)).finish(|head, tail| DoFault { head, text: tail.text(text) });
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A record being written.
pub(super) struct Record<'a> {
    out: &'a mut Vec<u8>,
    head: Head,
}

impl<'a> Record<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, kind: u16, (seq, at): (u64, At)) -> Record<'a> {
        debug_assert!(out.len().is_multiple_of(8), "records begin at a multiple of 8");
        let flags = if kind::INDISPENSABLE.contains(&kind) { MUST_KNOW } else { 0 };
        Record { out, head: Head { size: 0, kind, flags, fixed: 0, pad: 0, seq, at_ns: at.0 } }
    }

    /// Makes room for the fixed part, lets `make` append texts and lists, and puts the fixed part in its place.
    pub(super) fn finish<T: Flat>(self, make: impl FnOnce(Head, &mut Tail<'_>) -> T) {
        let Record { out, head } = self;
        let start = out.len();
        out.resize(start + T::SIZE, 0);
        let record = make(head, &mut Tail { out: &mut *out, start });
        out.resize(out.len().next_multiple_of(8), 0);
        record.write(out, start);
        let size = length(out.len() - start);
        Head { size, fixed: length(T::SIZE), ..head }.write(out, start);
    }
}

/// The part of a record after its fixed part.
pub(super) struct Tail<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl Tail<'_> {
    pub(super) fn text(&mut self, text: &str) -> Text {
        let at = length(self.out.len() - self.start);
        self.out.extend_from_slice(text.as_bytes());
        Text { at, len: length(text.len()) }
    }

    pub(super) fn texts(&mut self, texts: &[String]) -> List {
        self.list(texts, |text, tail| tail.text(text))
    }

    pub(super) fn list<T, E: Flat>(&mut self, items: &[T], mut make: impl FnMut(&T, &mut Tail<'_>) -> E) -> List {
        self.out.resize(self.out.len().next_multiple_of(8), 0);
        let first = self.out.len();
        self.out.resize(first + items.len() * E::SIZE, 0);
        for (index, item) in items.iter().enumerate() {
            let element = make(item, self);
            element.write(self.out, first + index * E::SIZE);
        }
        List { at: length(first - self.start), count: length(items.len()), stride: length(E::SIZE), pad: 0 }
    }
}

/// A length that a record can state. One beyond 4 GB is stated as too small, and so the record is read as malformed:
/// hosts refuse records beyond `MAX_RECORD` long before.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
