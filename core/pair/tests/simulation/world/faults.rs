//! What goes wrong, and how it ends.

use super::*;

impl World {
    pub(super) fn fault(&mut self) {
        if self.now > FAULTS_END {
            return self.heal();
        }
        let pause = self.rng.u64(100..3_000) * MS;
        self.after(pause, What::Fault);
        let side = if self.rng.bool() { Side::A } else { Side::B };
        match self.rng.u32(0..10) {
            0 if self.edge.is_some() => self.edge_down(),
            1 if self.hosts[side].node.is_some() => self.node_down(side),
            2 | 3 if self.hosts[side].node.is_some() && !self.hosts[side].asleep => {
                self.hosts[side].asleep = true;
                let delay = self.rng.u64(50..3_000) * MS;
                self.after(delay, What::Wake { side });
            }
            4 => self.links[side].cut = Sides { a: true, b: true },
            5 => self.links[side].cut = Sides { a: self.rng.bool(), b: self.rng.bool() },
            6 => {
                // The exclusive service dies by itself.
                if self.hosts[side].service.take().is_some() && !self.hosts[side].asleep {
                    self.hosts[side].ready = false;
                    self.condition(side);
                }
            }
            7 => {
                self.hosts[side].isolated = true;
                self.after(0, What::LookAtLan { side });
            }
            8 => self.rejoin(side),
            _ => self.links[side].cut = Sides { a: false, b: false },
        }
        self.break_silent_links();
    }

    pub(super) fn heal(&mut self) {
        for side in Side::BOTH {
            self.links[side].cut = Sides { a: false, b: false };
            self.rejoin(side);
        }
        self.after(100 * MS, What::Fault);
        self.break_silent_links();
    }

    fn rejoin(&mut self, side: Side) {
        if std::mem::replace(&mut self.hosts[side].isolated, false) {
            self.after(0, What::LookAtLan { side });
        }
    }

    /// The edge gives up a connection over which it has heard nothing for a lease's length.
    pub(super) fn break_silent_links(&mut self) {
        for side in Side::BOTH {
            if self.links[side].up && self.now > self.links[side].edge_heard + 600 * MS {
                self.disconnect(side);
            }
        }
    }
}
