//! What the coordinator knows and believes of one side.

use super::{Bound, Fencing, Settings};
use crate::protocol::{Lease, Report, Session, Stamp};
use crate::record::Fenced;
use lockstep_policy::event::Role;
use lockstep_policy::{At, Epoch};
use std::collections::VecDeque;
use std::time::Duration;

/// What never is clear by itself is so then.
const NEVER: At = At(u64::MAX);

/// So many leases are remembered at most: those of a length of twice as many renewals as any profile has.
const GRANTS: usize = 32;

/// In such a part of a lease's length, what was granted has arrived: a link that repeats what was lost has time for that twice before the
/// lease is over.
const PATIENCE: u32 = 5;

/// One side, as the coordinator sees it. All times are on the edge's clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SideView {
    fencing: Fencing,
    /// Its agent says that nothing ends something exclusive by itself: what its lease is worth is nothing.
    unbound: bool,
    /// The epoch of the last grant of this life of the edge.
    granted: Option<Epoch>,
    /// The main connection to its agent is up.
    pub(super) linked: bool,
    /// When it came up.
    linked_at: At,
    /// The agent's last report over the present connection.
    pub(super) report: Option<Report>,
    /// When that came.
    heard_at: At,
    /// From then on its exclusive services have surely ended, if it is granted nothing more.
    clear_at: At,
    /// Its lease surely lasts until then.
    pub(super) sure_until: At,
    /// The highest epoch in which it confirmed that it has stood down, or somebody said that it is off.
    stood_down: Epoch,
    /// The highest epoch in which its fencing hook confirmed that it is off.
    turned_off: Epoch,
    /// It said that something exclusive runs although its lease was over, or cannot be stopped.
    defies: bool,
    /// It speaks, and what it says shows that it has not been reached for a while.
    deaf: bool,
    delay: Delay,
    /// Until then a report may have nothing to be compared with but reports that waited themselves.
    unproven_until: At,
    /// The leases that this life of the edge has granted: from which stamp, and when. The oldest first; the last, and
    /// of the others only those that may not be over.
    grants: VecDeque<(Stamp, At)>,
}

/// How far behind reports come. The least difference between the edge's clock and a report's stamp that was seen is that
/// of a report that came at once; what a report is behind it, it was under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Delay {
    session: Session,
    /// The difference of the last report that came at once, in nanoseconds, and when it came.
    least: i128,
    at: At,
    /// Reports have paused: until then all may come late, and none is taken for one that came at once.
    late_until: At,
    /// The difference of a report that came at once is not less than this, by the first report over the connection:
    /// that was written since the connection came up.
    floor: i128,
}

impl Delay {
    fn of(&mut self, settings: &Settings, now: At, stamp: Stamp, paused: bool) -> Duration {
        let difference = i128::from(now.0) - i128::from(stamp.at.0);
        if self.session != stamp.session {
            let late_until = At::ZERO;
            *self = Delay { session: stamp.session, least: difference, at: now, late_until, floor: difference };
        }
        if paused {
            self.late_until = now + settings.terms.ttl / 2;
        }
        // The clocks may have drifted apart since, either way: a report may only look as quick as that one was, or as slow.
        let drifted = i128::try_from(settings.drift(now.since(self.at)).as_nanos()).unwrap_or(i128::MAX);
        let quickest = self.least.saturating_sub(drifted);
        let may_be_quick = now >= self.late_until && difference <= self.least.saturating_add(drifted);
        if difference <= quickest || may_be_quick {
            (self.least, self.at) = (difference, now);
        }
        let at_once = difference.min(quickest);
        Duration::from_nanos(u64::try_from(difference - at_once).unwrap_or(u64::MAX))
    }

    /// At most so long was a report under way that came `since` its connection came up, while the reports before it, which it was
    /// compared with, may have waited as long as it has.
    fn early(&mut self, now: At, stamp: Stamp, since: Duration, first: bool) -> Duration {
        let difference = i128::from(now.0) - i128::from(stamp.at.0);
        if first {
            self.floor = difference - i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
        }
        Duration::from_nanos(u64::try_from(difference - self.floor).unwrap_or(0)).min(since)
    }
}

impl SideView {
    /// A side of which nothing is known: an earlier life of this edge may have granted it a lease a moment ago.
    pub(super) fn unknown(settings: &Settings, fencing: Fencing, now: At) -> SideView {
        let mut side = SideView {
            fencing,
            unbound: false,
            granted: None,
            linked: false,
            linked_at: At::ZERO,
            report: None,
            heard_at: At::ZERO,
            clear_at: At::ZERO,
            sure_until: At::ZERO,
            stood_down: Epoch(0),
            turned_off: Epoch(0),
            defies: false,
            deaf: false,
            delay: Delay::default(),
            unproven_until: At::ZERO,
            grants: VecDeque::new(),
        };
        side.count_a_grant(settings, now);
        side
    }

    pub(super) fn link(&mut self, now: At, up: bool) {
        self.linked = up;
        self.linked_at = now;
        self.report = None;
        self.deaf = false;
        self.sure_until = At::ZERO;
    }

    pub(super) fn hear(&mut self, settings: &Settings, now: At, report: Report) {
        let heard_before = std::mem::replace(&mut self.heard_at, now);
        let paused = now.since(heard_before) > settings.terms.renew * 2;
        self.unbound = !report.unbound.is_empty();
        if !self.ends_by_itself() {
            // Nobody knows better whether something runs there.
            let stopped = report.role == Role::Standby && !report.running && self.granted.is_none();
            self.clear_at = match (report.running, stopped) {
                (true, _) if self.unbound => NEVER,
                (_, true) => At::ZERO,
                _ => self.clear_at,
            };
        }
        if self.has_outlasted_its_leases(settings, &report) {
            self.clear_at = self.clear_at.min(now);
        }
        self.deaf = !paused && self.misses_leases(settings, now, &report);
        self.defies = report.running && (now >= self.clear_at || report.role == Role::Failed);
        // The margin stands for what a report is under way at best.
        let mut under_way = self.delay.of(settings, now, report.stamp, paused);
        let (since, first) = (now.since(self.linked_at), self.report.is_none());
        if first || paused && heard_before <= self.unproven_until {
            self.unproven_until = now + settings.terms.ttl;
        }
        if now <= self.unproven_until {
            under_way = under_way.max(self.delay.early(now, report.stamp, since, first));
        }
        // A fast clock counts a lease down sooner than ours does.
        let lease_left = report.lease_left.saturating_sub(settings.drift(report.lease_left));
        let by_its_stamp = now + lease_left.saturating_sub(under_way).saturating_sub(settings.margin);
        // However late it came, it was written after its lease had been granted.
        let by_its_lease = self.granted_at(settings, &report).map(|at| at + lease_left);
        self.sure_until = by_its_stamp.max(by_its_lease.unwrap_or(At::ZERO));
        self.report = Some(report);
    }

    /// When the lease was granted that a report speaks of.
    fn granted_at(&self, settings: &Settings, report: &Report) -> Option<At> {
        let end = report.stamp.at + report.lease_left;
        let is_it = |stamp: &Stamp| stamp.session == report.stamp.session && stamp.at + settings.terms.ttl == end;
        self.grants.iter().find(|(stamp, _)| is_it(stamp)).map(|(_, at)| *at)
    }

    /// Whether it stood by, and nothing ran there, when the last lease was over that this life of the edge has granted, on its own clock:
    /// whatever is still on its way to it is worth nothing.
    fn has_outlasted_its_leases(&self, settings: &Settings, report: &Report) -> bool {
        let stands_by = report.role == Role::Standby && !report.running;
        let is_over = |(stamp, _): &(Stamp, At)| {
            stamp.session == report.stamp.session && stamp.at + settings.terms.ttl <= report.stamp.at
        };
        stands_by && self.ends_by_itself() && self.grants.back().is_some_and(is_over)
    }

    /// Whether it serves, and does not have a lease that it was granted over this connection a while ago, by both clocks. It may still come;
    /// a further one would then come with it, and until then makes nothing longer but our own belief.
    fn misses_leases(&self, settings: &Settings, now: At, report: &Report) -> bool {
        let (ttl, while_ago) = (settings.terms.ttl, settings.terms.ttl / PATIENCE);
        let end = report.stamp.at + report.lease_left;
        let is_missed = |(stamp, at): &&(Stamp, At)| {
            stamp.session == report.stamp.session && stamp.at + ttl > end && *at > self.linked_at
        };
        report.serving
            && self
                .grants
                .iter()
                .find(is_missed)
                .is_some_and(|(stamp, at)| now.since(*at) >= while_ago && report.stamp.at.since(stamp.at) >= while_ago)
    }

    pub(super) fn stood_down(&mut self, epoch: Epoch) {
        self.stood_down = self.stood_down.max(epoch);
        self.defies = false;
        if !self.ends_by_itself() && self.granted.is_none_or(|granted| epoch > granted) {
            self.clear_at = At::ZERO;
        }
    }

    /// Notes that a lease of full length is granted now: from a stamp that the node made before now.
    pub(super) fn grant(&mut self, settings: &Settings, now: At, epoch: Epoch, lease: Lease) {
        self.granted = self.granted.max(Some(epoch));
        self.remember(settings, now, lease.stamp);
        self.count_a_grant(settings, now);
    }

    /// Only for the first time: a stamp may be granted from again, long after the node has had its lease.
    fn remember(&mut self, settings: &Settings, now: At, stamp: Stamp) {
        let known = |last: &(Stamp, At)| last.0.session == stamp.session && last.0.at >= stamp.at;
        if self.grants.back().is_some_and(known) {
            return;
        }
        let over = settings.terms.ttl + settings.stretch(settings.terms.ttl);
        while self.grants.front().is_some_and(|(_, at)| self.grants.len() == GRANTS || now.since(*at) >= over) {
            self.grants.pop_front();
        }
        self.grants.push_back((stamp, now));
    }

    fn count_a_grant(&mut self, settings: &Settings, now: At) {
        let longest = settings.terms.ttl + settings.terms.stop_max;
        let over = now + longest + settings.stretch(longest) + settings.margin;
        self.clear_at = self.clear_at.max(if self.ends_by_itself() { over } else { NEVER });
    }

    /// Fencing begins, in which nothing more is granted: when it is surely or, for want of a lease, supposedly clear.
    pub(super) fn begin_to_fence(&mut self, now: At) -> Option<At> {
        if let Bound::Unfenced { delay: Some(delay) } = self.fencing.bound
            && self.clear_at == NEVER
        {
            self.clear_at = now + delay;
        }
        self.clear_at()
    }

    /// Whether what runs there ends with its lease.
    fn ends_by_itself(&self) -> bool {
        self.fencing.bound == Bound::Lease && !self.unbound
    }

    pub(super) fn turned_off(&mut self, epoch: Epoch) {
        self.turned_off = self.turned_off.max(epoch);
        self.stood_down(epoch);
    }

    /// What fenced it in this epoch, if it is fenced.
    pub(super) fn fenced_by(&self, epoch: Epoch) -> Fenced {
        match self.ends_by_itself() {
            _ if self.turned_off >= epoch => Fenced::Hook,
            _ if self.stood_down >= epoch => Fenced::Confirmed,
            true => Fenced::LeaseOver,
            // Since it confirmed that it has stopped, nothing was granted.
            false if self.clear_at == At::ZERO => Fenced::Confirmed,
            false => Fenced::Unfenced,
        }
    }

    /// Why it is not fenced, though its time is over.
    pub(super) fn why_not_fenced(&self) -> &'static str {
        if self.defies {
            "says that its services still run, and is not to be stopped"
        } else {
            "has not confirmed that it has stopped, and nothing else says so: when you know that it is off, say so by \
             `lockstep switch … --unsafe`"
        }
    }

    /// Whether its right to be active ends by itself.
    pub(super) fn is_leased(&self) -> bool {
        self.fencing.bound == Bound::Lease
    }

    /// The lease that may be granted by the last report's stamp; none when the stamp is too old to be worth it.
    pub(super) fn lease(&self, settings: &Settings, now: At) -> Option<Lease> {
        let report = self.report.as_ref().filter(|_| self.linked)?;
        let fresh = now.since(self.heard_at) <= settings.terms.ttl / 2;
        fresh.then_some(Lease { stamp: report.stamp, ttl: settings.terms.ttl })
    }

    /// Whether what it is granted does not arrive: a further lease would only put off the moment from which it surely has none.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether nothing exclusive runs there any more: it confirmed so in this epoch, or its lease is surely over and
    /// it does not say otherwise.
    pub(super) fn is_fenced(&self, settings: &Settings, epoch: Epoch, now: At) -> bool {
        self.stood_down >= epoch || self.fenced_at(settings).is_some_and(|at| now >= at)
    }

    /// When it counts as fenced without a confirmation, if nothing more is heard; never, if it said that something
    /// exclusive runs on.
    pub(super) fn fenced_at(&self, settings: &Settings) -> Option<At> {
        if self.defies {
            return None;
        }
        // One that is being stopped, and talks, is about to say that it has stopped.
        let talks = self.linked && self.report.as_ref().is_some_and(|report| report.running);
        let heard_out = if talks { self.heard_at + settings.terms.renew * 2 } else { At::ZERO };
        self.clear_at().map(|at| at.max(heard_out))
    }

    /// Whether nothing exclusive may run there any more, whatever it says.
    pub(super) fn is_clear(&self, epoch: Epoch, now: At) -> bool {
        self.stood_down >= epoch || now >= self.clear_at
    }

    /// When its last lease is surely over, and what ran under it has surely been stopped; none: never by itself.
    pub(super) fn clear_at(&self) -> Option<At> {
        Some(self.clear_at).filter(|at| *at != NEVER)
    }

    /// Whether it says that it is active in this epoch and everything that serving needs is there.
    pub(super) fn serves(&self, epoch: Epoch) -> bool {
        self.is_in(epoch, &[Role::Active]) && self.report.as_ref().is_some_and(|report| report.serving)
    }

    /// Whether it says that it has one of these roles in this epoch.
    pub(super) fn is_in(&self, epoch: Epoch, roles: &[Role]) -> bool {
        self.linked && self.report.as_ref().is_some_and(|report| report.epoch == epoch && roles.contains(&report.role))
    }

    /// Whether it could take over now.
    pub(super) fn is_fit(&self) -> bool {
        self.linked && self.report.as_ref().is_some_and(|report| report.fit)
    }
}

/// Later starts of the clocks (`Coordinator::rebase`).
impl SideView {
    pub(super) fn rebase(&mut self, edge: Duration, node: Duration) {
        let points = [
            &mut self.linked_at,
            &mut self.heard_at,
            &mut self.clear_at,
            &mut self.sure_until,
            &mut self.delay.at,
            &mut self.delay.late_until,
            &mut self.unproven_until,
        ];
        for at in points.into_iter().filter(|at| **at != NEVER) {
            *at = *at - edge;
        }
        if let Some(report) = &mut self.report {
            report.stamp.at = report.stamp.at - node;
        }
        let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        self.delay.least += nanos(node) - nanos(edge);
        self.delay.floor += nanos(node) - nanos(edge);
        for (stamp, at) in &mut self.grants {
            stamp.at = stamp.at - node;
            *at = *at - edge;
        }
        while self.grants.len() > 1 && self.grants[0].1 == At::ZERO {
            self.grants.pop_front();
        }
    }
}
