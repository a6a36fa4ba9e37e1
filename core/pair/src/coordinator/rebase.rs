//! States of a coordinator that will act alike, made equal: for a model, which looks at each state once, however long it
//! took to come to it and by which way.

use super::{Coordinator, State};
use lockstep_policy::Sides;
use std::time::Duration;

impl Coordinator {
    /// The same coordinator, had the edge's clock been started later by so much, and each node's clock by as much as is
    /// said of its side. A point of time before a clock's new start becomes that start: so far back, how far makes no
    /// difference, if the clock then reads more than the longest of the pair's times.
    pub fn rebase(&mut self, edge: Duration, nodes: Sides<Duration>) {
        self.serve_until = self.serve_until - edge;
        match &mut self.state {
            State::Settled => {}
            State::Recovering { until } => *until = *until - edge,
            State::Handover(handover) => {
                handover.until = handover.until - edge;
                handover.hook_at = handover.hook_at.map(|at| at - edge);
            }
            State::StandingDown(order) => order.until = order.until - edge,
        }
        if let Some((_, until)) = &mut self.settling {
            *until = *until - edge;
        }
        self.store_again_at = self.store_again_at.map(|at| at - edge);
        self.sides.a.rebase(edge, nodes.a);
        self.sides.b.rebase(edge, nodes.b);
    }

    /// Leaves out of the records what is there for people only: times, texts, and the phases before the present one.
    pub fn forget_past(&mut self) {
        if let State::Handover(handover) = &mut self.state {
            handover.record.forget_past();
        }
        if let Some((record, _)) = &mut self.settling {
            record.forget_past();
        }
    }
}
