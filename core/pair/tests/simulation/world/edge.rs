//! The edge's host. Its clock is the world's.

use super::*;

impl World {
    pub(super) fn edge_up(&mut self) {
        self.edge_life += 1;
        self.edge_handover_since = None;
        self.edge_timer = None;
        self.edge = Some(Coordinator::new(self.settings, self.edge_disk.clone(), At(self.now)));
        for side in Side::BOTH {
            let delay = self.rng.u64(1..50) * MS;
            self.after(delay, What::LinkUp { side });
        }
        self.serve_until = At::ZERO;
        self.edge_outputs();
    }

    pub(super) fn edge_down(&mut self) {
        self.edge = None;
        self.edge_life += 1;
        self.edge_restarts += 1;
        // A write under way is done, or it is not.
        for (_, stored) in std::mem::take(&mut self.edge_pending) {
            if self.rng.bool() {
                self.edge_disk = stored;
            } else {
                break;
            }
        }
        for side in Side::BOTH {
            self.links[side].up = false;
        }
        let delay = self.rng.u64(20..3_000) * MS;
        self.after(delay, What::EdgeUp);
    }

    pub(super) fn tell_edge(&mut self, input: coordinator::Input) {
        let Some(edge) = &mut self.edge else { return };
        edge.handle(At(self.now), input);
        self.edge_outputs();
    }

    pub(super) fn edge_outputs(&mut self) {
        while let Some(output) = self.edge.as_mut().and_then(Coordinator::poll) {
            if self.verbose {
                println!("{:>12.3}ms   edge -> {output:?}", self.now as f64 / MS as f64);
            }
            match output {
                Output::Store { ticket, stored } => {
                    self.edge_pending.push((ticket.0, stored));
                    let done = self.now > FAULTS_END || self.rng.u32(0..100) > 2;
                    let delay = self.rng.u64(MS / 10..20 * MS);
                    self.after(delay, What::EdgeStored { life: self.edge_life, ticket: ticket.0, done });
                }
                Output::Route(route) => self.route = route,
                Output::ServeUntil(until) => self.serve_until = until,
                Output::Send { side, message } => self.send_to_node(side, message),
                Output::Drain { epoch, .. } => {
                    let delay = self.rng.u64(0..400) * MS;
                    self.after(delay, What::EdgeDrained { life: self.edge_life, epoch: epoch.0 });
                }
                Output::Record(record) => {
                    let begun = self.edge_handover_since.is_some_and(|(epoch, _)| epoch == record.epoch.0);
                    if record.outcome.is_some() {
                        self.edge_handover_since = None;
                        let settled = record.phases.last().is_some_and(|last| last.phase == Phase::Commit);
                        self.completed += u64::from(settled && record.outcome == Some(Outcome::Completed));
                    } else if !begun {
                        self.edge_handover_since = Some((record.epoch.0, self.now));
                    }
                }
                Output::Fence { .. }
                | Output::Cut { .. }
                | Output::Tell(_)
                | Output::Ended { .. }
                | Output::Alert(_) => {}
            }
        }
        if let Some(at) = self.edge.as_ref().and_then(Coordinator::deadline) {
            // A timer is late, as timers are.
            if self.edge_timer.is_none_or(|armed| at.0 < armed) {
                self.edge_timer = Some(at.0);
                let late = self.rng.u64(0..3 * MS);
                self.at(at.0 + late, What::EdgeTimer { life: self.edge_life });
            }
        }
    }

    /// Writes are done in their order.
    pub(super) fn edge_stored(&mut self, ticket: u64, done: bool) {
        let Some(position) = self.edge_pending.iter().position(|(pending, _)| *pending == ticket) else { return };
        let earlier: Vec<_> = self.edge_pending.drain(..=position).collect();
        for (ticket, stored) in earlier {
            let ticket = coordinator::Ticket(ticket);
            if done {
                self.edge_disk = stored;
                self.tell_edge(coordinator::Input::Stored(ticket));
            } else {
                self.tell_edge(coordinator::Input::StoreFailed { ticket, why: "disk full".into() });
            }
        }
    }

    /// A policy as simple as can be: while nobody serves, someone who could be shall be made active.
    pub(super) fn policy(&mut self) {
        self.after(250 * MS, What::Policy);
        let Some(edge) = &self.edge else { return };
        let view = edge.view();
        if view.recovering || view.handover.is_some() {
            return;
        }
        let serves = matches!(view.route.kind, RouteKind::Serve(_));
        let wanted = if serves { self.rng.u32(0..20) == 0 && self.now < FAULTS_END } else { self.rng.bool() };
        if !wanted {
            return;
        }
        let to = if self.rng.bool() { Side::A } else { Side::B };
        self.next_order += 1;
        let order = Order {
            id: OrderId(self.next_order),
            to,
            urgency: if serves && self.rng.u32(0..4) > 0 { Urgency::Planned } else { Urgency::Failover },
            reason: "simulated".into(),
            by: "policy".into(),
            evidence: Vec::new(),
            unsafe_because: None,
        };
        let stand_down = serves && self.rng.u32(0..10) == 0;
        self.tell_edge(if stand_down {
            coordinator::Input::StandDown(order)
        } else {
            coordinator::Input::Switch(order)
        });
    }
}
