//! An XMPP server: it opens a stream, lets a user in, and tells him of another's presence.
//!
//! A client of our own, and a small one: it speaks the few stanzas that a probe needs, and bounds every one of them.
//!
//! - A user's session is kept from one probe to the next, so that each probe is a ping in it. It logs in again when the
//!   session has ended, at most once in an interval, and not for five minutes after the server has refused it.
//! - Presence is what the server tells a client that has the watched user in its roster (RFC 6121, 4): a plain client
//!   has no other right to it. Nobody is asked for a subscription: a probe changes no account.
//! - STARTTLS is used where the server requires it, and wherever somebody logs in and the server offers it.

mod bosh;
mod element;
mod log_ins;
mod sasl;
mod tcp;
mod user;
mod wire;

pub(super) use log_ins::LogIns;

use super::connect::at_port;
use super::judge::{Finding, bounded};
use super::means::Means;
use super::session::{Ended, Kept};
use super::tls::name_of;
use bosh::Bosh;
use element::Element;
use lockstep_policy::action::{XmppProbe, XmppTransport};
use lockstep_policy::event::Verdict;
use log_ins::{Account, NotNow};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tcp::Tcp;
use user::{NotIn, User, Who};
use wire::{Place, Wire};

/// The longest name of a user, of a domain or of whom they watch (RFC 7622, 3).
const NAME_MAX: usize = 1023;

/// From one log-in to the next where probes are sent one by one.
const GAP: Duration = Duration::from_secs(1);

/// How long others' presence is waited for after a log-in, and which part of the probe's time that may be.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_PART: u32 = 4;

/// A declared XMPP probe, checked.
pub(super) struct Xmpp {
    probe: XmppProbe,
    /// Whose certificate; none: the address's.
    name: Option<ServerName<'static>>,
    /// From one log-in to the next, at least.
    gap: Duration,
    sessions: Kept<User>,
}

impl Xmpp {
    pub fn new(probe: &XmppProbe, interval: Duration, servers: usize, means: &Means) -> Result<Xmpp, String> {
        for (what, text) in [("user", &probe.user), ("domain", &probe.domain), ("presence", &probe.presence)] {
            if text.len() > NAME_MAX || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
                return Err(format!("{what}: \"{}\" is no name: it has blanks, or is too long", bounded(text)));
            }
        }
        if probe.user.is_empty() != probe.secret.is_empty() {
            return Err("an XMPP user needs a secret, and a secret a user".to_owned());
        }
        if !probe.presence.is_empty() && probe.user.is_empty() {
            return Err("a presence is told to a user who is logged in only".to_owned());
        }
        if !probe.presence.is_empty() && (!probe.presence.contains('@') || probe.presence.contains('/')) {
            return Err(format!("presence: \"{}\" is no address USER@DOMAIN", bounded(&probe.presence)));
        }
        let is_path = || probe.path.starts_with('/') && http::Uri::try_from(&probe.path).is_ok();
        if probe.transport == XmppTransport::Bosh && !is_path() {
            return Err(format!("the path \"{}\" does not begin with /, or is none", bounded(&probe.path)));
        }
        means.check_secret(&probe.secret)?;
        let name = (!probe.domain.is_empty()).then(|| name_of(&probe.domain)).transpose()?;
        // Intervals are up to a tenth shorter than declared.
        let day = Duration::from_secs(24 * 60 * 60);
        let gap = if interval < day { interval.mul_f64(0.9) } else { GAP };
        Ok(Xmpp { probe: probe.clone(), name, gap, sessions: Kept::new(servers) })
    }

    /// The caller bounds its time by `timeout`; a probe that is cut off takes its session along.
    pub async fn probe(&self, means: &Means, turn: usize, server: SocketAddr, timeout: Duration) -> Finding {
        let address = at_port(server, self.probe.port);
        if self.probe.user.is_empty() {
            return match self.open(means, address, timeout).await {
                Ok((wire, _)) => {
                    wire.close();
                    Finding::good(0, "")
                }
                Err(ended) => ended.into(),
            };
        }
        let mut place = self.sessions.of(turn).await;
        let mut broken = None;
        if let Some(mut user) = place.session.take() {
            match user.ping().await {
                Ok(()) => {
                    let finding = user.finding();
                    if let Some(user) = place.keep(user) {
                        user.close().await;
                    }
                    return finding;
                }
                Err(Ended::Answered(finding)) => return finding,
                // Whether the server is well shows a new session: this one may have ended long ago.
                Err(Ended::Gone(finding)) => broken = Some(finding),
            }
        }
        match self.log_in(means, address, timeout, broken).await {
            Ok(user) => {
                let finding = user.finding();
                if let Some(user) = place.keep(user) {
                    user.close().await;
                }
                finding
            }
            Err(finding) => finding,
        }
    }

    pub async fn close(&self) {
        for user in self.sessions.take_all().await {
            user.close().await;
        }
    }

    /// `broken`: how the session before was found to have ended.
    async fn log_in(
        &self,
        means: &Means,
        address: SocketAddr,
        timeout: Duration,
        broken: Option<Finding>,
    ) -> Result<User, Finding> {
        let password = means.secret(&self.probe.secret).await?;
        // Even when nobody may log in it is known whether the server is there.
        let (wire, features) = self.open(means, address, timeout).await?;
        let domain = self.domain(address);
        let account = Account { server: address, user: self.probe.user.clone(), domain: domain.clone() };
        match means.log_ins.begin(Instant::now(), &account, self.gap) {
            Ok(()) => {}
            Err(NotNow::Refused(why)) => {
                wire.close();
                return Err(Finding::new(Verdict::Wrong, 0, why));
            }
            Err(NotNow::TooSoon(why)) => {
                wire.close();
                let unasked = || Finding { unasked: true, ..Finding::new(Verdict::Silent, 0, why) };
                return Err(broken.unwrap_or_else(unasked));
            }
        }
        let who = Who { user: self.probe.user.clone(), domain, watched: self.probe.presence.clone() };
        let settle = SETTLE.min(timeout / SETTLE_PART);
        let user = User::log_in(wire, &features, who, password, settle).await;
        user.map_err(|not_in| {
            if let NotIn::Refused(why) = &not_in {
                means.log_ins.refused(Instant::now(), &account, why);
            }
            not_in.finding()
        })
    }

    async fn open(&self, means: &Means, address: SocketAddr, timeout: Duration) -> Result<(Wire, Element), Ended> {
        let place = Place {
            trust: &means.trust,
            address,
            tls: self.probe.tls,
            name: self.name.clone().unwrap_or_else(|| ServerName::from(address.ip())),
            domain: self.domain(address),
            path: &self.probe.path,
            wait: timeout,
            log_in: !self.probe.user.is_empty(),
        };
        Ok(match self.probe.transport {
            XmppTransport::Tcp => {
                let (tcp, features) = Tcp::open(&place).await?;
                (Wire::Tcp(Box::new(tcp)), features)
            }
            XmppTransport::Bosh => {
                let (bosh, features) = Bosh::open(&place, &means.trust).await?;
                (Wire::Bosh(Box::new(bosh)), features)
            }
        })
    }

    fn domain(&self, address: SocketAddr) -> String {
        if self.probe.domain.is_empty() { address.ip().to_string() } else { self.probe.domain.clone() }
    }
}

#[cfg(test)]
mod tests;
