//! Bytes to events and actions. Whatever the bytes are, the answer is a value or a sentence.

use super::codes::Code;
use super::layout::{
    DoAlarm, DoAlert, DoAnswer, DoAnswerConfig, DoConfirmGate, DoFault, DoPrepare, DoProbe, DoReply, DoRestart,
    DoRoster, DoRunHook, DoShare, DoShow, DoStandDown, DoSwitch, DoTimer, DoUnanswer, EvAgent, EvCommand, EvConfig,
    EvHandover, EvLink, EvOrder, EvProbe, EvResult, EvSessions, EvStart, EvTimer, EvTraffic, Fact, Flat, Head, List,
    Pending, Service, ShareRule, Text,
};
use super::{MUST_KNOW, encode, kind};
use crate::action::{
    self, Action, Alert, Answer, ConfigAnswer, ConfirmGate, OrderAnswer, RestartService, Roster, RunHook, Share,
    StandDown, Switch, When,
};
use crate::event::{
    self, ActionResult, AgentReport, Command, ConfigChange, Event, Handover, Link, Order, ProbeId, ProbeResult,
    Sessions, Start, TimerId, Traffic, What,
};
use crate::{At, Epoch, Side, Sides};
use std::cell::Cell;
use std::time::Duration;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a record's head, or than its size says.
    #[error("a record of {needed} bytes is cut off after {there}")]
    Truncated {
        /// What the record says.
        needed: usize,
        /// What is there.
        there: usize,
    },
    /// A size that no record can have.
    #[error("a record of kind {kind} says that it has {size} bytes, {fixed} of them fixed")]
    Size {
        /// The record's kind.
        kind: u16,
        /// Its size.
        size: u32,
        /// Its fixed part.
        fixed: u32,
    },
    /// A text or a list that lies outside its record.
    #[error("a record of kind {kind} refers to bytes outside itself")]
    Outside {
        /// The record's kind.
        kind: u16,
    },
    /// A text that is not UTF-8.
    #[error("a record of kind {kind} has a text that is not UTF-8")]
    NotUtf8 {
        /// The record's kind.
        kind: u16,
    },
    /// A field whose value means nothing.
    #[error("a record of kind {kind} has `{field}` = {value}, which means nothing")]
    Value {
        /// The record's kind.
        kind: u16,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A kind that this version does not know and may not skip.
    #[error("a record of kind {kind} must be understood and is unknown to this version")]
    MustKnow {
        /// The record's kind.
        kind: u16,
    },
}

/// One record, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<T> {
    /// Understood.
    Known(T),
    /// Of a kind that this version does not know, and may skip.
    Unknown {
        /// Its kind.
        kind: u16,
    },
}

/// The first event of `bytes`, and the bytes after it.
pub fn event(bytes: &[u8]) -> Result<(Decoded<Event>, &[u8]), Malformed> {
    let (record, rest) = Record::split(bytes)?;
    let what = match record.head.kind {
        kind::START => What::Start(record.start()?),
        kind::PROBE => What::Probe(record.probe()?),
        kind::AGENT => What::Agent(record.report()?),
        kind::LINK => What::Link(record.link()?),
        kind::TRAFFIC => What::Traffic(record.traffic()?),
        kind::TIMER => What::Timer(TimerId(record.fixed::<EvTimer>()?.timer)),
        kind::ORDER => What::Order(record.order()?),
        kind::HANDOVER => What::Handover(record.handover()?),
        kind::RESULT => What::Result(record.result()?),
        kind::CONFIG => {
            let config = record.fixed::<EvConfig>()?;
            What::Config(ConfigChange { change: config.change, setup: record.text(config.setup)? })
        }
        kind::COMMAND => What::Command(record.command()?),
        kind::SESSIONS => What::Sessions(record.sessions()?),
        _ => return Ok((record.unknown()?, rest)),
    };
    Ok((Decoded::Known(Event { seq: record.head.seq, at: At(record.head.at_ns), what }), rest))
}

/// What a plugin puts into the sink of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// An action; its number, or 0 when the plugin leaves counting to the host.
    Action(u64, Action),
    /// Why the step failed.
    Fault(String),
}

/// The first action of `bytes`, and the bytes after it.
pub fn action(bytes: &[u8]) -> Result<(Decoded<Given>, &[u8]), Malformed> {
    let (record, rest) = Record::split(bytes)?;
    let action = match record.head.kind {
        kind::WATCH => Action::Watch(record.watch()?),
        kind::WATCH_ICMP => Action::Watch(record.watch_icmp()?),
        kind::WATCH_AGENT => Action::Watch(record.watch_agent()?),
        kind::WATCH_XMPP => Action::Watch(record.watch_xmpp()?),
        kind::WATCH_CTI => Action::Watch(record.watch_cti()?),
        kind::UNWATCH => Action::Unwatch(ProbeId(record.fixed::<DoProbe>()?.probe)),
        kind::PROBE_NOW => Action::ProbeNow(ProbeId(record.fixed::<DoProbe>()?.probe)),
        kind::SET_TIMER => {
            let timer = record.fixed::<DoTimer>()?;
            Action::SetTimer(TimerId(timer.timer), At(timer.due_ns))
        }
        kind::CANCEL_TIMER => Action::CancelTimer(TimerId(record.fixed::<DoTimer>()?.timer)),
        kind::PREPARE => Action::Prepare(record.value("side", record.fixed::<DoPrepare>()?.side)?),
        kind::SWITCH => Action::Switch(record.switch()?),
        kind::STAND_DOWN => Action::StandDown(record.stand_down()?),
        kind::RESTART_SERVICE => Action::RestartService(record.restart()?),
        kind::SHOW => {
            let show = record.fixed::<DoShow>()?;
            Action::Show(record.value("side", show.side)?, record.text(show.text)?)
        }
        kind::ALERT => {
            let alert = record.fixed::<DoAlert>()?;
            Action::Alert(Alert { level: record.value("level", alert.level)?, text: record.text(alert.text)? })
        }
        kind::REFUSE_ORDER => Action::RefuseOrder(record.answer()?),
        kind::ASK_CONFIRMATION => Action::AskConfirmation(record.answer()?),
        kind::ACCEPT_ORDER => Action::AcceptOrder(record.answer()?),
        kind::ANSWER_CONFIG => Action::AnswerConfig(record.config_answer()?),
        kind::SHARE => Action::Share(record.share()?),
        kind::ROSTER => Action::Roster(record.roster()?),
        kind::ANSWER => Action::Answer(record.reply()?),
        kind::UNANSWER => Action::Unanswer(record.fixed::<DoUnanswer>()?.rule),
        kind::SET_ALARM => {
            let alarm = record.fixed::<DoAlarm>()?;
            let minute = record.small("minute", alarm.minute)?;
            if minute >= 24 * 60 {
                return Err(record.meaningless("minute", alarm.minute));
            }
            Action::SetAlarm(TimerId(alarm.timer), minute)
        }
        kind::CONFIRM_GATE => {
            let order = record.fixed::<DoConfirmGate>()?;
            let (gate, by) = (record.text(order.gate)?, record.text(order.by)?);
            Action::ConfirmGate(ConfirmGate { side: record.value("side", order.side)?, gate, by })
        }
        kind::RUN_HOOK => {
            let order = record.fixed::<DoRunHook>()?;
            let (hook, reason) = (record.text(order.hook)?, record.text(order.reason)?);
            Action::RunHook(RunHook { side: record.value("side", order.side)?, hook, reason })
        }
        kind::FAULT => {
            let fault = record.text(record.fixed::<DoFault>()?.text)?;
            return Ok((Decoded::Known(Given::Fault(fault)), rest));
        }
        _ => return Ok((record.unknown()?, rest)),
    };
    Ok((Decoded::Known(Given::Action(record.head.seq, action)), rest))
}

/// A record whose size and fixed part are sound.
pub(super) struct Record<'a> {
    head: Head,
    bytes: &'a [u8],
    /// Bytes that texts may still take: texts that overlap would let a small record fill the memory.
    texts: Cell<usize>,
}

impl<'a> Record<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Record<'a>, &'a [u8]), Malformed> {
        if bytes.len() < Head::SIZE {
            return Err(Malformed::Truncated { needed: Head::SIZE, there: bytes.len() });
        }
        let head = Head::read(bytes, 0);
        let (size, fixed) = (head.size as usize, head.fixed as usize);
        if size % 8 != 0 || fixed % 8 != 0 || fixed < Head::SIZE || size < fixed {
            return Err(Malformed::Size { kind: head.kind, size: head.size, fixed: head.fixed });
        }
        let (record, rest) =
            bytes.split_at_checked(size).ok_or(Malformed::Truncated { needed: size, there: bytes.len() })?;
        Ok((Record { head, bytes: record, texts: Cell::new(size) }, rest))
    }

    fn unknown<T>(&self) -> Result<Decoded<T>, Malformed> {
        let kind = self.head.kind;
        if self.head.flags & MUST_KNOW == 0 { Ok(Decoded::Unknown { kind }) } else { Err(Malformed::MustKnow { kind }) }
    }

    /// The fixed part. It may be longer than ours, or shorter, when it is of an earlier version.
    pub(super) fn fixed<T: Flat>(&self) -> Result<T, Malformed> {
        let fixed = self.bytes.get(..self.head.fixed as usize).filter(|fixed| fixed.len() >= T::LEAST);
        let Head { kind, size, fixed: length, .. } = self.head;
        fixed.map(|fixed| T::read(fixed, 0)).ok_or(Malformed::Size { kind, size, fixed: length })
    }

    pub(super) fn value<T: Code>(&self, field: &'static str, code: u32) -> Result<T, Malformed> {
        T::from_code(code).ok_or_else(|| self.meaningless(field, code))
    }

    pub(super) fn meaningless(&self, field: &'static str, value: u32) -> Malformed {
        Malformed::Value { kind: self.head.kind, field, value: value.into() }
    }

    pub(super) fn small(&self, field: &'static str, value: u32) -> Result<u16, Malformed> {
        u16::try_from(value).map_err(|_| self.meaningless(field, value))
    }

    fn side_or_none(&self, field: &'static str, code: u32) -> Result<Option<Side>, Malformed> {
        if code == 0 { Ok(None) } else { self.value(field, code).map(Some) }
    }

    pub(super) fn text(&self, text: Text) -> Result<String, Malformed> {
        let kind = self.head.kind;
        let end = (text.at as usize).checked_add(text.len as usize);
        let bytes = end.and_then(|end| self.bytes.get(text.at as usize..end)).ok_or(Malformed::Outside { kind })?;
        self.texts.set(self.texts.get().checked_sub(bytes.len()).ok_or(Malformed::Outside { kind })?);
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8 { kind })?;
        Ok(text.to_owned())
    }

    pub(super) fn texts(&self, list: List) -> Result<Vec<String>, Malformed> {
        self.list::<Text>(list)?.into_iter().map(|text| self.text(text)).collect()
    }

    pub(super) fn list<E: Flat>(&self, list: List) -> Result<Vec<E>, Malformed> {
        let outside = Malformed::Outside { kind: self.head.kind };
        if list.count == 0 {
            return Ok(Vec::new());
        }
        let (at, count, stride) = (list.at as usize, list.count as usize, list.stride as usize);
        if stride < E::SIZE {
            return Err(outside);
        }
        let end = count.checked_mul(stride).and_then(|length| length.checked_add(at));
        let elements = end.and_then(|end| self.bytes.get(at..end)).ok_or(outside)?;
        Ok(elements.chunks_exact(stride).map(|element| E::read(element, 0)).collect())
    }

    fn start(&self) -> Result<Start, Malformed> {
        let start = self.fixed::<EvStart>()?;
        Ok(Start {
            active: self.side_or_none("active", start.active)?,
            epoch: Epoch(start.epoch),
            restored: start.restored != 0,
            since_handover: Some(start.since_handover_ns).filter(|since| *since != 0).map(Duration::from_nanos),
        })
    }

    fn probe(&self) -> Result<ProbeResult, Malformed> {
        let probe = self.fixed::<EvProbe>()?;
        Ok(ProbeResult {
            probe: ProbeId(probe.probe),
            side: self.value("side", probe.side)?,
            server: probe.server,
            verdict: self.value("verdict", probe.verdict)?,
            latency: Duration::from_nanos(probe.latency_ns),
            status: self.small("status", probe.status)?,
            detail: self.text(probe.detail)?,
            facts: self.list::<Fact>(probe.facts)?.into_iter().map(|fact| self.fact(fact)).collect::<Result<_, _>>()?,
        })
    }

    fn fact(&self, fact: Fact) -> Result<event::Fact, Malformed> {
        Ok(event::Fact { name: self.text(fact.name)?, value: self.text(fact.value)? })
    }

    fn report(&self) -> Result<AgentReport, Malformed> {
        let report = self.fixed::<EvAgent>()?;
        let services = self.list::<Service>(report.services)?;
        Ok(AgentReport {
            side: self.value("side", report.side)?,
            role: self.value("role", report.role)?,
            epoch: Epoch(report.epoch),
            serving: report.serving != 0,
            fit: report.fit != 0,
            services: services.into_iter().map(|service| self.service(service)).collect::<Result<_, _>>()?,
            release: self.text(report.release)?,
            replication: self.value("replication", report.replication)?,
            replication_detail: self.text(report.replication_detail)?,
            lan: self.value("lan", report.lan)?,
            waiting: self.text(report.waiting)?,
        })
    }

    fn service(&self, service: Service) -> Result<event::Service, Malformed> {
        Ok(event::Service {
            name: self.text(service.name)?,
            exclusive: service.exclusive != 0,
            state: self.value("state", service.state)?,
            pid: service.pid,
            restarts: service.restarts,
        })
    }

    fn link(&self) -> Result<Link, Malformed> {
        let link = self.fixed::<EvLink>()?;
        Ok(Link {
            side: self.value("side", link.side)?,
            connection: self.value("connection", link.connection)?,
            up: link.up != 0,
        })
    }

    fn traffic(&self) -> Result<Traffic, Malformed> {
        let traffic = self.fixed::<EvTraffic>()?;
        Ok(Traffic {
            side: self.value("side", traffic.side)?,
            window: Duration::from_nanos(traffic.window_ns),
            good: traffic.good,
            server_errors: traffic.server_errors,
            refused: traffic.refused,
            resets: traffic.resets,
            timeouts: traffic.timeouts,
            slow: traffic.slow,
        })
    }

    fn order(&self) -> Result<Order, Malformed> {
        let order = self.fixed::<EvOrder>()?;
        Ok(Order {
            order: order.order,
            to: self.value("to", order.to)?,
            confirmed: order.confirmed != 0,
            by: self.text(order.by)?,
            rights: self.texts(order.rights)?,
        })
    }

    fn command(&self) -> Result<Command, Malformed> {
        let command = self.fixed::<EvCommand>()?;
        Ok(Command {
            order: command.order,
            name: self.text(command.name)?,
            side: self.side_or_none("side", command.side)?,
            argument: self.text(command.argument)?,
            confirmed: command.confirmed != 0,
            by: self.text(command.by)?,
            rights: self.texts(command.rights)?,
        })
    }

    fn sessions(&self) -> Result<Sessions, Malformed> {
        let sessions = self.fixed::<EvSessions>()?;
        Ok(Sessions {
            share: sessions.share,
            on: Sides { a: sessions.on_a, b: sessions.on_b },
            moved: sessions.moved,
            left: sessions.left,
            failed: sessions.failed,
            ended: sessions.ended != 0,
            names: self.texts(sessions.names)?,
        })
    }

    fn handover(&self) -> Result<Handover, Malformed> {
        let handover = self.fixed::<EvHandover>()?;
        Ok(Handover {
            epoch: Epoch(handover.epoch),
            to: self.value("to", handover.to)?,
            stage: self.value("stage", handover.stage)?,
            active: self.side_or_none("active", handover.active)?,
        })
    }

    fn result(&self) -> Result<ActionResult, Malformed> {
        let result = self.fixed::<EvResult>()?;
        Ok(ActionResult {
            action: result.action,
            outcome: self.value("outcome", result.outcome)?,
            why: self.text(result.why)?,
        })
    }

    fn switch(&self) -> Result<Switch, Malformed> {
        let switch = self.fixed::<DoSwitch>()?;
        Ok(Switch {
            to: self.value("to", switch.to)?,
            urgency: self.value("urgency", switch.urgency)?,
            reason: self.text(switch.reason)?,
            evidence: self.list(switch.evidence)?,
            order: switch.order,
        })
    }

    fn stand_down(&self) -> Result<StandDown, Malformed> {
        let order = self.fixed::<DoStandDown>()?;
        Ok(StandDown {
            side: self.value("side", order.side)?,
            reason: self.text(order.reason)?,
            evidence: self.list(order.evidence)?,
        })
    }

    fn restart(&self) -> Result<RestartService, Malformed> {
        let order = self.fixed::<DoRestart>()?;
        Ok(RestartService {
            side: self.value("side", order.side)?,
            service: self.text(order.service)?,
            reason: self.text(order.reason)?,
        })
    }

    fn answer(&self) -> Result<OrderAnswer, Malformed> {
        let answer = self.fixed::<DoAnswer>()?;
        Ok(OrderAnswer { order: answer.order, text: self.text(answer.text)? })
    }

    fn config_answer(&self) -> Result<ConfigAnswer, Malformed> {
        let answer = self.fixed::<DoAnswerConfig>()?;
        let pending = self.list::<Pending>(answer.pending)?;
        let pending = pending
            .into_iter()
            .map(|pending| Ok(action::Pending { key: self.text(pending.key)?, until: self.text(pending.until)? }));
        let refused = self.text(answer.refused)?;
        Ok(ConfigAnswer { change: answer.change, refused, pending: pending.collect::<Result<_, Malformed>>()? })
    }

    fn share(&self) -> Result<Share, Malformed> {
        let share = self.fixed::<DoShare>()?;
        let rules = self.list::<ShareRule>(share.rules)?.into_iter().map(|rule| {
            let (attribute, value) = (self.text(rule.attribute)?, self.text(rule.value)?);
            Ok(action::ShareRule { attribute, value, side: self.value("side", rule.side)? })
        });
        Ok(Share {
            parts: Sides { a: share.a, b: share.b },
            rules: rules.collect::<Result<_, Malformed>>()?,
            from: self.side_or_none("from", share.from)?,
            window: Duration::from_nanos(share.window_ns),
            warning: Duration::from_nanos(share.warning_ns),
            reason: self.text(share.reason)?,
            evidence: self.list(share.evidence)?,
            order: share.order,
        })
    }

    fn roster(&self) -> Result<Roster, Malformed> {
        let roster = self.fixed::<DoRoster>()?;
        let numbered = |server: u64| {
            let number = u32::try_from(server).ok();
            number.ok_or(Malformed::Value { kind: self.head.kind, field: "servers", value: server })
        };
        Ok(Roster {
            side: self.value("side", roster.side)?,
            pool: self.text(roster.pool)?,
            pick: self.value("pick", roster.pick)?,
            servers: self.list(roster.servers)?.into_iter().map(numbered).collect::<Result<_, _>>()?,
        })
    }

    fn reply(&self) -> Result<Answer, Malformed> {
        let reply = self.fixed::<DoReply>()?;
        let when = match reply.when {
            encode::ALWAYS => When::Always,
            encode::SERVES => When::Serves(self.value("side", reply.side)?),
            encode::SERVES_NOT => When::ServesNot(self.value("side", reply.side)?),
            value => return Err(self.meaningless("when", value)),
        };
        Ok(Answer {
            rule: reply.rule,
            path: self.text(reply.path)?,
            query: self.text(reply.query)?,
            host: self.text(reply.host)?,
            when,
            status: self.small("status", reply.status)?,
            content_type: self.text(reply.content_type)?,
            body: self.text(reply.body)?,
        })
    }
}
