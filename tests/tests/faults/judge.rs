//! The judge: I1 to I6 and liveness, by what those have written who would be harmed.
//!
//! Excuses are as narrow as what nobody could know: each names the fault that explains it, and the schedule must have that fault, there and
//! then. That a machine is slow is one only where the kernel says that the edge has waited for a processor, at that very moment.

use crate::schedule::{Fault, Host, Kind, Schedule, Target};
use crate::sighting::Given;
use crate::site::{Absence, Deed};
use crate::stored::{Edge, Node};
use crate::watch::Report;
use lockstep_demo::activity::{self, Instant, Mark};
use lockstep_demo::app::Misplaced;
use lockstep_demo::tally::Exchange;
use lockstep_policy::Side;
use lockstep_tests::configuration::LEASE;
use std::collections::BTreeMap;
use std::time::Duration;

/// A handover may not last longer than all its phases together, and those of a roll-back: see the play's configuration.
const HANDOVER: Duration = Duration::from_secs(2 + 2 + 4 + 2 + 2 + 4 + 2 + 2);
/// What a fault causes may come to light so long after its end: TCP sends again what was lost, later each time.
const AFTER: Duration = Duration::from_secs(4);
/// A guard ends a service after its agent's death within this time, also where it has to wait for a processor.
const GRACE: Duration = Duration::from_millis(400);
/// Requests that an edge may have looked at the time for, and not sent yet, when it is stopped.
const ON_THE_BRINK: usize = 4;
/// A client that sends a request so long after its time is held up by its own machine.
const STANDSTILL: Duration = Duration::from_secs(2);
/// A wait for a processor excuses what is sent so long after it: the request's own connection may have waited for several threads.
const LATELY: Duration = Duration::from_millis(50);
/// Complaints of one kind that are printed.
const SHOWN: usize = 5;

/// All that a play has left.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// When the schedule began, on `CLOCK_BOOTTIME`, in nanoseconds, as all times here.
    pub began: u64,
    /// What became of the pair when the last fault was over.
    pub alive: Alive,
    /// The longest time for which the machine itself stood still.
    pub stood_still: Duration,
    /// The side that served in the end, when all had come to rest.
    pub at_rest: Option<Side>,
    /// What was done to the site.
    pub deeds: Vec<Deed>,
    /// When no edge ran.
    pub absences: Vec<Absence>,
    /// When the edge was stopped, and woken.
    pub woken: Vec<(u64, u64)>,
    /// When a side's agent or its guards were killed.
    pub kills: Vec<(Side, u64)>,
    /// What the client saw.
    pub exchanges: Vec<Exchange>,
    /// What the switch saw the edge give.
    pub given: Vec<Given>,
    /// The activity of both CTI services.
    pub ctis: [Vec<Instant>; 2],
    /// What each application served while its CTI was not active.
    pub misplaced: [Vec<Misplaced>; 2],
    /// What each application did.
    pub done: [Vec<Misplaced>; 2],
    /// What is gone afterwards.
    pub watched: Report,
    /// What the edge has stored.
    pub store: Edge,
    /// What the nodes have stored.
    pub nodes: [Option<Node>; 2],
}

/// What became of a pair when the last fault was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alive {
    /// So long after, one side served and the other could.
    After(Duration),
    /// It was not well in time, as the text says.
    Never(String),
    /// The machine was too busy for a judgement, as the text says.
    Unknown(String),
}

/// Everything that is wrong, in sentences that begin with the invariant's name; empty when nothing is.
pub fn judge(schedule: &Schedule, evidence: &Evidence) -> Vec<String> {
    let case = Case { schedule, evidence, spans: evidence.ctis.each_ref().map(|log| active_spans(log)) };
    let mut wrong = Vec::new();
    wrong.extend(case.alive());
    wrong.extend(case.one_active());
    wrong.extend(case.given_to_the_active_side());
    wrong.extend(case.served_by_the_active_side());
    wrong.extend(case.epochs_never_go_back());
    wrong.extend(case.all_agree());
    wrong.extend(case.handovers_end());
    wrong.extend(case.all_are_answered());
    wrong.extend(case.nothing_is_done_twice());
    wrong
}

/// A time during which a CTI service was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
    /// It did not say that it stops: it was killed, or runs on.
    abrupt: bool,
}

fn active_spans(log: &[Instant]) -> Vec<Span> {
    let mut lives: BTreeMap<u32, Vec<&Instant>> = BTreeMap::new();
    log.iter().for_each(|instant| lives.entry(instant.pid).or_default().push(instant));
    let span = |life: Vec<&Instant>| {
        let at = |mark| life.iter().find(|instant| instant.mark == mark).map(|instant| instant.at);
        let stopping = at(Mark::Stopping);
        let to = stopping.or_else(|| life.iter().map(|instant| instant.at).max())?;
        Some(Span { from: at(Mark::Active)?, to, abrupt: stopping.is_none() })
    };
    lives.into_values().filter_map(span).collect()
}

struct Case<'e> {
    schedule: &'e Schedule,
    evidence: &'e Evidence,
    spans: [Vec<Span>; 2],
}

fn index(side: Side) -> usize {
    usize::from(side == Side::B)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The first complaints of a kind, and how many there are.
fn some_of(wrong: Vec<String>) -> Vec<String> {
    let all = wrong.len();
    let mut some: Vec<_> = wrong.into_iter().take(SHOWN).collect();
    if all > SHOWN {
        some.push(format!("… and {} more like these", all - SHOWN));
    }
    some
}

impl Case<'_> {
    fn alive(&self) -> Option<String> {
        match &self.evidence.alive {
            Alive::Never(why) => Some(format!("liveness: {why}")),
            Alive::After(_) | Alive::Unknown(_) => None,
        }
    }

    fn one_active(&self) -> Vec<String> {
        let [a, b] = &self.evidence.ctis;
        let overlaps = activity::overlaps(a, b).into_iter();
        some_of(overlaps.map(|overlap| format!("I1: both CTI services ran at once: {overlap:?}")).collect())
    }

    /// I2, by the wire: a request leaves the edge only while the CTI of the side that it goes to is active. When that ends with a kill, the
    /// edge may not know for as long as a lease lasts.
    fn given_to_the_active_side(&self) -> Vec<String> {
        let mut first: BTreeMap<_, Given> = BTreeMap::new();
        for given in &self.evidence.given {
            first.entry((given.id, given.side, given.port, given.place)).or_insert(*given);
        }
        let misgiven = first.into_values().filter(|given| self.span_at(given.side, given.at).is_none());
        let misgiven = misgiven.filter(|given| !self.edge_had_to_wait(given.at));
        let (brink, misgiven): (Vec<_>, Vec<_>) = misgiven.partition(|given| self.edge_had_just_woken(given));
        let misgiven = misgiven.into_iter().chain(brink.into_iter().skip(ON_THE_BRINK * self.evidence.woken.len()));
        some_of(misgiven.map(|given| format!("I2: given to a side whose CTI was not active: {given:?}")).collect())
    }

    /// The edge looks at the time before it gives a request, and a lease lasts longer than it believes by the margin: 20 ms. That it gets a
    /// processor for as long as it takes to send, within the margin, is an assumption; the kernel tells when it does not hold.
    fn edge_had_to_wait(&self, at: u64) -> bool {
        self.evidence.watched.late.iter().any(|late| late.from <= at && at <= late.to + nanos(LATELY))
    }

    /// The same for an edge that was stopped between its look and the sending: what it sends then, it had before.
    fn edge_had_just_woken(&self, given: &Given) -> bool {
        let sent = self.evidence.exchanges.iter().find(|exchange| exchange.n == given.id).map(|exchange| exchange.sent);
        self.evidence.woken.iter().any(|(stopped, woken)| {
            sent.is_some_and(|sent| sent < *stopped) && (*woken..=woken + nanos(LATELY)).contains(&given.at)
        })
    }

    fn span_at(&self, side: Side, at: u64) -> Option<Span> {
        let covers = |span: &&Span| {
            let known_later = if self.ends_untold(side, **span) { nanos(LEASE) } else { 0 };
            span.from <= at && at <= span.to + known_later
        };
        self.spans[index(side)].iter().find(covers).copied()
    }

    /// Whether nobody says to the edge that a CTI ends: it was killed, or ended in good order because its agent or its guards were.
    fn ends_untold(&self, side: Side, span: Span) -> bool {
        let of_this = |killed: u64| (killed..=killed + nanos(GRACE)).contains(&span.to);
        span.abrupt || self.evidence.kills.iter().any(|(of, killed)| *of == side && of_this(*killed))
    }

    /// I2, by the applications: what was rightly given is served while the CTI is active, unless it was held up on its way.
    fn served_by_the_active_side(&self) -> Vec<String> {
        let all = self.evidence.misplaced.iter().flatten();
        let wrong = all.filter_map(|entry| Some(format!("I2: {}: {entry:?}", self.misplaced(entry)?)));
        some_of(wrong.collect())
    }

    fn misplaced(&self, entry: &Misplaced) -> Option<&'static str> {
        let id = entry.id.parse().ok();
        let ways = self
            .evidence
            .given
            .iter()
            .filter(|given| Some(given.id) == id && given.side == entry.side && given.at <= entry.at);
        let Some(given) = ways.min_by_key(|given| given.at) else { return Some("served and never given") };
        let Some(span) = self.span_at(entry.side, given.at) else {
            return (!self.edge_had_to_wait(given.at)).then_some("given and served without a CTI");
        };
        // What is at an application when its CTI ends untold, nobody has waited for.
        let excused = self.ends_untold(entry.side, span) || self.holds_up(entry.side, given.at, entry.at);
        (!excused).then_some("overtaken by the end of its side's CTI, and nothing held it up")
    }

    /// Whether a fault holds up what is on its way between the edge and a side.
    fn holds_up(&self, side: Side, from: u64, to: u64) -> bool {
        let node = Host::Node(side);
        self.explains(from, to, |kind| match kind {
            Kind::Weather(path, _) => path.covers(Host::Edge, node) || path.covers(node, Host::Edge),
            Kind::Unplug(host) | Kind::Flap(host, ..) => host == Host::Edge || host == node,
            Kind::Stop(target) => [Target::App(side), Target::Node(side)].contains(&target),
            _ => false,
        })
    }

    /// Whether such a fault was in force at some time from one instant to another.
    fn explains(&self, from: u64, to: u64, is_such: impl Fn(Kind) -> bool) -> bool {
        let lies_in = |fault: &&Fault| {
            let begin = self.evidence.began + nanos(fault.at);
            begin <= to && from <= begin + nanos(fault.lasts + AFTER)
        };
        self.schedule.faults.iter().filter(lies_in).any(|fault| is_such(fault.kind))
    }

    fn epochs_never_go_back(&self) -> Vec<String> {
        let of = |side: Side| self.evidence.watched.epochs.iter().filter(move |seen| seen.side == side);
        let steps = Side::BOTH.into_iter().flat_map(|side| of(side).zip(of(side).skip(1)));
        let back = steps.filter(|(before, after)| after.epoch < before.epoch);
        some_of(
            back.map(|(before, after)| format!("I3: a stored epoch went back: {before:?}, then {after:?}")).collect(),
        )
    }

    /// I4: at rest edge and agents agree on one outcome. A side that was fenced by the end of its lease may not have heard of it: it has an
    /// epoch that is over.
    fn all_agree(&self) -> Vec<String> {
        let Some(serving) = self.evidence.at_rest else { return Vec::new() };
        let state = &self.evidence.store.state;
        let [Some(active), Some(standby)] = [serving, serving.other()].map(|side| self.evidence.nodes[index(side)])
        else {
            return vec!["I4: a node has stored nothing".to_owned()];
        };
        let epoch = state.epoch.0;
        let agreed = state.intent.is_none()
            && state.active.is_some_and(|(side, epoch)| side == serving && epoch.0 == active.epoch)
            && active.active
            && (!standby.active || standby.epoch < active.epoch)
            && active.epoch <= epoch
            && standby.epoch <= epoch;
        let wrong = format!(
            "I4: side {serving} serves; the edge has stored {state:?}, side {serving} {active:?}, side {} {standby:?}",
            serving.other()
        );
        (!agreed).then_some(wrong).into_iter().collect()
    }

    /// I5: each handover has ended, but for those in which the edge died, and within the sum of its deadlines.
    fn handovers_end(&self) -> Vec<String> {
        let records = &self.evidence.store.handovers;
        let unended: Vec<_> = records.iter().filter(|record| record.outcome.is_none()).collect();
        let mut wrong = Vec::new();
        let deaths = self.evidence.absences.len();
        // A pair that has not come to rest has one under way.
        let under_way = self.evidence.at_rest.is_none();
        let last_has_ended = under_way || records.last().is_none_or(|last| last.outcome.is_some());
        // What no disk took is not in the store.
        let all_kept = !self.schedule.faults.iter().any(|fault| fault.kind == Kind::Full(Host::Edge));
        if all_kept && (unended.len() > deaths + usize::from(under_way) || !last_has_ended) {
            wrong.push(format!("I5: the edge died {deaths} times; without an end: {unended:#?}"));
        }
        let stopped: Duration = self
            .schedule
            .faults
            .iter()
            .filter_map(|fault| (fault.kind == Kind::Stop(Target::Edge)).then_some(fault.lasts))
            .sum();
        for record in records {
            let last = record.phases.iter().filter_map(|phase| phase.ended).max();
            let took = last.map(|last| last.since(record.began)).unwrap_or_default();
            if took > HANDOVER + stopped {
                wrong.push(format!("I5: a handover took {took:?}: {record:#?}"));
            }
        }
        some_of(wrong)
    }

    /// I6: every request is answered, unless the edge was away; and a refusal says when to come again.
    fn all_are_answered(&self) -> Vec<String> {
        let wrong = self.evidence.exchanges.iter().filter(|exchange| match (&exchange.error, exchange.status) {
            (Some(_), _) | (None, None) => {
                !self.edge_was_away(exchange)
                    && !self.answer_was_held_up(exchange)
                    && !self.client_stood_still(exchange)
            }
            (None, Some(503)) => exchange.retry_after.is_none(),
            _ => false,
        });
        some_of(wrong.map(|exchange| format!("I6: not answered, or not rightly: {exchange:?}")).collect())
    }

    /// From the edge's death until its successor answers.
    fn edge_was_away(&self, exchange: &Exchange) -> bool {
        self.evidence.absences.iter().any(|(died, started)| {
            let answered =
                self.evidence.exchanges.iter().filter(|other| other.status.is_some() && other.sent > *started);
            let back = answered.map(|other| other.ended).min().unwrap_or(u64::MAX);
            *died <= exchange.ended && exchange.sent <= back
        })
    }

    /// A client that connects and says nothing for 10 s is hung up on: here, one that the machine has not let speak, by its own account.
    fn client_stood_still(&self, exchange: &Exchange) -> bool {
        let meanwhile = |other: &&Exchange| other.sent >= exchange.sent && other.due <= exchange.ended;
        let mut others = self.evidence.exchanges.iter().filter(meanwhile);
        others.any(|other| other.sent - other.due > nanos(STANDSTILL))
    }

    /// What has been given to a side, and may not be sent again, is waited for: longer than the client waits, if the side's answer or
    /// the side itself does not come back.
    fn answer_was_held_up(&self, exchange: &Exchange) -> bool {
        let given: Vec<_> = self.evidence.given.iter().filter(|given| given.id == exchange.n).collect();
        exchange.error.as_deref() == Some("timeout")
            && given.iter().any(|given| self.holds_up(given.side, exchange.sent, exchange.ended))
    }

    /// I6: what is not safe to do twice is done once at most; and once exactly when its client has heard that it was done.
    fn nothing_is_done_twice(&self) -> Vec<String> {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        let done = self.evidence.done.iter().flatten().filter(|entry| entry.method == "POST");
        done.for_each(|entry| *times.entry(entry.id.as_str()).or_default() += 1);
        let twice = times.iter().filter(|(_, times)| **times > 1);
        let mut wrong: Vec<_> = twice.map(|(id, times)| format!("I6: POST {id} was done {times} times")).collect();
        let posts = self.evidence.exchanges.iter().filter(|exchange| exchange.method == "POST" && exchange.is_good());
        let lost = posts.filter(|exchange| !times.contains_key(exchange.n.to_string().as_str()));
        wrong.extend(lost.map(|exchange| format!("I6: POST {} was answered and not done", exchange.n)));
        some_of(wrong)
    }
}

#[cfg(test)]
mod tests;
