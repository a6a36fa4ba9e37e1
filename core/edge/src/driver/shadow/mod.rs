//! A second policy beside the one in force: told the same, its answers compared and not done.
//!
//! The candidate goes on from the present policy's state, if it can, and is told where the pair stands. Then it is told
//! every event of the pair, but for the timers, probes and results that are the other one's own, and has its own. The
//! two can change places ([`promotion`]); the one that was in force is then the shadow, told everything, and can take
//! its place again in the same way.

mod compare;
mod promotion;

pub(super) use promotion::Promotion;

use super::seat::Seat;
use super::standing::Standing;
use super::{Driver, Feed};
use crate::admin::api::ShadowStatus;
use crate::config::PolicyConfig;
use crate::probe::{Means, Probes};
use crate::wall;
use compare::{Both, Comparison, has_a_result};
use lockstep_policy::event::{ActionResult, Event, Outcome, ProbeId, ProbeResult, What};
use lockstep_policy::host::{Haste, LifeRecord, Report, Sent, Snapshot, StepOutcome};
use lockstep_policy::{Action, At, Level};
use lockstep_wire::clock;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is answered to an operator: a sentence, or why not.
pub(super) type Reached = oneshot::Sender<Result<String, String>>;

/// A policy that works saves its state in no time.
const SAVE: Duration = Duration::from_secs(2);

/// Events that may wait for the change of places.
const WAITING: usize = 4096;

/// Our actions whose results the shadow waits for.
const SAME: usize = 1024;

/// Results that the shadow gets for what it wanted alone.
const NOT_DONE: &str = "in shadow: recorded, and not done";

/// What there is of a shadow.
#[derive(Default)]
pub(super) enum Shadow {
    #[default]
    None,
    /// The present policy's state is waited for.
    Beginning {
        wanted: Box<PolicyConfig>,
        by: String,
        until: At,
        reply: Reached,
    },
    Beside(Box<Beside>),
}

/// A policy that is told everything and does nothing.
pub(super) struct Beside {
    seat: Seat,
    standing: Standing,
    /// Those of its probes that the policy in force does not have.
    probes: Probes,
    comparison: Comparison,
    /// Actions of the policy in force that are its own as well, by both numbers.
    same: BTreeMap<u64, u64>,
    /// Its life, as it began.
    began: Option<LifeRecord>,
    /// The last event that it was told.
    told: u64,
    /// The first event after those that told it where the pair stands.
    from: u64,
    by: String,
    since: String,
    /// It was in force before the two changed places.
    was_in_force: bool,
    /// It is the one that stands in the configuration.
    configured: bool,
    trouble: String,
}

/// Operators' verbs.
impl Driver {
    pub(super) fn begin_shadow(&mut self, wanted: PolicyConfig, by: String, reply: Reached) {
        if self.promotion.is_some() {
            let _ = reply.send(Err("the policies of this pair are changing places now".to_owned()));
            return;
        }
        let now = clock::now();
        self.notes.operator(
            now,
            json!({ "shadow": wanted.plugin.id(), "version": wanted.plugin.version(),
            "fingerprint": wanted.plugin.fingerprint().to_string(), "by": by }),
        );
        let beginning = Shadow::Beginning { wanted: Box::new(wanted), by, until: now + SAVE, reply };
        if let Shadow::Beginning { reply, .. } = std::mem::replace(&mut self.shadow, beginning) {
            let _ = reply.send(Err("another policy was put into shadow meanwhile".to_owned()));
        }
        if self.seat.is_working(now) {
            self.seat.save();
        } else {
            self.shadow_begins(None);
        }
    }

    /// The state that the candidate goes on from is there, or there is none.
    fn shadow_begins(&mut self, present: Option<Snapshot>) {
        let Shadow::Beginning { wanted, by, reply, .. } = std::mem::take(&mut self.shadow) else { return };
        let snapshot = present.filter(|snapshot| snapshot.policy == wanted.plugin.id());
        let from =
            if snapshot.is_some() { "goes on from the present policy's state" } else { "begins without a state" };
        let said = format!(
            "policy `{}` {} is told everything now and does nothing; it {from}",
            wanted.plugin.id(),
            wanted.plugin.version()
        );
        self.seats += 1;
        let mut beside = Beside::new(self, *wanted, by);
        if let Err(why) = beside.seat.fill(clock::now(), snapshot) {
            let _ = reply.send(Err(why));
            return;
        }
        self.shadow = Shadow::Beside(Box::new(beside));
        let _ = reply.send(Ok(said));
    }

    pub(super) fn end_shadow(&mut self, by: &str) -> Result<String, String> {
        if self.promotion.is_some() {
            return Err("the policies of this pair are changing places now".to_owned());
        }
        match std::mem::take(&mut self.shadow) {
            Shadow::None => return Err("this pair has no policy in shadow".to_owned()),
            Shadow::Beginning { reply, .. } => drop(reply.send(Err(format!("ended by {by}")))),
            Shadow::Beside(_) => {}
        }
        self.notes.operator(clock::now(), json!({ "shadow": "ended", "by": by }));
        Ok("no policy is in shadow any more".to_owned())
    }

    /// The policy in shadow, for the pair's status.
    pub(super) fn in_shadow(&self) -> String {
        let Shadow::Beside(beside) = &self.shadow else { return String::new() };
        let PolicyConfig { plugin, .. } = &beside.seat.config;
        format!("{} {}", plugin.id(), plugin.version())
    }

    pub(super) fn shadow_status(&self) -> Option<ShadowStatus> {
        let Shadow::Beside(beside) = &self.shadow else { return None };
        let PolicyConfig { plugin, file, .. } = &beside.seat.config;
        Some(ShadowStatus {
            id: plugin.id().to_owned(),
            version: plugin.version().to_owned(),
            file: file.display().to_string(),
            fingerprint: plugin.fingerprint().to_string(),
            since: beside.since.clone(),
            by: beside.by.clone(),
            was_in_force: beside.was_in_force,
            working: beside.seat.is_working(clock::now()),
            trouble: beside.trouble.clone(),
            told: beside.seat.events,
            compared: beside.comparison.compared,
            otherwise: beside.comparison.otherwise,
            decided_otherwise: beside.comparison.decided_otherwise,
            latest: beside.comparison.latest.iter().cloned().collect(),
        })
    }
}

/// What the shadow is told.
impl Driver {
    /// An event of the pair. What is the other policy's own is left out.
    pub(super) fn tell_shadow(&mut self, event: &Event, ours: bool) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        match &event.what {
            What::Timer(_) | What::Config(_) | What::Start(_) => {}
            What::Probe(result) if !beside.shares(result.probe, &self.standing) => {}
            What::Result(result) => {
                if let Some(action) = beside.same.remove(&result.action) {
                    let what = What::Result(ActionResult { action, ..result.clone() });
                    beside.hear(event.at, &Event { what, ..event.clone() }, ours);
                }
            }
            _ => beside.hear(event.at, event, ours),
        }
    }

    /// Something that only the shadow is told: the journal of the policy in force knows that it is not its own.
    fn tell_shadow_alone(&mut self, what: What) {
        let now = clock::now();
        if matches!(self.shadow, Shadow::Beside(_))
            && let Some(what) = self.waits_for_promotion(what, true)
            && let Shadow::Beside(beside) = &mut self.shadow
        {
            let event = Event { seq: self.notes.next_seq(now), at: now, what };
            self.notes.event(&event);
            self.notes.skipped(now, event.seq, "it is the shadow's own");
            beside.hear(now, &event, false);
        }
    }

    /// A candidate that begins is told what a new policy is told.
    fn tell_shadow_where_all_stands(&mut self, restored: bool) {
        let told: Vec<What> = std::iter::once(self.start(restored)).chain(self.where_sides_stand()).collect();
        told.into_iter().for_each(|what| self.tell_shadow_alone(what));
    }

    pub(super) fn shadow_probed(&mut self, declaration: u64, result: ProbeResult) {
        if let Shadow::Beside(beside) = &self.shadow
            && beside.probes.is_current(declaration, result.probe)
        {
            self.tell_shadow_alone(What::Probe(result));
        }
    }

    /// What became of an action that the shadow gave when it was in force.
    pub(super) fn result_for_shadow(&mut self, life: u64, result: ActionResult) {
        if matches!(&self.shadow, Shadow::Beside(beside) if beside.seat.life() == life) {
            self.tell_shadow_alone(What::Result(result));
        }
    }

    /// What both watch in the same way is probed once, for the policy in force; the rest of the shadow's for it alone.
    pub(super) fn share_probes(&mut self) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        let own: Vec<_> = beside.probes.watches().cloned().collect();
        for watch in &own {
            if beside.standing.watches.get(&watch.probe) != Some(watch) || beside.shares(watch.probe, &self.standing) {
                beside.probes.unwatch(watch.probe);
            }
        }
        for watch in beside.standing.watches.values() {
            if self.standing.watches.get(&watch.probe) != Some(watch) && !own.contains(watch) {
                let servers = &self.config.sides[watch.side].servers;
                if let Err(why) = beside.probes.watch(watch.clone(), servers) {
                    beside.trouble = why;
                }
            }
        }
    }

    /// All that is due of it by now.
    pub(super) fn watch_shadow(&mut self, now: At) {
        self.watch_promotion(now);
        while self.promotion.is_none()
            && let Shadow::Beside(beside) = &mut self.shadow
            && let Some(timer) = beside.seat.timers.due(now)
        {
            self.tell_shadow_alone(What::Timer(timer));
        }
        if matches!(&self.shadow, Shadow::Beginning { until, .. } if now >= *until) {
            self.shadow_begins(None);
        }
    }

    pub(super) fn shadow_deadline(&self) -> Option<At> {
        let promotion = self.promotion_deadline();
        let shadow = match &self.shadow {
            Shadow::None => None,
            Shadow::Beginning { until, .. } => Some(*until),
            Shadow::Beside(_) if promotion.is_some() => None,
            Shadow::Beside(beside) => beside.seat.timers.earliest(),
        };
        promotion.into_iter().chain(shadow).min()
    }
}

/// What the two answer.
impl Driver {
    /// The present policy's state was saved: a candidate may wait for it.
    pub(super) fn saved_for_shadow(&mut self, snapshot: &Snapshot) {
        if matches!(self.shadow, Shadow::Beginning { .. }) {
            self.shadow_begins(Some(snapshot.clone()));
        }
    }

    /// What we have answered, for the comparison.
    pub(super) fn compare_ours(&mut self, seq: u64, first: u64, actions: &[Action]) {
        if let Shadow::Beside(beside) = &mut self.shadow {
            let when = wall::now();
            let both = beside.comparison.ours(seq, &when, first, actions);
            // What we were told before it began, or while it was not there, is nothing to compare.
            if both.is_none() && seq >= beside.from && beside.seat.is_working(clock::now()) {
                beside.comparison.ours_alone(seq, &when, actions);
            }
            self.settle(both);
        }
    }

    /// We have left an event out.
    pub(super) fn cannot_compare(&mut self, seq: u64) {
        if let Shadow::Beside(beside) = &mut self.shadow {
            beside.comparison.forget(seq);
        }
    }

    /// What we were told is answered no more, and nothing is watched for us.
    pub(super) fn shadow_is_alone(&mut self) {
        self.standing.watches.clear();
        self.share_probes();
        if let Shadow::Beside(beside) = &mut self.shadow {
            beside.comparison.forget_all();
        }
    }

    /// The shadow's own actions end in a result, as if each had been refused; those that are ours as well, in ours.
    fn settle(&mut self, both: Option<Both>) {
        let (Some(both), Shadow::Beside(beside)) = (both, &mut self.shadow) else { return };
        for (ours, its) in both.same {
            beside.same.insert(ours, its);
        }
        while beside.same.len() > SAME {
            beside.same.pop_first();
        }
        for (action, _) in both.alone.into_iter().filter(|(_, action)| has_a_result(action)) {
            let why = NOT_DONE.to_owned();
            self.tell_shadow_alone(What::Result(ActionResult { action, outcome: Outcome::Refused, why }));
        }
    }

    /// What the shadow's occupant reports.
    pub(super) fn shadow_reported(&mut self, occupant: u64, report: Report) {
        let now = clock::now();
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        if !beside.seat.is_of(occupant) {
            return;
        }
        match report {
            Report::Began(record) => self.shadow_began(*record),
            Report::Stepped(outcome) => self.shadow_stepped(outcome),
            Report::Saved { seq, snapshot } => self.shadow_saved(seq, snapshot),
            Report::Skipped { seq, why } => {
                beside.seat.settled(now, seq);
                beside.comparison.forget(seq);
                beside.trouble = why;
            }
            Report::Away => beside.seat.away(now),
            Report::Back => drop(beside.seat.back()),
            Report::Gone(why) => {
                beside.seat.gone(now, &why);
                beside.comparison.forget_all();
                beside.probes.clear();
                beside.trouble = why;
                self.abandon_promotion("the policy in shadow has failed");
            }
            Report::Alert { text, .. } => {
                beside.trouble.clone_from(&text);
                self.notes.alert(now, Level::Warning, "edge", &format!("in shadow: {text}"));
            }
        }
    }

    fn shadow_began(&mut self, record: LifeRecord) {
        self.abandon_promotion("the policy in shadow has begun anew");
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        beside.seat.began(&record);
        beside.standing = Standing::default();
        beside.comparison.forget_all();
        beside.same.clear();
        let restored = record.restored.is_some();
        beside.began = Some(record);
        self.share_probes();
        self.tell_shadow_where_all_stands(restored);
        let from = self.notes.last_seq() + 1;
        if let Shadow::Beside(beside) = &mut self.shadow {
            beside.from = from;
        }
    }

    fn shadow_stepped(&mut self, outcome: StepOutcome) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        beside.seat.answered(clock::now(), &outcome);
        let StepOutcome { seq, first, actions, .. } = outcome;
        let mut watches = false;
        for action in &actions {
            beside.standing.note(action);
            match action {
                Action::Watch(_) | Action::Unwatch(_) => watches = true,
                Action::ProbeNow(probe) => drop(beside.probes.now(*probe)),
                Action::SetTimer(timer, at) => drop(beside.seat.timers.set(*timer, *at)),
                Action::CancelTimer(timer) => beside.seat.timers.cancel(*timer),
                _ => {}
            }
        }
        let when = wall::now();
        let both = beside.comparison.its(seq, &when, first, &actions);
        let both = both.or_else(|| {
            let alone = seq >= beside.from;
            alone.then(|| beside.comparison.its_alone(seq, &when, first, &actions)).flatten()
        });
        if watches {
            self.share_probes();
        }
        self.settle(both);
    }
}

impl Beside {
    fn new(driver: &Driver, wanted: PolicyConfig, by: String) -> Beside {
        let feeds = driver.feeds.clone();
        let deliver = move |declaration, result| drop(feeds.try_send(Feed::ShadowProbe(declaration, result)));
        let heard = Arc::clone(&driver.heard);
        let tell = Arc::new(move |occupant, report| heard.put(occupant, report));
        let means: Arc<Means> = Arc::clone(&driver.means);
        let probes = Probes::new(Arc::new(deliver)).with_means(means).with_agents(Arc::new(driver.pings.clone()));
        Beside {
            seat: Seat::new(wanted, tell).of_number(driver.seats),
            standing: Standing::default(),
            probes,
            comparison: Comparison::default(),
            same: BTreeMap::new(),
            began: None,
            told: 0,
            from: u64::MAX,
            by,
            since: wall::now(),
            was_in_force: false,
            configured: false,
            trouble: String::new(),
        }
    }

    /// Whether a probe is declared by both in the same way, and so sent once.
    fn shares(&self, probe: ProbeId, ours: &Standing) -> bool {
        self.standing.watches.get(&probe).is_some_and(|watch| ours.watches.get(&probe) == Some(watch))
    }

    fn hear(&mut self, now: At, event: &Event, compared: bool) {
        match self.seat.send(now, event, Haste::AtOnce) {
            Ok(Sent::Told) => {
                self.told = event.seq;
                if compared {
                    self.comparison.told(event.seq);
                }
            }
            Ok(Sent::Unknown) => {}
            // Before its first life has begun there is nobody, and nothing is wrong.
            Err(_) if self.began.is_none() => {}
            Err(unheard) => self.trouble = unheard.to_string(),
        }
    }
}
