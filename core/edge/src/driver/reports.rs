//! What the policy's occupant reports: lives, answers, states, failures.

use super::Driver;
use super::orders::ActionOf;
use super::seat::HOLD_COURSE;
use super::standing::Standing;
use crate::wall;
use lockstep_policy::Level;
use lockstep_policy::event::{Event, Start, What};
use lockstep_policy::host::{Haste, LifeRecord, Report, Sent, StepOutcome, Unheard};
use lockstep_wire::clock;

impl Driver {
    /// Puts an instance of the configured plugin into the seat.
    pub(super) fn fill_seat(&mut self) {
        if let Err(why) = self.seat.fill(clock::now(), None) {
            self.notes.alert(clock::now(), Level::Critical, "edge", &format!("{why}; the pair keeps its course"));
        }
    }

    pub(super) fn seat_reported(&mut self, report: Report) {
        let now = clock::now();
        match report {
            Report::Began(record) => self.began(&record),
            Report::Stepped(outcome) => self.stepped(outcome),
            Report::Saved { seq, snapshot } => {
                self.notes.snapshot(now, seq, &snapshot);
                self.saved_for_shadow(&snapshot);
                self.saved_for_change(snapshot);
            }
            Report::Skipped { seq, why } => {
                self.seat.settled(now, seq);
                self.notes.skipped(now, seq, &why);
                self.cannot_compare(seq);
            }
            Report::Away => self.seat.away(now),
            Report::Back => {
                let relieved = self.seat.back();
                self.relieve(relieved);
            }
            Report::Gone(why) => {
                self.probes.clear();
                self.clear_alarms();
                self.shadow_is_alone();
                self.seat.gone(now, &why);
            }
            Report::Alert { level, text } => self.notes.alert(now, level, "edge", &text),
        }
        self.change_places_when_both_are_ready();
    }

    /// A life has begun: it is told where the pair stands.
    fn began(&mut self, record: &LifeRecord) {
        let relieved = self.seat.began(record);
        self.began = Some(record.clone());
        self.standing = Standing::default();
        self.shadow_is_alone();
        self.probes.clear();
        self.clear_alarms();
        if record.restored.is_none() {
            self.forget_what_was_told_of_sessions();
        }
        self.notes.life(clock::now(), record);
        self.relieve(relieved);
        let told: Vec<What> =
            std::iter::once(self.start(record.restored.is_some())).chain(self.where_sides_stand()).collect();
        told.into_iter().for_each(|what| self.tell(what));
    }

    /// The first event of a life.
    pub(super) fn start(&self, restored: bool) -> What {
        let view = self.coordinator.view();
        let active = view.active.map(|(side, _)| side);
        What::Start(Start { active, epoch: view.epoch, restored, since_handover: self.since_handover() })
    }

    fn since_handover(&self) -> Option<std::time::Duration> {
        let latest = self.latest.as_ref().map(|latest| latest.when.as_str());
        latest.or(self.last_handover.as_deref()).and_then(wall::since)
    }

    fn stepped(&mut self, outcome: StepOutcome) {
        self.seat.answered(clock::now(), &outcome);
        let StepOutcome { seq, at, first, actions, .. } = outcome;
        let life = self.seat.life();
        self.notes.answer(life, seq, at, first, &actions);
        self.compare_ours(seq, first, &actions);
        for (number, action) in (first..).zip(actions) {
            self.act(ActionOf { life, action: number }, action);
            self.carry_out();
        }
    }

    /// Tells the policy, and the journal.
    pub(super) fn tell(&mut self, what: What) {
        self.tell_with(Haste::AtOnce, what);
    }

    /// The same for what may have time.
    pub(super) fn tell_with(&mut self, haste: Haste, what: What) {
        let Some(what) = self.waits_for_promotion(what, false) else { return };
        let now = clock::now();
        let event = Event { seq: self.notes.next_seq(now), at: now, what };
        self.notes.event(&event);
        let told = self.seat.send(now, &event, haste);
        self.tell_shadow(&event, told == Ok(Sent::Told));
        if let Err(unheard) = told {
            self.notes.skipped(now, event.seq, &unheard.to_string());
            if let Unheard::TooLarge(why) = unheard {
                self.alert_edge(&why.to_string());
            }
        }
    }

    /// Who decides, as time passes.
    pub(super) fn watch_seat(&mut self) {
        let now = clock::now();
        // A timer is that of the policy that has set it: none rings while two change places.
        while self.promotion.is_none()
            && let Some(timer) = self.seat.timers.due(now)
        {
            self.tell(What::Timer(timer));
        }
        if self.seat.refill_due(now) {
            self.fill_seat();
        }
        if self.seat.got_stuck(now) {
            self.alert_edge("the policy has been busy with one event for seconds; until it answers the pair keeps its course, and operators' orders are carried out without it");
        }
        let relieved = self.seat.resumed(now);
        self.relieve(relieved);
        if self.seat.must_stand_in(now) {
            let text = format!(
                "policy `{}` has not worked for {}: `{HOLD_COURSE}` stands in for it: the pair keeps its route, nothing switches by itself, and operators' orders are carried out at once",
                self.config.policy.plugin.id(),
                humantime::format_duration(self.config.policy.absent_max),
            );
            self.notes.alert(now, Level::Critical, "edge", &text);
        }
    }

    /// The configured policy is back after another one stood in.
    fn relieve(&mut self, relieved: bool) {
        if relieved {
            let text =
                format!("policy `{}` decides again; `{HOLD_COURSE}` stands in no more", self.config.policy.plugin.id());
            self.notes.alert(clock::now(), Level::Warning, "edge", &text);
        }
    }

    pub(super) fn alert_edge(&mut self, text: &str) {
        self.notes.alert(clock::now(), Level::Warning, "edge", text);
    }
}
