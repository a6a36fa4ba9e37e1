//! What goes wrong, and how it ends.

use super::disk::Health;
use super::network::Place;
use super::services::Trouble;
use super::{MS, What, World};
use lockstep_policy::Side;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    EdgeKilled,
    EdgeHostReboots,
    EdgeStopped,
    EdgeCrashesAtWrite,
    EdgeDisk,
    AgentKilled,
    AgentStopped,
    AgentCrashesAtWrite,
    AgentDisk,
    HostFrozen,
    HostReboots,
    ServiceDies,
    ApplicationDies,
    ApplicationStopped,
    Services,
    Partition,
    OneWay,
    Unplugged,
    ConnectionBreaks,
    GatewayLost,
    NeighboursApart,
    ClockSet,
    PolicyDies,
    Heal,
}

impl Kind {
    pub const ALL: [Kind; 23] = [
        Kind::EdgeKilled,
        Kind::EdgeHostReboots,
        Kind::EdgeStopped,
        Kind::EdgeCrashesAtWrite,
        Kind::EdgeDisk,
        Kind::AgentKilled,
        Kind::AgentStopped,
        Kind::AgentCrashesAtWrite,
        Kind::AgentDisk,
        Kind::HostFrozen,
        Kind::HostReboots,
        Kind::ServiceDies,
        Kind::ApplicationDies,
        Kind::ApplicationStopped,
        Kind::Services,
        Kind::Partition,
        Kind::OneWay,
        Kind::Unplugged,
        Kind::ConnectionBreaks,
        Kind::GatewayLost,
        Kind::NeighboursApart,
        Kind::ClockSet,
        Kind::PolicyDies,
    ];
}

impl World {
    pub(super) fn has_faults(&self) -> bool {
        self.now < self.plan.faults_end
    }

    pub(super) fn fault(&mut self) {
        if !self.has_faults() {
            return self.heal();
        }
        let pause = self.rng.u64(50..50 + self.plan.pace) * MS;
        self.after(pause, What::Fault);
        let kind = self.plan.faults[self.rng.usize(0..self.plan.faults.len())];
        // Half of them meet the side that is served.
        let served = match self.edge.route.kind {
            lockstep_pair::RouteKind::Serve(side) if self.rng.bool() => Some(side),
            _ => None,
        };
        let any = if self.rng.bool() { Side::A } else { Side::B };
        self.stats.faults += 1;
        self.befall(kind, served.unwrap_or(any));
    }

    fn befall(&mut self, kind: Kind, side: Side) {
        self.tell(|| format!("FAULT {kind:?} ({side})"));
        match kind {
            Kind::EdgeKilled | Kind::EdgeHostReboots => {
                let writes = self.rng.usize(0..=self.edge.disk.pending());
                self.edge_dies(writes, kind == Kind::EdgeHostReboots);
            }
            Kind::EdgeStopped if self.edge.is_up() && !self.edge.asleep => {
                self.edge.asleep = true;
                let slept = self.rng.u64(20..3_000) * MS;
                self.after(slept, What::EdgeWakes { life: self.edge.life, slept });
            }
            Kind::EdgeStopped => {}
            Kind::EdgeCrashesAtWrite => self.edge.disk.crash = Some(self.rng.bool()),
            Kind::AgentCrashesAtWrite => self.hosts[side].disk.crash = Some(self.rng.bool()),
            Kind::EdgeDisk => {
                self.edge.disk.health = self.health();
                self.spell_of_disk(None);
            }
            Kind::AgentDisk => {
                self.hosts[side].disk.health = self.health();
                self.spell_of_disk(Some(side));
            }
            Kind::AgentKilled if !self.hosts[side].frozen => {
                let writes = self.rng.usize(0..=self.hosts[side].disk.pending());
                self.agent_dies(side, writes);
            }
            Kind::AgentKilled => {}
            Kind::AgentStopped | Kind::HostFrozen | Kind::ApplicationStopped => self.put_to_sleep(kind, side),
            Kind::HostReboots => {
                let off = self.rng.u64(300..4_000) * MS;
                self.power_off(side, off);
            }
            Kind::ServiceDies => {
                if let Some(process) = self.hosts[side].crew.exclusive {
                    self.service_ends(side, process.id);
                }
            }
            Kind::ApplicationDies => self.kill_app(side),
            Kind::Services => {
                let troubles = [Trouble::DoesNotStart, Trouble::Slow, Trouble::Stubborn, Trouble::Deaf, Trouble::Sick];
                self.hosts[side].crew.trouble = troubles[self.rng.usize(0..troubles.len())];
                let spell = self.rng.u64(200..5_000) * MS;
                self.after(spell, What::TroubleEnds { side });
            }
            Kind::ConnectionBreaks => self.disconnect(side, "its connection broke"),
            Kind::GatewayLost => self.hosts[side].gateway_lost = !self.hosts[side].gateway_lost,
            Kind::ClockSet => {
                self.wall_jumps += self.rng.i64(-100_000_000..100_000_000);
            }
            Kind::PolicyDies if self.edge.is_up() => self.policy_goes_away(),
            Kind::PolicyDies => {}
            Kind::Partition | Kind::OneWay | Kind::Unplugged | Kind::NeighboursApart | Kind::Heal => {
                self.network_fault(kind, side);
            }
        }
        self.look_at_lans();
    }

    fn network_fault(&mut self, kind: Kind, side: Side) {
        let node = Place::Node(side);
        match kind {
            Kind::Partition => {
                let other = if self.rng.u32(0..4) == 0 { Place::Clients } else { node };
                self.network.cut(Place::Edge, other);
                self.network.cut(other, Place::Edge);
            }
            Kind::OneWay => {
                let other = if self.rng.u32(0..4) == 0 { Place::Clients } else { node };
                let (from, to) = if self.rng.bool() { (Place::Edge, other) } else { (other, Place::Edge) };
                self.network.cut(from, to);
            }
            Kind::NeighboursApart => {
                self.network.cut(node, Place::Node(side.other()));
                if self.rng.bool() {
                    self.network.cut(Place::Node(side.other()), node);
                }
            }
            Kind::Unplugged => {
                for place in Place::ALL.into_iter().filter(|place| *place != node) {
                    self.network.cut(node, place);
                    self.network.cut(place, node);
                }
                self.hosts[side].gateway_lost = true;
            }
            Kind::Heal if self.rng.bool() => self.network.heal_pair(Place::Edge, node),
            _ => {
                self.network.heal();
                Side::BOTH.into_iter().for_each(|side| self.hosts[side].gateway_lost = false);
            }
        }
    }

    fn put_to_sleep(&mut self, kind: Kind, side: Side) {
        let host = &mut self.hosts[side];
        let asleep = host.frozen || host.agent_asleep || host.crew.app_asleep;
        match kind {
            _ if asleep || host.off => return,
            Kind::AgentStopped => host.agent_asleep = true,
            Kind::HostFrozen => host.frozen = true,
            _ => host.crew.app_asleep = host.crew.app.is_some(),
        }
        let pause = self.rng.u64(50..4_000) * MS;
        self.after(pause, What::Wake { side });
    }

    fn health(&mut self) -> Health {
        [Health::Slow, Health::Full, Health::Failing][self.rng.usize(0..3)]
    }

    fn spell_of_disk(&mut self, side: Option<Side>) {
        let spell = self.rng.u64(200..4_000) * MS;
        self.after(spell, What::DiskWell { side });
    }

    fn look_at_lans(&mut self) {
        for side in Side::BOTH {
            let notice = self.rng.u64(10..150) * MS;
            self.after(notice, What::LooksAtLan { side, life: self.hosts[side].life });
        }
    }

    /// No more faults: what is broken is mended. What sleeps wakes by itself.
    fn heal(&mut self) {
        self.tell(|| "the faults end".to_owned());
        self.network.heal();
        self.edge.disk.health = Health::Well;
        self.edge.disk.crash = None;
        for side in Side::BOTH {
            let host = &mut self.hosts[side];
            host.gateway_lost = false;
            host.disk.health = Health::Well;
            host.disk.crash = None;
            host.crew.trouble = Trouble::None;
        }
        self.look_at_lans();
    }
}
