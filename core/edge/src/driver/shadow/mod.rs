//! A second policy beside the one in force: told the same, its answers compared and not done; and how the two change
//! places.
//!
//! The candidate goes on from the present policy's state, if it can. It is told every event of the pair, but for the
//! timers, probes and results that are the other one's own, and has its own. Both change places between two events:
//! what happens meanwhile waits for the milliseconds that it takes to save the candidate's state for the journal. The
//! one that was in force is then the shadow, told everything, and can take its place again in the same way.

mod compare;

use super::feed::Reply;
use super::orders::ActionOf;
use super::seat::Seat;
use super::standing::Standing;
use super::{Driver, Feed};
use crate::admin::api::ShadowStatus;
use crate::config::PolicyConfig;
use crate::probe::{Means, Probes};
use crate::wall;
use compare::{Both, Comparison, is_decision};
use lockstep_policy::event::{ActionResult, Event, Outcome, ProbeId, ProbeResult, What};
use lockstep_policy::host::{LifeRecord, Report, Sent, Snapshot, StepOutcome};
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

/// Events that may wait for the state that a candidate begins with, or for the change of places.
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
    /// The present policy's state is waited for, and the events since are kept.
    Beginning {
        wanted: Box<PolicyConfig>,
        by: String,
        until: At,
        since: Vec<Event>,
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
    same: BTreeMap<u64, u64>,
    /// Its life, as it began.
    began: Option<LifeRecord>,
    by: String,
    since: String,
    /// It was in force before the two changed places.
    was_in_force: bool,
    trouble: String,
}

/// The two are changing places.
pub(super) struct Promotion {
    by: String,
    until: At,
    /// What is to be told afterwards; true: it is the shadow's own.
    waiting: Vec<(What, bool)>,
    reply: Reached,
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
        let wanted = Box::new(wanted);
        let until = now + SAVE;
        self.shadow = Shadow::Beginning { wanted, by, until, since: Vec::new(), reply };
        if self.seat.is_working(now) {
            self.seat.save();
        } else {
            self.shadow_begins(None);
        }
    }

    /// The state that the candidate goes on from is there, or there is none.
    fn shadow_begins(&mut self, restored: Option<(u64, Snapshot)>) {
        let Shadow::Beginning { wanted, by, since, reply, .. } = std::mem::take(&mut self.shadow) else { return };
        let now = clock::now();
        let snapshot = restored.as_ref().filter(|(_, snapshot)| snapshot.policy == wanted.plugin.id());
        let from =
            if snapshot.is_some() { "goes on from the present policy's state" } else { "begins without a state" };
        let said = format!(
            "policy `{}` {} is told everything now and does nothing; it {from}",
            wanted.plugin.id(),
            wanted.plugin.version()
        );
        let mut beside = Beside::new(self, *wanted, by);
        if snapshot.is_some() {
            beside.standing = self.standing.clone();
            beside.seat.timers = self.seat.timers.clone();
        }
        if let Err(why) = beside.seat.fill(now, snapshot.map(|(_, snapshot)| snapshot.clone())) {
            let _ = reply.send(Err(why));
            return;
        }
        let after = restored.map_or(0, |(seq, _)| seq);
        for event in since.into_iter().filter(|event| event.seq > after) {
            beside.hear(now, &event, false);
        }
        self.shadow = Shadow::Beside(Box::new(beside));
        let _ = reply.send(Ok(said));
    }

    pub(super) fn end_shadow(&mut self, by: &str) -> Result<String, String> {
        if self.promotion.is_some() {
            return Err("the policies of this pair are changing places now".to_owned());
        }
        match std::mem::take(&mut self.shadow) {
            Shadow::None => Err("this pair has no policy in shadow".to_owned()),
            Shadow::Beginning { .. } | Shadow::Beside(_) => {
                self.notes.operator(clock::now(), json!({ "shadow": "ended", "by": by }));
                Ok("no policy is in shadow any more".to_owned())
            }
        }
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
            compared: beside.comparison.compared,
            otherwise: beside.comparison.otherwise,
            decided_otherwise: beside.comparison.decided_otherwise,
            latest: beside.comparison.latest.iter().cloned().collect(),
        })
    }

    /// The shadow takes the place of the policy in force; `back`: only if it was there before.
    pub(super) fn promote(&mut self, back: bool, by: String, reply: Reached) {
        let now = clock::now();
        let refusal = match &self.shadow {
            _ if self.promotion.is_some() => Some("the policies of this pair are changing places already"),
            Shadow::None | Shadow::Beginning { .. } => {
                Some("this pair has no policy in shadow: `lockstep policy shadow` first")
            }
            Shadow::Beside(beside) if back && !beside.was_in_force => Some("the policy in shadow was never in force"),
            Shadow::Beside(beside) if !beside.seat.is_working(now) => Some("the policy in shadow does not work"),
            Shadow::Beside(beside) => {
                beside.seat.save();
                None
            }
        };
        if let Some(why) = refusal {
            let _ = reply.send(Err(why.to_owned()));
            return;
        }
        self.promotion = Some(Promotion { by, until: now + SAVE, waiting: Vec::new(), reply });
    }
}

/// The change of places.
impl Driver {
    /// Keeps an event back while the two change places; false: it is to be told now.
    pub(super) fn waits_for_promotion(&mut self, what: &What) -> bool {
        let Some(promotion) = &mut self.promotion else { return false };
        if promotion.waiting.len() >= WAITING {
            return false;
        }
        promotion.waiting.push((what.clone(), false));
        true
    }

    /// The shadow's state is saved, and everything that it was told is in it: between two events.
    fn change_places(&mut self, snapshot: Snapshot) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        let Some(began) = beside.began.take() else { return };
        let Some(promotion) = self.promotion.take() else { return };
        let now = clock::now();
        // What the former policy asked for and the other one too ends for that one.
        let former = self.seat.life();
        let same = std::mem::take(&mut beside.same).into_iter();
        self.inherited = same.map(|(action, its)| (ActionOf { life: former, action }, its)).collect();
        std::mem::swap(&mut self.seat, &mut beside.seat);
        std::mem::swap(&mut self.standing, &mut beside.standing);
        beside.was_in_force = true;
        beside.comparison = Comparison::default();
        beside.began = self.began.take();
        self.config.policy = self.seat.config.clone();
        let record = LifeRecord { given: snapshot.given, restored: Some(snapshot), ..began };
        self.notes.life(now, &record);
        self.began = Some(record);
        let before = beside.standing.clone();
        self.exchange_probes();
        self.clear_alarms();
        let life = self.seat.life();
        for action in self.standing.again(&before) {
            self.act(ActionOf { life, action: 0 }, action);
        }
        let PolicyConfig { plugin, .. } = &self.config.policy;
        let text = format!(
            "policy `{}` {} decides from now on, by {}; the former one is told everything and can be taken back",
            plugin.id(),
            plugin.version(),
            promotion.by
        );
        self.notes.alert(now, Level::Warning, "edge", &text);
        for (what, _) in promotion.waiting {
            self.tell(what);
        }
        let _ = promotion.reply.send(Ok(text));
    }

    /// What is probed is what the policy in force declares; the shadow's own are those that it has alone.
    fn exchange_probes(&mut self) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        let present: Vec<_> = self.probes.watches().cloned().collect();
        for watch in &present {
            if self.standing.watches.get(&watch.probe) != Some(watch) {
                self.probes.unwatch(watch.probe);
                self.sides[watch.side].probes.remove(&watch.probe);
            }
        }
        for watch in self.standing.watches.values().filter(|watch| !present.contains(watch)) {
            let servers = &self.config.sides[watch.side].servers;
            // It was declared before, so that it can be sent is known.
            let _ = self.probes.watch(watch.clone(), servers);
        }
        beside.probes.clear();
        for watch in beside.standing.watches.values() {
            if self.standing.watches.get(&watch.probe) != Some(watch) {
                let _ = beside.probes.watch(watch.clone(), &self.config.sides[watch.side].servers);
            }
        }
    }
}

/// What the shadow is told.
impl Driver {
    /// An event of the pair. What is the other policy's own is left out.
    pub(super) fn tell_shadow(&mut self, event: &Event, ours: bool) {
        match &mut self.shadow {
            Shadow::None => {}
            Shadow::Beginning { since, .. } if since.len() < WAITING => since.push(event.clone()),
            Shadow::Beginning { .. } => {}
            Shadow::Beside(beside) => match &event.what {
                What::Timer(_) | What::Config(_) => {}
                What::Probe(result) if !beside.shares(result.probe, &self.standing) => {}
                What::Result(result) => {
                    if let Some(action) = beside.same.remove(&result.action) {
                        let what = What::Result(ActionResult { action, ..result.clone() });
                        beside.hear(event.at, &Event { what, ..event.clone() }, ours);
                    }
                }
                _ => beside.hear(event.at, event, ours),
            },
        }
    }

    /// Something that only the shadow is told: the journal of the policy in force knows that it is not its own.
    fn tell_shadow_alone(&mut self, what: What) {
        let now = clock::now();
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        if let Some(promotion) = self.promotion.as_mut().filter(|promotion| promotion.waiting.len() < WAITING) {
            return promotion.waiting.push((what, true));
        }
        let seq = self.notes.next_seq(now);
        let event = Event { seq, at: now, what };
        self.notes.event(&event);
        self.notes.skipped(now, seq, "it is the shadow's own");
        beside.hear(now, &event, false);
    }

    pub(super) fn shadow_probed(&mut self, declaration: u64, result: ProbeResult) {
        if let Shadow::Beside(beside) = &self.shadow
            && beside.probes.is_current(declaration, result.probe)
        {
            self.tell_shadow_alone(What::Probe(result));
        }
    }

    /// What we have answered, for the comparison.
    pub(super) fn compare_ours(&mut self, seq: u64, first: u64, actions: &[Action]) {
        if let Shadow::Beside(beside) = &mut self.shadow {
            let both = beside.comparison.ours(seq, &wall::now(), first, actions);
            self.settle(both);
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
        for (action, _) in both.alone.into_iter().filter(|(_, action)| is_decision(action)) {
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
            Report::Began(record) => {
                beside.seat.began(&record);
                beside.trouble.clear();
                let fresh = record.restored.is_none();
                beside.began = Some(*record);
                if fresh {
                    beside.standing = Standing::default();
                    beside.probes.clear();
                    self.tell_shadow_where_all_stands();
                }
            }
            Report::Stepped(outcome) => self.shadow_stepped(outcome),
            Report::Saved { snapshot, .. } => {
                if self.promotion.is_some() {
                    self.change_places(snapshot);
                }
            }
            Report::Skipped { seq, why } => {
                beside.seat.settled(now, seq);
                beside.comparison.forget(seq);
                beside.trouble = why;
            }
            Report::Away => beside.seat.away(now),
            Report::Back => drop(beside.seat.back()),
            Report::Gone(why) => {
                beside.seat.gone(now, &why);
                beside.trouble = why;
            }
            Report::Alert { text, .. } => {
                beside.trouble.clone_from(&text);
                self.notes.alert(now, Level::Warning, "edge", &format!("in shadow: {text}"));
            }
        }
    }

    fn shadow_stepped(&mut self, outcome: StepOutcome) {
        let Shadow::Beside(beside) = &mut self.shadow else { return };
        beside.seat.answered(clock::now(), &outcome);
        let StepOutcome { seq, first, actions, .. } = outcome;
        for action in &actions {
            beside.standing.note(action);
            match action {
                // What both watch in the same way is probed once.
                Action::Watch(watch) if self.standing.watches.get(&watch.probe) != Some(watch) => {
                    let servers = &self.config.sides[watch.side].servers;
                    if let Err(why) = beside.probes.watch(watch.clone(), servers) {
                        beside.trouble = why;
                    }
                }
                Action::Watch(watch) => beside.probes.unwatch(watch.probe),
                Action::Unwatch(probe) => beside.probes.unwatch(*probe),
                Action::ProbeNow(probe) => drop(beside.probes.now(*probe)),
                Action::SetTimer(timer, at) => drop(beside.seat.timers.set(*timer, *at)),
                Action::CancelTimer(timer) => beside.seat.timers.cancel(*timer),
                _ => {}
            }
        }
        let both = beside.comparison.its(seq, &wall::now(), first, &actions);
        self.settle(both);
    }

    /// All that is due of it by now.
    pub(super) fn watch_shadow(&mut self, now: At) {
        while self.promotion.is_none()
            && let Shadow::Beside(beside) = &mut self.shadow
            && let Some(timer) = beside.seat.timers.due(now)
        {
            self.tell_shadow_alone(What::Timer(timer));
        }
        if matches!(&self.shadow, Shadow::Beginning { until, .. } if now >= *until) {
            self.shadow_begins(None);
        }
        if self.promotion.as_ref().is_some_and(|promotion| now >= promotion.until)
            && let Some(Promotion { waiting, reply, .. }) = self.promotion.take()
        {
            for (what, its_own) in waiting {
                if its_own { self.tell_shadow_alone(what) } else { self.tell(what) }
            }
            let _ = reply.send(Err(format!(
                "the policy in shadow has not saved its state within {SAVE:?}; nothing was changed"
            )));
        }
    }

    pub(super) fn shadow_deadline(&self) -> Option<At> {
        let promotion = self.promotion.as_ref().map(|promotion| promotion.until);
        let shadow = match &self.shadow {
            Shadow::None => None,
            Shadow::Beginning { until, .. } => Some(*until),
            Shadow::Beside(_) if promotion.is_some() => None,
            Shadow::Beside(beside) => beside.seat.timers.earliest(),
        };
        promotion.into_iter().chain(shadow).min()
    }

    /// The present policy's state was saved: a candidate may wait for it.
    pub(super) fn saved_for_shadow(&mut self, seq: u64, snapshot: &Snapshot) {
        if matches!(self.shadow, Shadow::Beginning { .. }) {
            self.shadow_begins(Some((seq, snapshot.clone())));
        }
    }

    /// A candidate that begins without a state is told what a new policy is told.
    fn tell_shadow_where_all_stands(&mut self) {
        let told: Vec<What> = std::iter::once(self.start(false)).chain(self.where_sides_stand()).collect();
        told.into_iter().for_each(|what| self.tell_shadow_alone(what));
    }
}

impl Beside {
    fn new(driver: &Driver, wanted: PolicyConfig, by: String) -> Beside {
        let feeds = driver.feeds.clone();
        let deliver = move |declaration, result| drop(feeds.try_send(Feed::ShadowProbe(declaration, result)));
        let replies = driver.replies.clone();
        let tell = Arc::new(move |occupant, report| drop(replies.send(Reply::Shadow(occupant, report))));
        let means: Arc<Means> = Arc::clone(&driver.means);
        let probes = Probes::new(Arc::new(deliver)).with_means(means).with_agents(Arc::new(driver.pings.clone()));
        Beside {
            seat: Seat::new(wanted, tell).counting_from(driver.seat.life()),
            standing: Standing::default(),
            probes,
            comparison: Comparison::default(),
            same: BTreeMap::new(),
            began: None,
            by,
            since: wall::now(),
            was_in_force: false,
            trouble: String::new(),
        }
    }

    /// Whether a probe is declared by both in the same way, and so sent once.
    fn shares(&self, probe: ProbeId, ours: &Standing) -> bool {
        self.standing.watches.get(&probe).is_some_and(|watch| ours.watches.get(&probe) == Some(watch))
    }

    fn hear(&mut self, now: At, event: &Event, compared: bool) {
        match self.seat.send(now, event) {
            Ok(Sent::Told) if compared => self.comparison.told(event.seq),
            Ok(_) => {}
            Err(unheard) => self.trouble = unheard.to_string(),
        }
    }
}
