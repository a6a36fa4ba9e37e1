//! A declared probe, checked and made ready: whatever is wrong with it is said before the first is sent.

use super::agent::{self, AgentPing};
use super::cti::Cti;
use super::http::{Http, Pace, Server};
use super::icmp::Icmp;
use super::limit::Limit;
use super::means::Means;
use super::target::target;
use super::xmpp::Xmpp;
use super::{connect, judge::Finding};
use crate::address::Address;
use lockstep_policy::Side;
use lockstep_policy::action::{AgentProbe, ProbeKind, Watch};
use lockstep_policy::event::Connection;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// No server's address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Code points have six bits.
pub(super) const DSCP_MAX: u8 = 63;

pub(super) enum Kind {
    Http(Box<Http>),
    Tcp { port: u16 },
    Icmp(Icmp),
    Agent(AgentProbe, Side),
    Xmpp(Xmpp),
    Cti(Cti),
}

impl Kind {
    /// An error is a sentence for the policy's author or the operator.
    pub fn new(watch: &Watch, addresses: &[Address], means: &Means, agents: &dyn AgentPing) -> Result<Kind, String> {
        let servers = addresses.len();
        let kind = Kind::of(watch, servers, means, agents)?;
        let asked = addresses.iter().zip(1..).filter(|(_, number)| [0, *number].contains(&watch.server));
        let unfit = asked.map(|(address, _)| address).find(|address| address.inet().is_none());
        match unfit.filter(|_| kind.needs_internet()) {
            Some(address) => Err(format!(
                "the probe \"{}\" needs a server's address IP:PORT, and side {} has one at {address}",
                target(&watch.kind),
                watch.side
            )),
            None => Ok(kind),
        }
    }

    /// Whether a socket of the file system cannot be asked: it has no port, and no packets.
    fn needs_internet(&self) -> bool {
        match self {
            Kind::Http(http) => http.elsewhere().is_none() && http.port() != 0,
            Kind::Tcp { port } => *port != 0,
            Kind::Icmp(icmp) => icmp.is_for_the_server(),
            Kind::Agent(..) => false,
            Kind::Xmpp(_) | Kind::Cti(_) => true,
        }
    }

    fn of(watch: &Watch, servers: usize, means: &Means, agents: &dyn AgentPing) -> Result<Kind, String> {
        Ok(match &watch.kind {
            ProbeKind::Http(probe) => {
                let pace = Pace { interval: watch.interval, connect_every: means.connect_every };
                Kind::Http(Box::new(Http::new(probe, servers, pace)?))
            }
            ProbeKind::Tcp { port } => Kind::Tcp { port: *port },
            ProbeKind::Icmp(probe) => Kind::Icmp(Icmp::new(probe, &means.pinger)?),
            ProbeKind::Agent(probe) => {
                if probe.dscp > DSCP_MAX {
                    return Err(format!("{} is no code point: they go from 0 to {DSCP_MAX}", probe.dscp));
                }
                if probe.connection == Connection::Auxiliary {
                    agents.set_dscp(watch.side, probe.dscp);
                }
                Kind::Agent(probe.clone(), watch.side)
            }
            ProbeKind::Xmpp(probe) => Kind::Xmpp(Xmpp::new(probe, watch.interval, servers, means)?),
            ProbeKind::Cti(probe) => Kind::Cti(Cti::new(probe, servers, means)?),
        })
    }

    /// Whether it goes to one of the side's servers, so that the result names it.
    pub fn is_for_a_server(&self) -> bool {
        match self {
            Kind::Http(http) => http.elsewhere().is_none(),
            Kind::Tcp { .. } | Kind::Xmpp(_) | Kind::Cti(_) => true,
            Kind::Icmp(icmp) => icmp.is_for_the_server(),
            Kind::Agent(..) => false,
        }
    }

    /// Sends one; `turn` names the server among the side's, `server` is its address. One that is `beside` the others makes a
    /// connection of its own where the others may share one.
    pub async fn probe(
        &self,
        means: &Means,
        agents: &Arc<dyn AgentPing>,
        (turn, server): (usize, &Address),
        (timeout, beside): (Duration, bool),
    ) -> Finding {
        let limit = Limit::new(timeout);
        // Who needs an address and has none was refused.
        let inet = server.inet().unwrap_or(NOWHERE);
        // What is large and rare lies apart: every probe would need its room.
        let finding = match self {
            Kind::Http(http) => http.probe(&means.trust, Server { turn, address: server }, beside, limit).await,
            Kind::Tcp { port } => limit.of(tcp(server, *port)).await,
            Kind::Agent(probe, side) => Box::pin(limit.of(agent::probe(&**agents, *side, probe, timeout))).await,
            Kind::Icmp(icmp) => Box::pin(limit.of(icmp.probe(&means.pinger, inet.ip()))).await,
            Kind::Xmpp(xmpp) => Box::pin(limit.of(xmpp.probe(means, turn, inet, timeout))).await,
            Kind::Cti(cti) => Box::pin(limit.of(cti.probe(means, turn, inet))).await,
        };
        Finding { latency: limit.elapsed(), ..finding }
    }

    /// Whether one that is under way may be cut off at any time: no server keeps a session for it that would have to be ended.
    pub fn may_be_cut_off(&self) -> bool {
        matches!(self, Kind::Http(_) | Kind::Tcp { .. } | Kind::Icmp(_) | Kind::Agent(..))
    }

    /// Takes leave of servers with which a session is kept.
    pub async fn close(&self) {
        match self {
            Kind::Xmpp(xmpp) => xmpp.close().await,
            Kind::Cti(cti) => cti.close().await,
            Kind::Http(_) | Kind::Tcp { .. } | Kind::Icmp(_) | Kind::Agent(..) => {}
        }
    }
}

async fn tcp(server: &Address, port: u16) -> Finding {
    let connected = connect::plain(&connect::of_server(server, port)).await;
    connected.map_or_else(|finding| finding, |_| Finding::good(0, ""))
}
