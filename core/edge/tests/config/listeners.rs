//! Where clients are met, and what is spoken with them and with servers.

use super::*;

#[test]
fn pools_and_their_listeners() {
    let pools = |a: &str, b: &str, listeners: &str| {
        let with = VALID.replace("[pair.policy]", &format!("{listeners}[pair.policy]"));
        let with = with.replace("[pair.b]", &format!("[pair.a.pools]\n{a}\n[pair.b]"));
        refusals(&format!("{with}[pair.b.pools]\n{b}\n"))
    };
    let (a, b) = ("ucs = [\"10.0.0.1:81\"]", "ucs = [\"10.0.0.2:81\"]");
    let listeners = "[pair.listeners]\nucs = [\"10.0.0.100:81\"]\n";
    assert_eq!(pools(a, b, listeners), [""; 0]);
    // Only probes go to a pool without a listener: both sides may have the same CTI servers, each of them once.
    assert_eq!(pools("ucs = [\"10.0.0.1:81\"]", "ucs = [\"10.0.0.1:81\"]", ""), [""; 0]);
    let twice = pools("ucs = [\"10.0.0.1:81\", \"10.0.0.1:81\"]", "ucs = [\"10.0.0.1:81\"]", "");
    assert_eq!(
        twice,
        [
            "edge.toml:20:23: pair.a.pools.ucs: 10.0.0.1:81 is a server of this pair in line 20 already; each server once"
        ]
    );
    let both = pools("ucs = [\"10.0.0.1:81\"]", "ucs = [\"10.0.0.1:81\"]", listeners);
    assert!(both.len() == 1 && both[0].ends_with("already; each server once"), "{both:?}");
    assert_eq!(
        pools(a, "", listeners),
        ["edge.toml:22:1: pair.a.pools.ucs: side b has no pool \"ucs\"; the same names in [pair.a.pools] and \
          [pair.b.pools]: ucs = [\"IP:PORT\"]"]
    );
    assert_eq!(
        pools(a, b, &listeners.replace("ucs =", "ipp =")),
        ["edge.toml:8:1: pair.listeners.ipp: there is no pool \"ipp\"; a name of [pair.a.pools] and [pair.b.pools]; \
          there are: ucs"]
    );
    assert_eq!(
        pools("ucs = []", b, listeners),
        ["edge.toml:22:7: pair.a.pools.ucs: a pool of side a has no address; an address \"IP:PORT\", such as \
          \"10.0.0.1:80\" (names are not looked up), or a socket of the file system, such as \"unix:/run/app.sock\""]
    );
    assert_eq!(
        pools("\"a b\" = [\"10.0.0.1:81\"]", "", ""),
        ["edge.toml:20:1: pair.a.pools.a b: is not a pool's name; a name of 1 to 64 letters, digits, `-`, `_` or `.`"]
    );
    assert_eq!(
        pools("ucs = [\"10.0.0.1:80\"]", b, &listeners.replace(":81", ":80")),
        [
            "edge.toml:8:8: pair.listeners.ucs: 10.0.0.100:80 is taken by this pair in line 6 (10.0.0.100:80); an \
             address and port that no other listener takes",
            "edge.toml:22:8: pair.a.pools.ucs: 10.0.0.1:80 is a server of this pair in line 19 already; each server once",
        ]
    );
}

/// What one `[[pair.listener]]`, and what follows it, is refused with.
fn with_listener(text: &str) -> Vec<String> {
    refusals(&VALID.replace("[pair.policy]", &format!("[[pair.listener]]\n{text}\n[pair.policy]")))
}

#[test]
fn listeners_of_which_more_is_said() {
    for sound in [
        "listen = [\"10.0.0.100:2011\", \"[2001:db8::1]:2011\"]\nprotocol = \"tcp\"\non_switch = \"reset\"",
        "listen = [\"10.0.0.100:443\"]\ntls = { certificates = [\"vip.pem\"], client_ca = \"ca.pem\", client = \"optional\" }",
        "listen = [\"10.0.0.100:443\"]\nprotocol = \"tcp\"\nsni = [\"*.example.org\"]\nproxy_protocol = [\"10.0.0.0/8\"]",
        "listen = [\"10.0.0.100:81\"]\n[pair.upstream]\ntls = { name = \"web.example\" }\nproxy_protocol = \"v2\"",
        "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\nupstream_tls = true\ntls = { certificates = [\"vip.pem\"] }\n[pair.upstream]\ntls = {}",
        "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\non_switch = \"finish\"\nfinish_within = \"1h\"",
        "listen = [\"10.0.0.100:81\"]\non_switch = \"finish\"\nfinish_within = \"1h\"",
    ] {
        assert_eq!(with_listener(sound), [""; 0], "{sound}");
    }
    for (bad, sentence) in [
        (
            "protocol = \"http\"",
            "edge.toml:7:1: pair.listener.listen: is missing; the VIP's addresses, such as `listen = [\"10.0.0.100:443\"]`",
        ),
        (
            "listen = []",
            "edge.toml:8:10: pair.listener.listen: the listener has no address; the VIP's addresses, such as `listen = [\"10.0.0.100:443\"]`",
        ),
        (
            "listen = [\"10.0.0.100:80\"]",
            "edge.toml:8:11: pair.listener.listen: 10.0.0.100:80 is taken by this pair in line 6 (10.0.0.100:80); an \
             address and port that no other listener takes",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\npool = \"ucs\"",
            "edge.toml:7:1: pair.listener.pool: there is no pool \"ucs\"; one of: `servers`, which have no pool",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nsni = [\"a.example\"]",
            "edge.toml:9:7: pair.listener.sni: is for `protocol = \"tcp\"`; one of both",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nproxy_protocol = [\"10.0.0.1\"]",
            "edge.toml:9:19: pair.listener.proxy_protocol: \"10.0.0.1\" is refused (invalid IP address syntax); a network \
             \"ADDRESS/BITS\", such as \"10.0.0.0/8\" or \"10.0.0.1/32\"",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\nsni = [\"a.example\", \"*.b.*\"]",
            "edge.toml:10:21: pair.listener.sni: \"*.b.*\" is no host name; such as \"agents.example.org\", or \"*.example.org\" \
             for all names right below it",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\ntls = { certificates = [\"vip.pem\"], http2 = true }",
            "edge.toml:10:45: pair.listener.tls.http2: is for `protocol = \"http\"`; no `http2`: streams agree on no protocol",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nh2c = true\ntls = { certificates = [\"vip.pem\"] }",
            "edge.toml:9:7: pair.listener.h2c: is HTTP/2 without TLS, for `protocol = \"http\"`; `http2` in `tls` says it of HTTP/2 \
             with TLS",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nfinish_within = \"1m\"",
            "edge.toml:9:17: pair.listener.finish_within: says nothing without `on_switch = \"finish\"`; both, or neither",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\nupstream_tls = true",
            "edge.toml:7:1: pair.listener.upstream_tls: says nothing without [pair.upstream.tls]; that table, even if it is \
             empty: `tls = {}`",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nupstream_tls = true\n[pair.upstream]\ntls = {}",
            "edge.toml:9:16: pair.listener.upstream_tls: is for `protocol = \"tcp\"`: requests are encrypted wherever \
             [pair.upstream.tls] is; one of both",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\nprotocol = \"tcp\"\nsni = [\"a.example\"]\nupstream_tls = true\n[pair.upstream]\ntls = {}",
            "edge.toml:11:16: pair.listener.upstream_tls: would encrypt again what `sni` passes through; one of both",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\ntls = {}",
            "edge.toml:9:7: pair.listener.tls.certificates: is missing; PEM files with a chain and its key each, such as \
             `certificates = [\"vip.pem\"]`",
        ),
        (
            "listen = [\"10.0.0.100:81\"]\n[pair.upstream]\ntls = { insecure = true, ca = \"ca.pem\" }",
            "edge.toml:10:31: pair.upstream.tls.ca: and `insecure` contradict each other; one of them",
        ),
    ] {
        assert_eq!(with_listener(bad), [sentence], "{bad}");
    }
}

#[test]
fn a_pair_without_requests_may_announce_its_clients() {
    let only = "[[pair.listener]]\nlisten = [\"10.0.0.100:2011\"]\nprotocol = \"tcp\"\n[pair.upstream]\nproxy_protocol = \"v2\"\n";
    let spoiled = spoiled("listen = [\"10.0.0.100:80\"]\n[pair.policy]", &format!("{only}[pair.policy]"));
    assert_eq!(spoiled, [""; 0]);
}
