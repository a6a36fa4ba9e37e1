//! Header fields on their way through: what belongs to one connection stays there (RFC 9110, 7.6.1).

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use std::net::IpAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
/// What `Connection` may name and is needed all the same: without it a message has another end, or another recipient.
const NEVER_DROPPED: [&str; 3] = ["content-length", "host", "content-type"];

/// Takes a request's head from the client's connection to the application's. What it was asked to be upgraded to is left
/// to whoever can do that.
pub(super) fn request(fields: &mut HeaderMap, client: IpAddr, tls: bool) {
    let upgrade = upgrade_of(fields);
    drop_hop_by_hop(fields);
    // Answered here: the application's `100 Continue` would come too late.
    fields.remove(EXPECT);
    let mut chain: Vec<&[u8]> = fields.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let client = client.to_canonical().to_string();
    chain.push(client.as_bytes());
    let chain = HeaderValue::from_bytes(&chain.join(&b", "[..]));
    fields.insert(FORWARDED_FOR, chain.expect("fields' values and an address, joined, are a value"));
    fields.insert(FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
    offer(fields, upgrade);
}

/// Takes an answer's head back.
pub(super) fn answer(fields: &mut HeaderMap, switches: bool) {
    let upgrade = upgrade_of(fields).filter(|_| switches);
    drop_hop_by_hop(fields);
    offer(fields, upgrade);
}

/// Whether the client asks for another protocol on this connection.
pub(super) fn asks_for_upgrade(fields: &HeaderMap) -> bool {
    upgrade_of(fields).is_some()
}

fn upgrade_of(fields: &HeaderMap) -> Option<HeaderValue> {
    named(fields).any(|name| name == UPGRADE).then(|| fields.get(UPGRADE).cloned()).flatten()
}

fn offer(fields: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, protocol);
    }
}

fn drop_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = named(fields).collect();
    for name in named.iter().filter(|name| !NEVER_DROPPED.contains(&name.as_str())).chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// The fields that `Connection` names.
fn named(fields: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = fields.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        fields
    }

    #[test]
    fn what_belongs_to_one_connection_is_dropped() {
        let mut head = fields(&[
            ("host", "a"),
            ("connection", "keep-alive, x-private"),
            ("connection", "host"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic eA=="),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("cookie", "kept"),
        ]);
        request(&mut head, "10.0.0.9".parse().unwrap(), false);
        let wanted =
            [("host", "a"), ("cookie", "kept"), ("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "http")];
        assert_eq!(head, fields(&wanted));
    }

    #[test]
    fn a_chain_of_proxies_is_added_to() {
        let mut head = fields(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2, 192.0.2.3")]);
        request(&mut head, "::ffff:10.0.0.9".parse().unwrap(), true);
        assert_eq!(head["x-forwarded-for"], "192.0.2.1, 192.0.2.2, 192.0.2.3, 10.0.0.9");
        assert_eq!(head["x-forwarded-proto"], "https");
    }

    #[test]
    fn an_upgrade_goes_through_when_it_is_one() {
        let asked = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let mut head = fields(&asked);
        assert!(asks_for_upgrade(&head));
        request(&mut head, "10.0.0.9".parse().unwrap(), false);
        assert_eq!(
            (&head["connection"], &head["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        let mut refused = fields(&asked);
        answer(&mut refused, false);
        assert!(refused.is_empty());
        let mut accepted = fields(&asked);
        answer(&mut accepted, true);
        assert_eq!(accepted["upgrade"], "websocket");
    }
}
