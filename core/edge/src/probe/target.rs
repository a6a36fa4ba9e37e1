//! A probe in a few words, for a status: `http :80/path`, `tcp :2011`, `cti :42027`.

use lockstep_policy::action::{IcmpTarget, ProbeKind, Tls, XmppTransport};
use lockstep_policy::event::Connection;

/// A probe for a person to read.
pub(crate) fn target(kind: &ProbeKind) -> String {
    let text = match kind {
        ProbeKind::Http(http) => {
            let place = if http.address.is_empty() { port(http.port) } else { http.address.clone() };
            format!("http{} {place}{}", s(http.tls), http.path)
        }
        ProbeKind::Tcp { port: number } => format!("tcp {}", port(*number)),
        ProbeKind::Icmp(icmp) => {
            let whom = match &icmp.target {
                IcmpTarget::Server => "server".to_owned(),
                IcmpTarget::Gateways => "gateways".to_owned(),
                IcmpTarget::Addresses(addresses) => addresses.join(", "),
            };
            let dscp = if icmp.dscp == 0 { String::new() } else { format!(" dscp {}", icmp.dscp) };
            format!("icmp {whom}{dscp}")
        }
        ProbeKind::Agent(agent) => {
            let connection = match agent.connection {
                Connection::Main => "main",
                Connection::Auxiliary => "auxiliary",
            };
            format!("agent {connection} {}", agent.service)
        }
        ProbeKind::Xmpp(xmpp) => {
            let user = if xmpp.user.is_empty() { String::new() } else { format!("{}@", xmpp.user) };
            let way = match xmpp.transport {
                XmppTransport::Tcp => format!("xmpp{} {user}{}{}", s(xmpp.tls), xmpp.domain, port(xmpp.port)),
                XmppTransport::Bosh => {
                    format!("bosh http{} {user}{}{}{}", s(xmpp.tls), xmpp.domain, port(xmpp.port), xmpp.path)
                }
            };
            let presence = if xmpp.presence.is_empty() { String::new() } else { format!(" of {}", xmpp.presence) };
            way + &presence
        }
        ProbeKind::Cti(cti) => format!("cti{} {}", s(cti.tls), port(cti.port)),
    };
    text.trim_end().to_owned()
}

fn s(tls: Tls) -> &'static str {
    if tls == Tls::Off { "" } else { "s" }
}

fn port(port: u16) -> String {
    if port == 0 { String::new() } else { format!(":{port}") }
}
