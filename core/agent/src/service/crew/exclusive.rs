//! Exclusive services: all of them, on the node's order, and nothing between orders.

use super::{Crew, Order, Said};
use crate::crash;
use crate::guard::order::{Reach, reserve};
use crate::service::launch::Launch;
use lockstep_pair::node::{Input, Run};
use lockstep_policy::action::Urgency;
use lockstep_policy::{At, Epoch};
use std::time::Duration;

/// What the exclusive services are doing, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequence {
    /// Nothing was asked for, or what was asked for has ended.
    Rest,
    Starting(Run),
    /// All were started, and the node is active.
    Up,
    Stopping(Stop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    run: Run,
    /// When everything has been killed.
    by: At,
    /// When everything is killed.
    kill_at: At,
    /// What must be flushed ends first.
    flushes: bool,
    killed: bool,
}

impl<L: Launch> Crew<L> {
    /// No exclusive service may run after `deadman`, and none that must be flushed then.
    pub(crate) fn deadman(&mut self, deadman: At) {
        let reach = Reach::before(deadman, self.stop_max);
        self.reach = Some(reach);
        self.launch.reach(Some(reach));
        for life in self.slots.iter().filter(|slot| slot.has_reach()).filter_map(|slot| slot.life.as_ref()) {
            life.tell(Order::Extend(reach));
        }
    }

    /// Starts all exclusive services, for an epoch.
    pub(crate) fn start(&mut self, now: At, run: Run, epoch: Epoch) {
        crash::point("start");
        self.epoch = epoch;
        for slot in self.slots.iter_mut().filter(|slot| slot.config.exclusive) {
            slot.ended = None;
            slot.tries = 0;
            slot.retry_at = None;
            slot.returns = false;
            slot.budget.forget();
            // What has ended by itself is waited for, and started again.
            if let Some(life) = slot.life.as_mut().filter(|life| life.exited) {
                life.stopping = true;
            }
        }
        self.sequence = Sequence::Starting(run);
        self.advance(now);
    }

    /// Stops all exclusive services, so that nothing of them runs `by` then.
    pub(crate) fn stop(&mut self, now: At, run: Run, by: At, urgency: Urgency) {
        crash::point("stop");
        let flushes = self.flush(now, urgency);
        let budget = by.since(now);
        let latest = by - reserve(budget);
        let kill_at = match urgency {
            Urgency::Planned => latest,
            Urgency::Failover => latest.min(now + budget / 2),
        };
        // An agent that was stopped itself learns late what has ended meanwhile: that has its time to be heard.
        let by = if by <= now { now + self.stop_max } else { by };
        for slot in self.slots.iter_mut().filter(|slot| slot.config.exclusive) {
            slot.retry_at = None;
            slot.returns = false;
        }
        self.sequence = Sequence::Stopping(Stop { run, by, kill_at, flushes, killed: false });
        self.advance(now);
    }

    /// An application that is to answer nothing it was given before is not asked to stop: it would work its queue off. Whether
    /// there was something to kill.
    fn flush(&mut self, now: At, urgency: Urgency) -> bool {
        // Also one that is being started anew: nobody else has been active since it served.
        let served = std::mem::take(&mut self.has_served) && urgency == Urgency::Failover;
        for slot in self.slots.iter_mut().filter(|slot| slot.config.flush) {
            match &mut slot.life {
                Some(life) if served => life.stop(now),
                Some(life) => life.tell(Order::Release),
                None => {}
            }
        }
        served
    }

    /// Something that must be flushed has been killed, and its end is not known yet.
    fn is_flushing(&self) -> bool {
        let mut lives = self.slots.iter().filter(|slot| slot.config.flush).filter_map(|slot| slot.life.as_ref());
        lives.any(|life| life.stopping && !life.exited)
    }

    pub(super) fn sequence_deadline(&self) -> Option<At> {
        match self.sequence {
            Sequence::Stopping(stop) if stop.killed => Some(stop.by),
            Sequence::Stopping(stop) => Some(stop.kill_at),
            Sequence::Starting(_) | Sequence::Up => self.of(true).filter_map(super::Slot::retry).min(),
            Sequence::Rest => None,
        }
    }

    pub(super) fn advance_sequence(&mut self, now: At) {
        match self.sequence {
            Sequence::Rest => {}
            Sequence::Up => self.keep_up(now),
            Sequence::Starting(run) => self.go_on_starting(now, run),
            Sequence::Stopping(stop) => self.go_on_stopping(now, stop),
        }
        if self.sequence == Sequence::Rest && self.of(true).all(|slot| slot.life.is_none()) {
            self.reach = None;
            self.launch.reach(None);
        }
    }

    /// Starts again what has ended and may be started again.
    fn keep_up(&mut self, now: At) {
        if self.is_unbound(now) {
            return;
        }
        for service in self.indices(true) {
            if self.slots[service].retry().is_some_and(|at| at <= now) {
                self.slots[service].starts += 1;
                self.start_life(service, now);
            }
        }
    }

    /// No dead-man's switch would end what is started now.
    fn is_unbound(&self, now: At) -> bool {
        self.reach.is_none_or(|reach| reach.kill <= now)
    }

    fn go_on_starting(&mut self, now: At, run: Run) {
        if self.is_unbound(now) {
            return self.start_failed(run, "the dead-man's switch is not set: nothing may run".to_owned());
        }
        for service in self.indices(true) {
            let slot = &self.slots[service];
            match (&slot.life, &slot.ended) {
                (Some(life), _) if life.ready => {}
                (_, Some(_)) if slot.returns => {
                    if slot.retry().is_none_or(|at| at > now) {
                        return;
                    }
                    self.try_start(service, now);
                    if !self.slots[service].is_ready() {
                        return;
                    }
                }
                (_, Some(how)) => {
                    let name = &slot.config.name;
                    let why = match slot.tries {
                        0 | 1 => format!("`{name}` has ended before it was ready: {how}"),
                        tries => format!("`{name}` has ended before it was ready, {tries} times; the last time: {how}"),
                    };
                    return self.start_failed(run, why);
                }
                (Some(_), None) => return,
                (None, None) => {
                    self.try_start(service, now);
                    if !self.slots[service].is_ready() {
                        return;
                    }
                }
            }
        }
        crash::point("started");
        self.sequence = Sequence::Up;
        self.has_served = true;
        self.tell_condition();
        self.said.push_back(Said::Node(Input::Started(run)));
    }

    fn try_start(&mut self, service: usize, now: At) {
        self.slots[service].tries += 1;
        self.start_life(service, now);
    }

    fn start_failed(&mut self, run: Run, why: String) {
        self.sequence = Sequence::Rest;
        self.tell_condition();
        self.said.push_back(Said::Node(Input::StartFailed { run, why }));
    }

    fn go_on_stopping(&mut self, now: At, stop: Stop) {
        let left: Vec<usize> = self.indices(true).filter(|service| self.slots[*service].life.is_some()).collect();
        let Some(last) = left.last().copied() else {
            crash::point("stopped");
            self.sequence = Sequence::Rest;
            for slot in self.slots.iter_mut().filter(|slot| slot.config.exclusive) {
                slot.ended = None;
            }
            self.tell_condition();
            return self.said.push_back(Said::Node(Input::Stopped(stop.run)));
        };
        if now >= stop.kill_at {
            for service in &left {
                self.stop_life(*service, now);
            }
            self.sequence = Sequence::Stopping(Stop { killed: true, ..stop });
        } else if stop.flushes && self.is_flushing() {
            // As long as it answers, the services on which its answers rest stay.
        } else if self.slots[last].life.as_ref().is_some_and(|life| life.kill_at.is_none_or(|at| at > stop.kill_at)) {
            self.stop_life(last, now + self.share(&left, stop.kill_at.since(now)));
        }
        if now >= stop.by {
            let names: Vec<&str> = left.iter().map(|service| self.slots[*service].config.name.as_str()).collect();
            let why = format!("still there after KILL: {}", names.join(", "));
            self.sequence = Sequence::Rest;
            self.tell_condition();
            self.said.push_back(Said::Node(Input::StopFailed { run: stop.run, why }));
        }
    }

    /// How much of the time that is left the last of these has, so that the others in turn have theirs too: what it
    /// names, or the same as the others that name none. What is named beyond the time that there is gets shorter alike.
    pub(super) fn share(&self, left: &[usize], time: Duration) -> Duration {
        let named = |service: &usize| self.slots[*service].config.stop_timeout;
        let sum: Duration = left.iter().filter_map(named).sum();
        let unnamed = u32::try_from(left.iter().filter(|service| named(service).is_none()).count()).unwrap_or(u32::MAX);
        match left.last().and_then(named) {
            Some(own) if sum <= time => own,
            Some(own) => time.mul_f64(own.as_secs_f64() / sum.as_secs_f64()),
            None => time.saturating_sub(sum).max(time / 10) / unnamed.max(1),
        }
    }

    pub(super) fn stop_life(&mut self, service: usize, kill_at: At) {
        if let Some(life) = &mut self.slots[service].life {
            life.stop(kill_at);
        }
    }
}
