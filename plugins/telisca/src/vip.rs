//! T7: behind somebody else's balancer the server that the VIP reaches becomes active (sections 3.1.2.1 and 5.1).

use crate::attempt::Why;
use crate::config::Config;
use crate::{Telisca, view::MAX_EVIDENCE};
use lockstep_policy::action::{Action, Alert, Extract, HttpProbe, Level, ProbeKind, Source, Tls, Urgency, Watch};
use lockstep_policy::event::{ProbeId, ProbeResult, Role};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, Setup, Side, Sides};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The probe of the VIP. Its side is only its place in the list of probes.
pub(crate) const VIP_PROBE: ProbeId = ProbeId(3);

/// The fact that names the server.
const NAMED: &str = "server";

/// How the VIP is asked, and how its answer names a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VipTest {
    pub(crate) probe: HttpProbe,
    pub(crate) names: Sides<String>,
}

/// What the VIP's answers said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vip {
    side: Option<Side>,
    /// So many answers in a row named the same side.
    count: u32,
    evidence: Vec<u64>,
    /// Operators were told that the side which the VIP reaches cannot become active.
    told: bool,
}

impl VipTest {
    /// From the parameters; refuses those that do not make a test.
    pub(crate) fn new(setup: &Setup, config: &Config) -> Result<Option<VipTest>, String> {
        let url = config.vip_url.as_deref().map(Url::parse).transpose()?;
        if !config.test_vip_destination {
            return Ok(None);
        }
        let Some(url) = url else {
            return Err("`test_vip_destination = true` needs `vip_url`; valid: \"http://IP[:PORT]/PATH\"".to_owned());
        };
        let name = |side: Side, given: &Option<String>| {
            let server = setup.sides[side].servers.first().map(|server| host(server).to_owned());
            given.clone().or(server).ok_or_else(|| format!("`vip_name_{side}` is missing: the side has no server"))
        };
        let names = Sides { a: name(Side::A, &config.vip_name_a)?, b: name(Side::B, &config.vip_name_b)? };
        if names.a.eq_ignore_ascii_case(&names.b) {
            let same = &names.a;
            return Err(format!(
                "both servers are named `{same}`: set `vip_name_a` and `vip_name_b` to what tells them apart"
            ));
        }
        let extract = match &config.vip_header {
            Some(header) => Extract { name: NAMED.to_owned(), source: Source::Header, expression: header.clone() },
            None => Extract { name: NAMED.to_owned(), source: Source::Body, expression: expression(&names) },
        };
        let Url { address, path, tls } = url;
        let probe = HttpProbe { path, address: address.to_string(), tls, facts: vec![extract], ..HttpProbe::default() };
        Ok(Some(VipTest { probe, names }))
    }
}

/// The first of both names in a text, or the vendor's word for the role; no part of a longer name or address.
fn expression(names: &Sides<String>) -> String {
    let (a, b) = (escaped(&names.a), escaped(&names.b));
    format!("(?:^|[^0-9A-Za-z.-])((?i:{a}|{b})|ACTIVE|STANDBY)(?:[^0-9A-Za-z-]|$)")
}

fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut escaped, next| {
        if !next.is_ascii_alphanumeric() && next.is_ascii() {
            escaped.push('\\');
        }
        escaped.push(next);
        escaped
    })
}

/// A server's address without its port.
pub(crate) fn host(server: &str) -> &str {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `http://IP[:PORT]/PATH`.
pub(crate) struct Url {
    pub(crate) address: SocketAddr,
    path: String,
    tls: Tls,
}

impl Url {
    pub(crate) fn parse(url: &str) -> Result<Url, String> {
        let invalid = || {
            format!(
                "`vip_url = \"{url}\"` is not valid; valid: \"http://IP[:PORT]/PATH\" or \"https://IP[:PORT]/PATH\""
            )
        };
        let (tls, port, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (Tls::Off, 80, rest),
            (_, Some(rest)) => (Tls::Unverified, 443, rest),
            (None, None) => return Err(invalid()),
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        if path.contains(|letter: char| letter.is_whitespace() || letter == '#') {
            return Err(invalid());
        }
        let ip = authority.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let address = authority.parse().or_else(|_| ip.map(|ip| SocketAddr::new(ip, port))).map_err(|_| invalid())?;
        Ok(Url { address, path: path.to_owned(), tls })
    }
}

impl Vip {
    /// The side that the last answer named.
    pub(crate) fn side(&self) -> Option<Side> {
        self.side
    }

    fn saw(&mut self, side: Option<Side>, seq: u64) {
        if self.side != side {
            *self = Vip { side, ..Vip::default() };
        }
        if self.evidence.len() == MAX_EVIDENCE {
            self.evidence.remove(0);
        }
        self.evidence.push(seq);
        self.count = self.count.saturating_add(1);
    }

    /// Counting begins anew.
    pub(crate) fn reset(&mut self) {
        *self = Vip { side: self.side, ..Vip::default() };
    }
}

impl Telisca {
    pub(crate) fn watch_vip(&self, out: &mut Actions) {
        if let Some(test) = &self.vip_test {
            out.push(Action::Watch(Watch {
                probe: VIP_PROBE,
                side: Side::A,
                server: 0,
                kind: ProbeKind::Http(test.probe.clone()),
                interval: self.timing.interval,
                timeout: self.timing.timeout,
            }));
        }
    }

    pub(crate) fn on_vip(&mut self, result: &ProbeResult, seq: u64) {
        let side = result.fact(NAMED).and_then(|name| self.named(name.trim()));
        self.vip.saw(side, seq);
    }

    /// The side that an answer names: by its name, or by the role that exactly one side has.
    fn named(&self, name: &str) -> Option<Side> {
        let names = &self.vip_test.as_ref()?.names;
        if let Some(side) = Side::BOTH.into_iter().find(|side| names[*side].eq_ignore_ascii_case(name)) {
            return Some(side);
        }
        let has_the_role = |side: Side| self.sides[side].word().is_some_and(|report| report.role == Role::Active);
        let active = self.active.filter(|active| has_the_role(*active) && !has_the_role(active.other()))?;
        match name {
            "ACTIVE" => Some(active),
            "STANDBY" => Some(active.other()),
            _ => None,
        }
    }

    pub(crate) fn follow_vip(&mut self, active: Side, at: At, out: &mut Actions) {
        let to = active.other();
        let count = self.vip.count;
        let agreed = self.vip_test.is_some() && self.vip.side == Some(to) && count >= self.timing.failures;
        if !agreed || !self.attempts.free(at) {
            return;
        }
        let view = &self.sides[to];
        let fit = view
            .can_take_over()
            .and_then(|()| if view.fit() { Ok(()) } else { Err("its agent does not say that it is fit".to_owned()) });
        if let Err(why_not) = fit {
            if !self.vip.told {
                self.vip.told = true;
                let text = format!(
                    "T7: the VIP reaches {to}, which cannot become active: {why_not}. {active} keeps the role, and \
                     what the VIP's balancer sends to {to} is not served as it should be: look at both"
                );
                out.push(Action::Alert(Alert { level: Level::Critical, text }));
            }
            return;
        }
        let urgency = if self.sides[active].works() { Urgency::Planned } else { Urgency::Failover };
        let reason = format!("T7: the VIP has reached {to} {count} times in a row");
        let evidence = self.vip.evidence.clone();
        self.switch(to, urgency, Why::new(reason, evidence), at, out);
    }
}
