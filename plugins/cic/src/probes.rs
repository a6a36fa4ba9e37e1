//! The probes: what is asked, of whom, and by which number. All but the two regular ones are sent one by one.

use crate::Cic;
use crate::config::Module;
use lockstep_policy::Side;
use lockstep_policy::action::{Action, AgentProbe, IcmpProbe, IcmpTarget, ProbeKind, Watch};
use lockstep_policy::event::{Connection, ProbeId};
use lockstep_policy::sdk::Actions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Sent when it is asked for, not by the host's clock.
const ONE_BY_ONE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// The module, again and again, while all is well.
    Module,
    /// The module, after a failure.
    ModuleAgain(Via),
    /// The notifier, again and again, while all is well.
    Notifier,
    /// The notifier, after a failure.
    NotifierAgain(Via),
    /// The primary's address.
    Primary,
    /// The edge's gateways, or the backup's NetTest addresses.
    Own,
}

/// Over which connection; [`Connection`] in a form that has an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Via {
    Main,
    Aux,
}

/// Which probes are declared.
pub(crate) type Declared = BTreeSet<Ask>;

impl Ask {
    const ALL: [Ask; 8] = [
        Ask::Module,
        Ask::ModuleAgain(Via::Main),
        Ask::ModuleAgain(Via::Aux),
        Ask::Notifier,
        Ask::NotifierAgain(Via::Main),
        Ask::NotifierAgain(Via::Aux),
        Ask::Primary,
        Ask::Own,
    ];

    fn id(self) -> ProbeId {
        let place = Ask::ALL.iter().position(|ask| *ask == self);
        ProbeId(place.map_or(0, |place| place as u32 + 1))
    }

    pub(crate) fn of(id: ProbeId) -> Option<Ask> {
        Ask::ALL.into_iter().find(|ask| ask.id() == id)
    }
}

impl Via {
    pub(crate) fn connection(self) -> Connection {
        match self {
            Via::Main => Connection::Main,
            Via::Aux => Connection::Auxiliary,
        }
    }
}

impl Cic {
    /// Sends a regular probe from now on.
    pub(crate) fn watch(&mut self, ask: Ask, primary: Side, out: &mut Actions) {
        let (interval, timeout) = match ask {
            Ask::Module => (self.timing.module_interval, self.timing.module_timeout),
            _ => (self.timing.notifier_interval, self.timing.notifier_timeout),
        };
        self.declare(ask, primary, interval, timeout, out);
    }

    /// Sends a probe once, now.
    pub(crate) fn ask(&mut self, ask: Ask, primary: Side, timeout: Duration, out: &mut Actions) {
        if !self.declared.contains(&ask) {
            self.declare(ask, primary, ONE_BY_ONE, timeout, out);
        }
        out.push(Action::ProbeNow(ask.id()));
    }

    fn declare(&mut self, ask: Ask, primary: Side, interval: Duration, timeout: Duration, out: &mut Actions) {
        // The backup's own network is the backup's.
        let side = if ask == Ask::Own { primary.other() } else { primary };
        let kind = self.kind(ask, primary);
        out.push(Action::Watch(Watch { probe: ask.id(), side, server: 0, kind, interval, timeout }));
        self.declared.insert(ask);
    }

    /// Stops a probe; what is under way comes to nothing.
    pub(crate) fn unwatch(&mut self, ask: Ask, out: &mut Actions) {
        if self.declared.remove(&ask) {
            out.push(Action::Unwatch(ask.id()));
        }
    }

    /// Stops all of them.
    pub(crate) fn unwatch_all(&mut self, out: &mut Actions) {
        Ask::ALL.into_iter().for_each(|ask| self.unwatch(ask, out));
    }

    fn kind(&self, ask: Ask, primary: Side) -> ProbeKind {
        let service = self.config.service.clone();
        let (via, service) = match ask {
            Ask::Primary => return self.address_of(primary),
            Ask::Module | Ask::ModuleAgain(_) if self.config.module == Module::Ip => return self.address_of(primary),
            Ask::Own => return self.own_network(primary.other()),
            Ask::Module => (self.first_via(), service),
            Ask::ModuleAgain(via) => (via, service),
            Ask::Notifier => (Via::Main, String::new()),
            Ask::NotifierAgain(via) => (via, String::new()),
        };
        let dscp = if via == Via::Aux { self.config.dscp() } else { 0 };
        ProbeKind::Agent(AgentProbe { connection: via.connection(), service, dscp })
    }

    /// The connection that module pings go over first.
    pub(crate) fn first_via(&self) -> Via {
        if self.config.ping_on_aux_connection { Via::Aux } else { Via::Main }
    }

    fn address_of(&self, side: Side) -> ProbeKind {
        let target = match self.config.address(side) {
            Some(address) => IcmpTarget::Addresses(vec![address.to_owned()]),
            None => IcmpTarget::Server,
        };
        ProbeKind::Icmp(IcmpProbe { target, dscp: 0 })
    }

    fn own_network(&self, backup: Side) -> ProbeKind {
        let target = if self.config.gateway_ping {
            IcmpTarget::Gateways
        } else {
            IcmpTarget::Addresses(self.config.nettest(backup).to_vec())
        };
        ProbeKind::Icmp(IcmpProbe { target, dscp: 0 })
    }
}
