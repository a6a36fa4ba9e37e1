//! For whom a request is forwarded, as servers are told: `X-Forwarded-*` and `Forwarded` (RFC 7239). Touches no socket.
//!
//! What a client says about that himself is taken out, whatever its spelling: servers believe it. Only from balancers that are
//! trusted what is there is kept, and added to.

use super::request::Edit;
use ipnet::IpNet;
use pingora_core::Result;
use std::fmt::Write;
use std::net::IpAddr;

/// The longest value that is kept from a balancer and added to, in bytes.
const KEPT_MAX: usize = 2048;

/// What servers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFields {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded`.
    Forwarded,
    /// Both.
    Both,
    /// Nothing.
    None,
}

/// What servers are told about clients, and whose word on it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedRules {
    /// What is added.
    pub add: ForwardedFields,
    /// Clients of these networks are balancers: what they say is kept, and added to.
    pub trust: Vec<IpNet>,
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    /// The client, or the balancer before us.
    pub(super) from: Option<IpAddr>,
    pub(super) by_tls: bool,
}

const FORWARDED: &str = "forwarded";
const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";

/// Names by which servers, and what stands before them, are told of clients.
const TOLD_BY: [&str; 14] = [
    "forwarded",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

impl ForwardedRules {
    /// Tells a server how the request came.
    pub(super) fn apply(&self, request: &mut impl Edit, came: Came) -> Result<()> {
        let trusted = came.from.is_some_and(|from| self.trusts(from));
        request.take_out(|name| tells(name, trusted));
        if matches!(self.add, ForwardedFields::XForwarded | ForwardedFields::Both) {
            x_forwarded(request, came)?;
        }
        if matches!(self.add, ForwardedFields::Forwarded | ForwardedFields::Both) {
            let element = element(came, request.all("host").next());
            let kept = kept(request, FORWARDED);
            request.put(FORWARDED, kept.map_or(element.clone(), |kept| format!("{kept}, {element}")))?;
        }
        Ok(())
    }

    fn trusts(&self, from: IpAddr) -> bool {
        self.trust.iter().any(|network| network.contains(&from))
    }
}

/// Whether a field is not to be believed. Servers that hand fields to programs take `_` for `-`: that spelling is nobody's, not
/// a balancer's either.
fn tells(name: &str, trusted: bool) -> bool {
    if name.contains('_') {
        let plain = name.replace('_', "-");
        return is_told_by(&plain);
    }
    !trusted && is_told_by(name)
}

fn is_told_by(name: &str) -> bool {
    TOLD_BY.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn x_forwarded(request: &mut impl Edit, came: Came) -> Result<()> {
    if let Some(from) = came.from {
        let kept = kept(request, FOR);
        request.put(FOR, kept.map_or_else(|| from.to_string(), |kept| format!("{kept}, {from}")))?;
    }
    // What the first balancer was asked by stays: we were asked by that balancer only.
    if !request.has(PROTO) {
        request.put(PROTO, if came.by_tls { "https" } else { "http" })?;
    }
    Ok(())
}

/// What a balancer has said, on one line.
fn kept(request: &impl Edit, name: &str) -> Option<String> {
    let said: Vec<&str> = request.all(name).filter_map(text).collect();
    let said = said.join(", ");
    (!said.is_empty() && said.len() <= KEPT_MAX).then_some(said)
}

/// Printable ASCII: nothing else is told on.
fn text(value: &[u8]) -> Option<&str> {
    let plain = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if plain { std::str::from_utf8(value).ok() } else { None }
}

/// One element of `Forwarded` (RFC 7239 section 4): addresses of IPv6 stand in brackets, and then in quotes.
fn element(came: Came, host: Option<&[u8]>) -> String {
    let mut element = match came.from {
        Some(IpAddr::V4(from)) => format!("for={from}"),
        Some(IpAddr::V6(from)) => format!("for=\"[{from}]\""),
        None => "for=unknown".to_owned(),
    };
    if let Some(host) = host.and_then(text) {
        let plain = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
        let written = if plain { write!(element, ";host={host}") } else { write!(element, ";host=\"{quoted}\"") };
        written.expect("a text takes any text");
    }
    element + if came.by_tls { ";proto=https" } else { ";proto=http" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use pingora_http::RequestHeader;

    const CAME: Came = Came { from: None, by_tls: false };

    fn told(rules: &ForwardedRules, came: Came, fields: &[(&'static str, &str)]) -> Vec<(String, String)> {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        rules.apply(&mut request, came).unwrap();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut told: Vec<_> = request.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        told.retain(|(name, _)| name != "host");
        told.sort();
        told
    }

    fn pairs(told: &[(String, String)]) -> Vec<(&str, &str)> {
        told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    const FORGED: [(&str, &str); 8] = [
        ("Host", "vip:8080"),
        ("X-Forwarded-For", "10.9.8.7"),
        ("X_Forwarded_For", "10.9.8.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "forged"),
        ("X-Forwarded-Port", "1"),
        ("X-Real-IP", "10.9.8.7"),
        ("Forwarded", "for=10.9.8.7"),
    ];

    #[test]
    fn what_a_client_says_of_itself_is_not_told() {
        let came = Came { from: Some("192.0.2.1".parse().unwrap()), ..CAME };
        let rules = ForwardedRules::default();
        let expected = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http")];
        assert_eq!(pairs(&told(&rules, came, &FORGED)), expected);
        let none = ForwardedRules { add: ForwardedFields::None, ..rules };
        assert_eq!(pairs(&told(&none, came, &FORGED)), []);
    }

    #[test]
    fn what_a_trusted_balancer_says_is_kept_and_added_to() {
        let rules = ForwardedRules { add: ForwardedFields::Both, trust: vec!["192.0.2.0/24".parse().unwrap()] };
        let came = Came { from: Some("192.0.2.1".parse().unwrap()), ..CAME };
        let expected = [
            ("forwarded", "for=10.9.8.7, for=192.0.2.1;host=\"vip:8080\";proto=http"),
            ("x-forwarded-for", "10.9.8.7, 192.0.2.1"),
            ("x-forwarded-host", "forged"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.9.8.7"),
        ];
        assert_eq!(pairs(&told(&rules, came, &FORGED)), expected);
        let other = Came { from: Some("198.51.100.1".parse().unwrap()), ..came };
        assert_eq!(told(&rules, other, &FORGED)[1].1, "198.51.100.1", "in the place of what was forged");
        let endless = "10.9.8.7, ".repeat(1000);
        assert_eq!(told(&rules, came, &[("X-Forwarded-For", &endless)])[1].1, "192.0.2.1");
    }

    #[test]
    fn forwarded_is_quoted_where_it_must_be() {
        let rules = ForwardedRules { add: ForwardedFields::Forwarded, trust: Vec::new() };
        let v6 = Came { from: Some("2001:db8::1".parse().unwrap()), by_tls: true };
        let told = |host| told(&rules, v6, &[("Host", host)]).remove(0).1;
        assert_eq!(told("vip"), "for=\"[2001:db8::1]\";host=vip;proto=https");
        assert_eq!(told("[2001:db8::9]:80"), "for=\"[2001:db8::1]\";host=\"[2001:db8::9]:80\";proto=https");
    }
}
