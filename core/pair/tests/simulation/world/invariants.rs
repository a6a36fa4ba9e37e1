//! What must hold, after every event and at the end.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        let running = Side::BOTH.map(|side| self.hosts[side].service.is_some());
        assert_ne!(running, [true, true], "I1: both sides' services run at {}ms", self.now / MS);
        for side in Side::BOTH {
            let host = &self.hosts[side];
            let (Some(node), Some(since), false) = (&host.node, host.known_isolated, host.asleep) else { continue };
            let report = node.report(host.clock(self.now));
            let late = self.now > since + KNOWN_ISOLATED_MAX;
            let goes_on = report.serving || report.role == Role::Activating || late && report.role == Role::Active;
            assert!(!goes_on, "T4: side {side} is isolated, knows it since {}ms, and goes on: {report:?}", since / MS);
        }
        if let RouteKind::Serve(side) = self.route.kind
            && self.edge.is_some()
            && At(self.now) < self.serve_until
            && !self.hosts[side].asleep
            && let Some(node) = &self.hosts[side].node
        {
            let report = node.report(self.hosts[side].clock(self.now));
            assert!(
                report.role == Role::Active && report.epoch == self.route.epoch && !report.lease_left.is_zero(),
                "I2: requests go to side {side} under epoch {}, and it is {report:?}",
                self.route.epoch
            );
        }
        if let Some((epoch, since)) = self.edge_handover_since {
            assert!(self.now < since + LONGEST, "I5: the handover of epoch {epoch} does not end");
        }
    }

    pub(super) fn check_rest(&self) {
        let edge = self.edge.as_ref().expect("the edge is up at the end");
        let RouteKind::Serve(side) = self.route.kind else {
            panic!("liveness: 30 s after the last fault no side is served: {:?}", edge.view());
        };
        assert!(self.hosts[side].service.is_some() && self.hosts[side].ready, "I2: the served side is active");
        assert!(At(self.now) < self.serve_until + Duration::from_millis(500), "the served side's lease is renewed");
    }
}
