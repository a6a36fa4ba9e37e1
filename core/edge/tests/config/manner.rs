//! What clients are told, what is changed on the way, and what they may take.

use super::*;
use lockstep_edge::config::PairConfig;
use lockstep_edge::proxy::{ForwardedFields, PAGE_MAX};

/// The first pair of a configuration, in a directory with such a page.
fn pair(text: &str, page: &[u8]) -> Result<PairConfig, String> {
    let directory = directory();
    let file = directory.path().join("edge.toml");
    std::fs::write(&file, in_the_open(text)).unwrap();
    std::fs::write(directory.path().join("sorry.html"), page).unwrap();
    load(&file).map(|mut config| config.pairs.remove(0)).map_err(|report| report.to_string())
}

fn with(more: &str) -> String {
    VALID.replace("[pair.policy]", &format!("{more}\n[pair.policy]"))
}

#[test]
fn what_clients_are_told_is_read_with_its_pages() {
    let text = with(
        "[pair.unavailable]\nretry_after = \"9s\"\ncontent_type = \"text/html\"\nfile = \"sorry.html\"\n\
         [[pair.unavailable.page]]\ncontent_type = \"application/xml\"\nbody = \"<ApiErrors/>\"\n\
         [pair.maintenance]\nstatus = 200\nbody = \"closed\"\n",
    );
    let manner = pair(&text, b"<p>sorry").unwrap().manner;
    let unavailable = manner.unavailable.unwrap();
    assert_eq!((unavailable.status, unavailable.retry_after.as_secs()), (503, 9));
    let pages: Vec<_> = unavailable.pages.iter().map(|page| (page.content_type.as_str(), &page.body[..])).collect();
    assert_eq!(pages, [("text/html", &b"<p>sorry"[..]), ("application/xml", &b"<ApiErrors/>"[..])]);
    assert_eq!(manner.maintenance.unwrap().status, 200);
    let refused = pair(&text, &vec![b'x'; PAGE_MAX + 1]).unwrap_err();
    assert!(refused.ends_with("is larger than 64 KiB; a file of at most 64 KiB that the edge may read"), "{refused}");
}

#[test]
fn rules_for_requests_and_answers_are_read() {
    let text = with(
        "[pair.forwarded]\nadd = \"both\"\ntrust = [\"10.0.0.0/8\"]\n[[pair.rewrite]]\npath = \"/finesse/api/SystemInfo\"\n\
         content_types = [\"Application/XML\"]\nreplace = { \"node-a.example\" = \"vip.example\" }\nmax_bytes = \"10kB\"\n\
         [pair.upstream]\nconnections = 50\nqueue_max = 10\nqueue_timeout = \"2s\"\n",
    );
    let manner = pair(&text, b"").unwrap().manner;
    assert_eq!((manner.forwarded.add, manner.forwarded.trust.len()), (ForwardedFields::Both, 1));
    let rule = &manner.rewrites[0];
    assert_eq!((rule.is_prefix, rule.max_bytes, rule.content_types[0].as_str()), (false, 10_000, "application/xml"));
    assert_eq!(rule.replace, [("node-a.example".to_owned(), "vip.example".to_owned())]);
    assert_eq!((manner.crowd.connections, manner.crowd.queue_max), (Some(50), 10));
}

#[test]
fn limits_are_the_pairs_unless_a_listener_has_its_own() {
    let text = with(
        "[pair.limits]\nconnections = 100\nrequests_per_source = 20\nburst = 40\nallow = [\"10.0.0.0/8\"]\nbody_bytes = \"10MB\"\n\
         [[pair.listener]]\nlisten = [\"10.0.0.100:8443\"]\nlimits = { connections = 7, head_timeout = \"3s\" }\n",
    );
    let pair = pair(&text, b"").unwrap();
    let (general, own) = (&pair.limits, &pair.listener[0].limits);
    assert_eq!((general.settings.connections, general.settings.request_burst), (100, 40));
    assert_eq!(
        (own.settings.connections, own.settings.requests_per_source, own.settings.body_bytes),
        (7, 20, 10_000_000)
    );
    assert_eq!((own.settings.head_timeout.as_secs(), own.networks.allow.len()), (3, 1));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let said = |more: &str, what: &str| {
        let refused = refusals(&with(more));
        assert!(refused.len() == 1 && refused[0].contains(what), "{more}: {refused:?}");
    };
    said("[pair.unavailable]\nstatus = 302\nbody = \"x\"\n", "302 does not say that a request was not served");
    said("[pair.unavailable]\nbody = \"x\"\nfile = \"y\"\n", "stands beside `body`");
    said("[pair.unavailable]\ncontent_type = \"html\"\nbody = \"x\"\n", "\"html\" is not a media type");
    said("[pair.unavailable]\ncontent_type = \"text/html\"\n", "pair.unavailable.body: is missing");
    said("[pair.forwarded]\ntrust = [\"10.0.0.0\"]\n", "is refused");
    said("[[pair.rewrite]]\npath = \"a\"\nreplace = { a = \"b\" }\n", "\"a\" is not an absolute path");
    said("[[pair.rewrite]]\npath = \"/a\"\n", "pair.rewrite.replace: is missing");
    said("[pair.limits]\nburst = 4\n", "says nothing without `requests_per_source`");
    said("[pair.upstream]\nqueue_max = 4\n", "pair.upstream.connections: is missing");
    let redirect = refusals(&VALID.replace("[[pair]]", "[[pair]]\nmode = \"redirect\""));
    assert!(
        redirect.len() == 2 && redirect[0].contains("pair.a.name: is missing, and `mode = \"redirect\"`"),
        "{redirect:?}"
    );
    let named = VALID.replace("[pair.a]", "[pair.a]\nname = \"side-a.example\"");
    assert!(refusals(&named)[0].contains("\"side-a.example\" is not a scheme and a host"));
}
