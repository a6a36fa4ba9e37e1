//! The node's half for a side that admits no agent: one per such side, run by the edge, which can only call.
//!
//! It answers the coordinator as a node does. What a node knows this one asks for: a call that activates, one that stops,
//! and perhaps one that tells whether the side is active. No lease ends by itself there, nothing is on the side's own
//! disk: what it says is worth as much as the calls' answers. The coordinator is told so by
//! [`crate::coordinator::Bound::Unfenced`].

mod contract;

pub use contract::{Input, Look, Output, Run, Settings, Start};

use crate::protocol::{Answer, FromNode, Report, Session, Stamp, ToNode};
use lockstep_policy::event::{Lan, Replication, Role, Service};
use lockstep_policy::{At, Epoch};
use std::collections::VecDeque;
use std::time::Duration;

/// A stop that nobody confirmed is tried again so long after it, and twice as long each time after that.
const STOP_AGAIN: Duration = Duration::from_millis(500);
const STOP_AGAIN_MAX: Duration = Duration::from_secs(30);

/// The node's half for one side without an agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    settings: Settings,
    session: Session,
    /// Of the last command that was obeyed.
    epoch: Epoch,
    wanted: Wanted,
    /// What the last call, or look, has shown.
    known: Known,
    /// Why the last look showed nothing; empty when it did.
    unseen: String,
    call: Option<Call>,
    /// A command that waits for the end of a call.
    next: Option<Next>,
    /// The stop of this epoch is confirmed to the coordinator as soon as it is known.
    owes_stop: Option<Epoch>,
    preparing: Option<Epoch>,
    /// The highest epoch in which it was told to stop.
    fenced: Option<Epoch>,
    /// Until then an active side has the right to be, or may be found to have it: the coordinator renews it as a lease.
    right_until: At,
    stop_again_at: Option<At>,
    stop_pause: Duration,
    next_look: At,
    looking: bool,
    next_report: At,
    last_run: Run,
    outputs: VecDeque<Output>,
    shown: Option<(Role, bool, bool, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Active,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Known {
    Active,
    Stopped,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call {
    Activate(Run),
    /// It was confirmed; now the side itself is to say that it is active.
    Activated,
    Stop(Run),
    /// It was confirmed; now the side itself is to say that it is not active any more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    Activate,
    Stop,
}

impl Remote {
    /// One whose side stood so when the edge was started.
    #[must_use]
    pub fn new(settings: Settings, session: Session, start: Start, now: At) -> Remote {
        let wanted = if start.active { Wanted::Active } else { Wanted::Stopped };
        let mut remote = Remote {
            settings,
            session,
            epoch: start.epoch,
            wanted,
            known: if start.active && !settings.looks { Known::Active } else { Known::Nothing },
            unseen: String::new(),
            call: None,
            next: None,
            owes_stop: None,
            preparing: None,
            fenced: None,
            right_until: now + settings.doubt,
            stop_again_at: None,
            stop_pause: STOP_AGAIN,
            next_look: now,
            looking: false,
            next_report: now,
            last_run: Run(0),
            outputs: VecDeque::new(),
            shown: None,
        };
        if !start.active && !settings.looks {
            // Whatever an earlier life of the edge has begun.
            remote.stop();
        }
        remote
    }

    /// Takes one input. Outputs are then waiting in [`Remote::poll`].
    pub fn handle(&mut self, now: At, input: Input) {
        match input {
            Input::Tick => {}
            Input::Linked => self.next_report = now,
            Input::Command(command) => self.obey(now, command),
            Input::Ended { run, result } => self.ended(now, run, result),
            Input::Looked(look) => self.looked(now, look),
        }
        self.pass_time(now);
        self.report_when_due(now);
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> At {
        let look = (self.settings.looks && !self.looking).then_some(self.next_look);
        [look, self.stop_again_at, self.may_stray().then_some(self.right_until)]
            .into_iter()
            .flatten()
            .fold(self.next_report, At::min)
    }

    /// How the side is, as far as is known.
    #[must_use]
    pub fn report(&self, now: At) -> Report {
        let (role, serving, fit, running) = self.appearance();
        Report {
            stamp: Stamp { session: self.session, at: now },
            epoch: self.epoch,
            role,
            serving,
            fit,
            running,
            // Not a lease: for so long what it says counts, as with a node's.
            lease_left: if role == Role::Active { self.settings.ttl } else { Duration::ZERO },
            services: Vec::<Service>::new(),
            release: String::new(),
            replication: Replication::Unknown,
            replication_detail: String::new(),
            lan: Lan::Unknown,
            waiting: String::new(),
            unbound: Vec::new(),
        }
    }

    /// Role, serving, fit, running.
    fn appearance(&self) -> (Role, bool, bool, bool) {
        let active = self.known == Known::Active;
        let role = match (&self.call, self.known) {
            (Some(Call::Activate(_) | Call::Activated), ..) => Role::Activating,
            (Some(Call::Stop(_) | Call::Stopped), ..) => Role::StandingDown,
            (None, Known::Active) => Role::Active,
            (None, Known::Stopped) => Role::Standby,
            (None, Known::Nothing) => Role::Unknown,
        };
        (role, active && self.wanted == Wanted::Active && self.call.is_none(), self.unseen.is_empty(), active)
    }

    /// It is active, or about to be.
    fn may_stray(&self) -> bool {
        match self.call {
            None => self.known == Known::Active,
            Some(Call::Activated) => true,
            Some(Call::Activate(_) | Call::Stop(_) | Call::Stopped) => false,
        }
    }
}

/// Commands.
impl Remote {
    fn obey(&mut self, now: At, command: ToNode) {
        match command {
            ToNode::Prepare { epoch } => self.prepare(epoch),
            ToNode::StandDown { epoch, .. } => self.stand_down(epoch),
            ToNode::Activate { epoch, .. } => self.activate(now, epoch),
            // Perhaps an edge that was restarted has found it to be active by right.
            ToNode::Renew { epoch, .. } if epoch == self.epoch && self.fenced != Some(epoch) => {
                self.wanted = Wanted::Active;
                self.right_until = now + self.settings.doubt;
            }
            ToNode::Renew { .. } => {}
        }
    }

    fn prepare(&mut self, epoch: Epoch) {
        if epoch < self.epoch {
            self.refuse(epoch, "a newer attempt is under way");
        } else if self.unseen.is_empty() {
            self.answer(Answer::Prepared { epoch });
        } else {
            self.preparing = Some(epoch);
        }
    }

    fn stand_down(&mut self, epoch: Epoch) {
        if epoch < self.epoch {
            return self.refuse(epoch, "a newer attempt is under way");
        }
        self.epoch = epoch;
        self.fenced = Some(epoch);
        self.wanted = Wanted::Stopped;
        self.owes_stop = Some(epoch);
        self.stop_pause = STOP_AGAIN;
        match self.call {
            Some(Call::Activate(_)) => self.next = Some(Next::Stop),
            Some(Call::Stop(_) | Call::Stopped) => self.next = None,
            Some(Call::Activated) | None => self.stop(),
        }
    }

    fn activate(&mut self, now: At, epoch: Epoch) {
        if epoch < self.epoch {
            return self.refuse(epoch, "a newer attempt is under way");
        }
        if self.fenced.is_some_and(|fenced| epoch <= fenced) {
            return self.refuse(epoch, "the side has been told to stand down in this epoch");
        }
        let again = self.wanted == Wanted::Active && self.known == Known::Active && self.call.is_none();
        let same = epoch == self.epoch;
        self.epoch = epoch;
        self.wanted = Wanted::Active;
        self.right_until = now + self.settings.doubt;
        self.owes_stop = None;
        self.stop_again_at = None;
        match self.call {
            None if again && same => self.is_active(now),
            Some(Call::Activate(_) | Call::Activated) => self.next = None,
            Some(Call::Stop(_)) => self.next = Some(Next::Activate),
            Some(Call::Stopped) | None => self.call_activate(),
        }
    }

    fn call_activate(&mut self) {
        self.last_run.0 += 1;
        self.call = Some(Call::Activate(self.last_run));
        self.outputs.push_back(Output::Activate { run: self.last_run, epoch: self.epoch });
    }

    fn stop(&mut self) {
        self.last_run.0 += 1;
        self.stop_again_at = None;
        self.call = Some(Call::Stop(self.last_run));
        self.outputs.push_back(Output::Stop { run: self.last_run, epoch: self.epoch });
    }
}

/// What the calls have come to.
impl Remote {
    fn ended(&mut self, now: At, run: Run, result: Result<(), String>) {
        match self.call {
            Some(Call::Activate(awaited)) if awaited == run => self.activate_ended(now, result),
            Some(Call::Stop(awaited)) if awaited == run => self.stop_ended(now, result),
            _ => {}
        }
    }

    fn activate_ended(&mut self, now: At, result: Result<(), String>) {
        self.call = None;
        if self.next.take() == Some(Next::Stop) {
            return self.stop();
        }
        match result {
            Ok(()) if self.settings.looks => {
                self.call = Some(Call::Activated);
                self.next_look = now;
            }
            Ok(()) => self.is_active(now),
            Err(why) => {
                // What it has come to is not known: stopped before it is said, as a node does.
                self.known = Known::Nothing;
                self.wanted = Wanted::Stopped;
                self.answer(Answer::Failed { epoch: self.epoch, why });
                self.stop();
            }
        }
    }

    fn is_active(&mut self, now: At) {
        self.call = None;
        self.known = Known::Active;
        // The report first: the coordinator serves by what it says.
        self.send_report(now);
        self.answer(Answer::Activated { epoch: self.epoch });
    }

    fn stop_ended(&mut self, now: At, result: Result<(), String>) {
        self.call = None;
        self.next_look = now;
        if self.next.take() == Some(Next::Activate) {
            return self.call_activate();
        }
        match result {
            Ok(()) if self.settings.looks => {
                self.call = Some(Call::Stopped);
                self.stop_later(now);
            }
            Ok(()) => self.is_stopped(now),
            Err(why) => {
                self.known = Known::Nothing;
                if let Some(epoch) = self.owes_stop {
                    self.answer(Answer::Failed { epoch, why });
                }
                self.stop_later(now);
            }
        }
    }

    fn stop_later(&mut self, now: At) {
        self.stop_again_at = Some(now + self.stop_pause);
        self.stop_pause = (self.stop_pause * 2).min(STOP_AGAIN_MAX);
    }

    fn is_stopped(&mut self, now: At) {
        self.call = None;
        self.known = Known::Stopped;
        self.stop_again_at = None;
        self.stop_pause = STOP_AGAIN;
        self.send_report(now);
        if let Some(epoch) = self.owes_stop.take() {
            self.answer(Answer::StoodDown { epoch });
        }
    }

    fn looked(&mut self, now: At, look: Look) {
        self.looking = false;
        self.next_look = now + self.settings.look;
        self.unseen = match &look {
            Look::Unseen(why) => why.clone(),
            Look::Active | Look::Stopped => String::new(),
        };
        if self.unseen.is_empty()
            && let Some(epoch) = self.preparing.take()
        {
            self.answer(Answer::Prepared { epoch });
        }
        match (&self.call, look) {
            (Some(Call::Activated), Look::Active) => self.is_active(now),
            // Its call was confirmed, and nothing speaks against it.
            (Some(Call::Stopped), Look::Stopped | Look::Unseen(_)) => self.is_stopped(now),
            (Some(Call::Stopped), Look::Active) => self.known = Known::Active,
            // Not yet, or it cannot be seen: the coordinator's own deadline ends it.
            (Some(_), _) => {}
            (None, Look::Active) => {
                if self.known == Known::Nothing && self.wanted == Wanted::Active {
                    // Back in sight: the coordinator has not been able to renew it meanwhile.
                    self.right_until = self.right_until.max(now + self.settings.doubt);
                }
                self.known = Known::Active;
            }
            // The side's own word, whatever became of the call.
            (None, Look::Stopped) if self.wanted == Wanted::Stopped => self.is_stopped(now),
            (None, Look::Stopped) => self.known = Known::Stopped,
            // One that has confirmed its stop does not become active by being out of sight.
            (None, Look::Unseen(_)) if self.known == Known::Stopped => {}
            (None, Look::Unseen(_)) => self.known = Known::Nothing,
        }
    }
}

/// Time.
impl Remote {
    fn pass_time(&mut self, now: At) {
        if self.stop_again_at.is_some_and(|at| now >= at) {
            self.stop();
        }
        let stopped = self.wanted == Wanted::Stopped && self.fenced == Some(self.epoch);
        if self.may_stray() && (now >= self.right_until || stopped) {
            self.wanted = Wanted::Stopped;
            let text = "is active, or about to be, without the right to it: it is stopped".to_owned();
            self.outputs.push_back(Output::Alert(text));
            self.stop();
        }
        if self.settings.looks && !self.looking && now >= self.next_look {
            self.looking = true;
            self.outputs.push_back(Output::Look);
        }
    }

    fn report_when_due(&mut self, now: At) {
        if now >= self.next_report || self.shown != Some(self.appearance()) {
            self.send_report(now);
        }
    }

    fn send_report(&mut self, now: At) {
        self.next_report = now + self.settings.renew;
        self.shown = Some(self.appearance());
        self.outputs.push_back(Output::Send(FromNode::Report(self.report(now))));
    }

    fn answer(&mut self, answer: Answer) {
        self.outputs.push_back(Output::Send(FromNode::Answer(answer)));
    }

    fn refuse(&mut self, epoch: Epoch, why: &str) {
        self.answer(Answer::Refused { epoch, highest: self.epoch, why: why.to_owned() });
    }
}

#[cfg(test)]
mod tests;
