//! ICMP echo requests to a server, to addresses, or to the edge's own gateways.

mod family;
mod routes;

use super::judge::{Finding, bounded};
use super::kind::DSCP_MAX;
use family::{Answer, Family, Unsent, Version};
use lockstep_policy::action::{IcmpProbe, IcmpTarget};
use lockstep_policy::event::{Fact, Verdict};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Addresses of one probe.
const ADDRESSES: usize = 32;

/// The sockets that all pings of the edge go through; opened when the first ping is declared.
#[derive(Default)]
pub(super) struct Pinger {
    v4: Mutex<Option<Arc<Family>>>,
    v6: Mutex<Option<Arc<Family>>>,
}

impl Pinger {
    fn family(&self, version: Version) -> Result<Arc<Family>, Errno> {
        let place = match version {
            Version::V4 => &self.v4,
            Version::V6 => &self.v6,
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = &*place {
            return Ok(Arc::clone(family));
        }
        let family = Family::open(version)?;
        *place = Some(Arc::clone(&family));
        Ok(family)
    }
}

/// A declared ICMP probe, checked.
pub(super) struct Icmp {
    target: Target,
    dscp: u8,
}

enum Target {
    Server,
    Gateways,
    Addresses(Vec<IpAddr>),
}

impl Icmp {
    pub fn new(probe: &IcmpProbe, pinger: &Pinger) -> Result<Icmp, String> {
        if probe.dscp > DSCP_MAX {
            return Err(format!("{} is no code point: they go from 0 to {DSCP_MAX}", probe.dscp));
        }
        let target = match &probe.target {
            IcmpTarget::Server => Target::Server,
            IcmpTarget::Gateways => Target::Gateways,
            IcmpTarget::Addresses(texts) if texts.is_empty() || texts.len() > ADDRESSES => {
                return Err(format!("a ping goes to 1 to {ADDRESSES} addresses, not to {}", texts.len()));
            }
            IcmpTarget::Addresses(texts) => {
                let parsed = texts.iter().map(|text| {
                    text.parse::<IpAddr>().map_err(|_| format!("\"{}\" is no IPv4 or IPv6 address", bounded(text)))
                });
                Target::Addresses(parsed.collect::<Result<_, _>>()?)
            }
        };
        // Said now, not by silence later: whoever may open one may open the other, so that IPv6 may be switched off.
        pinger.family(Version::V4).map_err(not_allowed)?;
        Ok(Icmp { target, dscp: probe.dscp })
    }

    pub fn is_for_the_server(&self) -> bool {
        matches!(self.target, Target::Server)
    }

    /// Ends with the first answer; the caller bounds its time.
    pub async fn probe(&self, pinger: &Pinger, server: IpAddr) -> Finding {
        match &self.target {
            Target::Server => self.ping(pinger, &[whole(server)]).await,
            Target::Addresses(addresses) => {
                let addresses: Vec<SocketAddr> = addresses.iter().copied().map(whole).collect();
                self.ping(pinger, &addresses).await
            }
            Target::Gateways => match tokio::task::spawn_blocking(routes::gateways).await {
                Ok(Ok(gateways)) if gateways.is_empty() => {
                    Finding::new(Verdict::Wrong, 0, "this edge has no default gateway")
                }
                Ok(Ok(gateways)) => self.ping(pinger, &gateways[..gateways.len().min(ADDRESSES)]).await,
                Ok(Err(error)) => unasked(format!("the routing table cannot be read: {error}")),
                Err(error) => unasked(error.to_string()),
            },
        }
    }

    async fn ping(&self, pinger: &Pinger, addresses: &[SocketAddr]) -> Finding {
        let (answers, mut answered) = mpsc::unbounded_channel::<Answer>();
        let mut waiting = Vec::new();
        let mut refusals: Vec<(SocketAddr, Unsent)> = Vec::new();
        for address in addresses {
            let family = pinger.family(Version::of(address)).map_err(Unsent::Kernel);
            match family.and_then(|family| family.send(*address, self.dscp, answers.clone())) {
                Ok(request) => waiting.push(request),
                Err(why) => refusals.push((*address, why)),
            }
        }
        drop(answers);
        if waiting.is_empty() {
            let own = refusals.iter().all(|(_, why)| why.is_our_own_want());
            let said: Vec<String> = refusals.iter().map(|(to, why)| format!("{}: {why}", to.ip())).collect();
            return Finding { unasked: own, ..Finding::new(Verdict::Silent, 0, said.join("; ")) };
        }
        match answered.recv().await {
            Some(Answer { from }) => {
                let facts = vec![Fact { name: "address".to_owned(), value: from.to_string() }];
                Finding { facts, ..Finding::good(0, format!("{from} answers")) }
            }
            // The requests hold the other ends of the channel for as long as they wait.
            None => Finding::new(Verdict::Silent, 0, "the sockets for pings are gone"),
        }
    }
}

/// ICMP knows no ports.
fn whole(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

fn unasked(why: String) -> Finding {
    Finding { unasked: true, ..Finding::new(Verdict::Silent, 0, why) }
}

fn not_allowed(error: Errno) -> String {
    match error {
        Errno::PERM | Errno::ACCESS => "pings need the capability CAP_NET_RAW, which this edge has not: add it to \
                                        AmbientCapabilities and CapabilityBoundingSet of its systemd unit \
                                        (systemctl edit lockstep-edge) and restart it"
            .to_owned(),
        error => format!("no socket for pings can be opened: {error}"),
    }
}

#[cfg(test)]
mod tests;
