//! Which of a policy's probes a scenario's word is about.

use crate::action::{IcmpTarget, ProbeKind, Watch};
use crate::event::Connection;

/// Whether all parts of a word, joined by `+`, fit a probe.
pub(super) fn fits(watch: &Watch, word: &str) -> bool {
    word.split('+').all(|part| part_fits(watch, part))
}

fn part_fits(watch: &Watch, part: &str) -> bool {
    if let Some(server) = part.strip_prefix('#') {
        return server.parse() == Ok(watch.server);
    }
    match &watch.kind {
        ProbeKind::Tcp { .. } => part == "tcp",
        ProbeKind::Http(http) => part == "http" || http.path.contains(part) || http.address == part,
        ProbeKind::Icmp(icmp) => match &icmp.target {
            _ if part == "icmp" => true,
            IcmpTarget::Server => part == "server",
            IcmpTarget::Gateways => part == "gateways",
            IcmpTarget::Addresses(addresses) => addresses.iter().any(|address| address == part),
        },
        ProbeKind::Agent(agent) => {
            let connection = match agent.connection {
                Connection::Main => "main",
                Connection::Auxiliary => "aux",
            };
            part == "agent" || part == connection || part == agent.service
        }
        ProbeKind::Xmpp(xmpp) => part == "xmpp" || (part == xmpp.user && !part.is_empty()),
        ProbeKind::Cti(_) => part == "cti",
    }
}
