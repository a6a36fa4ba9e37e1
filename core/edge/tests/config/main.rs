//! Every bad input that a configuration can be, and the whole sentence that it is refused with.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use lockstep_edge::config::{check, load};
use lockstep_policy::host::trust;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod calls;
mod edge_table;
mod listeners;
mod manner;
#[path = "../workers/mod.rs"]
mod workers;

/// A valid configuration, of which each test spoils something. Its lines are counted: keep them.
const VALID: &str = r#"[edge]
name = "edge-1"
admin = "127.0.0.1:7480"
[[pair]]
name = "phones"
listen = ["10.0.0.100:80"]
[pair.policy]
plugin = "telisca"
fast = true
[pair.lease]
profile = "lan"
[pair.hold]
max_requests = 1000
[pair.handover]
drain = "5s"
[pair.a]
servers = ["10.0.0.1:80"]
agent = "10.0.0.1:7401"
[pair.b]
servers = ["10.0.0.2:80"]
agent = "10.0.0.2:7401"
"#;

/// A second pair, which takes nothing from the first.
const SECOND: &str = r#"[[pair]]
name = "mail"
listen = ["10.0.0.101:80"]
[pair.policy]
plugin = "telisca"
[pair.a]
servers = ["10.0.1.1:80"]
agent = "10.0.1.1:7401"
[pair.b]
servers = ["10.0.1.2:80"]
agent = "10.0.1.2:7401"
"#;

/// A directory in which two plugins are trusted. Workers are this program.
fn directory() -> TempDir {
    workers::are_this_program();
    let directory = TempDir::new().unwrap();
    trust(&directory.path().join("policies.trust"), &["telisca", "finesse"].map(workers::plugin)).unwrap();
    directory
}

/// With a table at its end that trusts everybody: what is about certificates has tests of its own.
fn in_the_open(text: &str) -> String {
    format!("{text}\n[edge.tls]\ninsecure = true\n")
}

/// The sentences with which a text is refused, without the directory.
fn refusals(text: &str) -> Vec<String> {
    let directory = directory();
    let file = directory.path().join("edge.toml");
    std::fs::write(&file, in_the_open(text)).unwrap();
    let report = check(&file);
    let prefix = format!("{}/", directory.path().display());
    report.errors.iter().map(|error| error.to_string().replace(&prefix, "")).collect()
}

/// What the valid configuration is refused with when one text in it is replaced.
#[track_caller]
fn spoiled(good: &str, bad: &str) -> Vec<String> {
    assert_eq!(VALID.matches(good).count(), 1, "{good:?} must be there once");
    refusals(&VALID.replace(good, bad))
}

#[track_caller]
fn refused(good: &str, bad: &str, sentence: &str) {
    assert_eq!(spoiled(good, bad), [sentence]);
}

#[test]
fn the_valid_one_is_valid() {
    assert_eq!(refusals(VALID), [""; 0]);
    assert_eq!(refusals(&format!("{VALID}{SECOND}")), [""; 0]);
}

#[test]
fn each_lease_profile_has_its_times() {
    let directory = directory();
    let file = directory.path().join("edge.toml");
    for (profile, times, detect) in [
        ("default", [3_000, 1_000, 5_000, 100], [100, 200, 2]),
        ("lan", [600, 50, 250, 20], [100, 200, 2]),
        ("rapid", [200, 50, 80, 10], [30, 60, 3]),
    ] {
        let text = VALID.replace("profile = \"lan\"", &format!("profile = \"{profile}\""));
        std::fs::write(&file, in_the_open(&text)).unwrap();
        let config = load(&file).unwrap();
        let (settings, setup) = (config.pairs[0].settings, &config.pairs[0].policy.setup);
        let terms = settings.terms;
        let found = [terms.ttl, terms.renew, terms.stop_max, settings.margin].map(|time| time.as_millis());
        assert_eq!(found, times, "{profile}");
        let found = [setup.detect.interval_ms, setup.detect.timeout_ms, u64::from(setup.detect.failures)];
        assert_eq!(found, detect, "{profile}: what is not given in [pair.detect] goes with the lease");
    }
}

#[test]
fn the_example_of_the_house_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/telisca-edge.toml");
    let directory = directory();
    let installed = directory.path().join("edge.toml");
    std::fs::copy(example, &installed).unwrap();
    let report = check(&installed);
    assert!(report.is_valid(), "{report}");
}

#[test]
fn unknown_keys() {
    refused(
        "max_requests",
        "max_request",
        "edge.toml:13:1: pair.hold.max_request: is not a known key; known: max_requests, max_wait, release_at_once, \
         retry_after; \
         did you mean `max_requests`?",
    );
    refused(
        "[pair.hold]\nmax_requests = 1000",
        "[pair.holt]\nmax_requests = 1000",
        "edge.toml:12:7: pair.holt: is not a known key; known: name, listeners, listen, limits, listener, upstream, answer, lease, detect, \
         hold, mode, unavailable, maintenance, forwarded, rewrite, handover, session, a, b, policy; did you mean `hold`?",
    );
    refused(
        "name = \"edge-1\"",
        "address = \"edge-1\"",
        "edge.toml:2:1: edge.address: is not a known key; known: name, state, admin, journal, probe, \
         policies, users, tls, metrics, trace, request_id, access_log, drain, plugins",
    );
}

#[test]
fn wrong_types() {
    refused(
        "drain = \"5s\"",
        "drain = 5",
        "edge.toml:15:9: pair.handover.drain: is of the wrong type (integer); a duration with its unit from 0ns to 3600s, \
         such as \"500ms\"",
    );
    refused(
        "max_requests = 1000",
        "max_requests = \"many\"",
        "edge.toml:13:16: pair.hold.max_requests: is of the wrong type (string); a whole number from 0 to 1000000",
    );
    refused(
        "listen = [\"10.0.0.100:80\"]",
        "listen = \"10.0.0.100:80\"",
        "edge.toml:6:10: pair.listen: is of the wrong type (string); a list; in it: an address \"IP:PORT\", such as \
         \"10.0.0.1:80\" (names are not looked up)",
    );
    refused(
        "agent = \"10.0.0.1:7401\"",
        "agent = 7401",
        "edge.toml:18:9: pair.a.agent: is of the wrong type (integer); an address \"IP:PORT\", such as \
         \"10.0.0.1:80\" (names are not looked up)",
    );
}

#[test]
fn missing_keys() {
    refused(
        "plugin = \"telisca\"\n",
        "",
        "edge.toml:7:1: pair.policy.plugin: is missing; a plugin's name, such as `plugin = \"telisca\"`, or a path",
    );
    refused(
        "listen = [\"10.0.0.100:80\"]\n",
        "",
        "edge.toml:4:1: pair.listen: is missing; the VIP's listeners, such as `listen = [\"10.0.0.100:80\"]`",
    );
    refused(
        "agent = \"10.0.0.1:7401\"\n",
        "",
        "edge.toml:16:1: pair.a.agent: is missing; the side's agent, such as `agent = \"10.0.0.1:7401\"`: with the policy \
         `telisca` one side is active at a time, by a lease that its agent holds. Where the node admits no agent: the edge's \
         own calls, [pair.a.activate] and [pair.a.stand_down]",
    );
    refused(
        "[pair.b]\nservers = [\"10.0.0.2:80\"]\nagent = \"10.0.0.2:7401\"\n",
        "",
        "edge.toml:4:1: pair.b: is missing; a table `[pair.b]` with `servers` and `agent`",
    );
    assert_eq!(refusals("[edge]\n"), ["edge.toml:1:1: pair: is missing; at least one table `[[pair]]`"]);
}

#[test]
fn a_side_without_servers() {
    refused(
        "servers = [\"10.0.0.2:80\"]\n",
        "",
        "edge.toml:19:1: pair.b.servers: is missing; at least one, such as `servers = [\"10.0.0.1:80\"]`",
    );
    refused(
        "servers = [\"10.0.0.2:80\"]",
        "servers = []",
        "edge.toml:20:11: pair.b.servers: side b has no server; at least one, such as `servers = [\"10.0.0.1:80\"]`",
    );
}

#[test]
fn out_of_range() {
    refused(
        "drain = \"5s\"",
        "drain = \"2h\"",
        "edge.toml:15:9: pair.handover.drain: \"2h\" is out of range; a duration with its unit from 0ns to 3600s, such as \
         \"500ms\"",
    );
    refused(
        "max_requests = 1000",
        "max_requests = -1",
        "edge.toml:13:16: pair.hold.max_requests: -1 is out of range; a whole number from 0 to 1000000",
    );
    refused(
        "profile = \"lan\"",
        "profile = \"wan\"",
        "edge.toml:11:11: pair.lease.profile: \"wan\" is not known; \"default\" or \"lan\" or \"rapid\"; did you mean `lan`?",
    );
    refused(
        "profile = \"lan\"",
        "profile = \"lan\"\nrenew = \"400ms\"",
        "edge.toml:12:9: pair.lease.renew: 400ms is more than half of pair.lease.ttl (600ms): one lost renewal would end \
         the lease; at most 300ms, or a longer ttl",
    );
    refused(
        "profile = \"lan\"",
        "ttl = \"1500ms\"",
        "edge.toml:10:1: pair.lease.renew: 1s is more than half of pair.lease.ttl (1s 500ms): one lost renewal would end \
         the lease; at most 750ms, or a longer ttl",
    );
    refused(
        "drain = \"5s\"",
        "drain = \"5\"",
        "edge.toml:15:9: pair.handover.drain: \"5\" is not a duration (time unit needed, for example 5sec or 5ms); \
         a duration with its unit from 0ns to 3600s, such as \"500ms\"",
    );
}

#[test]
fn bad_addresses() {
    refused(
        "servers = [\"10.0.0.1:80\"]",
        "servers = [\"10.0.0.1:80\", \"server-two:80\"]",
        "edge.toml:17:27: pair.a.servers: \"server-two:80\" is refused (invalid socket address syntax); an address \
         \"IP:PORT\", such as \"10.0.0.1:80\" (names are not looked up), or a socket of the file system, such as \
         \"unix:/run/app.sock\"",
    );
    refused(
        "servers = [\"10.0.0.1:80\"]",
        "servers = [\"0.0.0.0:80\"]",
        "edge.toml:17:12: pair.a.servers: 0.0.0.0:80 cannot be connected to; an address \"IP:PORT\", such as \
         \"10.0.0.1:80\" (names are not looked up), or a socket of the file system, such as \
         \"unix:/run/app.sock\"",
    );
    for (path, why) in [
        ("run/app.sock", "a socket is named by its whole path, which begins with /"),
        ("/run/", "a socket is named by its whole path, which begins with /"),
    ] {
        refused(
            "servers = [\"10.0.0.1:80\"]",
            &format!("servers = [\"unix:{path}\"]"),
            &format!(
                "edge.toml:17:12: pair.a.servers: \"unix:{path}\" is refused ({why}); an address \"IP:PORT\", such as \
                 \"10.0.0.1:80\" (names are not looked up), or a socket of the file system, such as \"unix:/run/app.sock\""
            ),
        );
    }
    refused(
        "admin = \"127.0.0.1:7480\"",
        "admin = \"localhost\"",
        "edge.toml:3:9: edge.admin: \"localhost\" is refused (invalid socket address syntax); an address \"IP:PORT\", such \
         as \"127.0.0.1:7480\"",
    );
    refused(
        "listen = [\"10.0.0.100:80\"]",
        "listen = [\"10.0.0.100:0\"]",
        "edge.toml:6:11: pair.listen: 10.0.0.100:0 has no port; one listener for each address and port",
    );
}

/// What `VALID` with a second pair is refused with when one text of the second is replaced.
#[track_caller]
fn second(good: &str, bad: &str, sentence: &str) {
    assert_eq!(SECOND.matches(good).count(), 1);
    assert_eq!(refusals(&format!("{VALID}{}", SECOND.replace(good, bad))), [sentence]);
}

#[test]
fn answers_and_sessions() {
    refused(
        "listen = [\"10.0.0.100:80\"]",
        "listen = [\"10.0.0.100:80\"]\nanswer = [\"127.0.0.1:7480\"]",
        "edge.toml:7:11: pair.answer: 127.0.0.1:7480 is where the admin API listens (edge.admin = 127.0.0.1:7480); one \
         listener for each address and port",
    );
    refused(
        "[pair.lease]",
        "[pair.session]\nby = \"address\"\n[pair.lease]",
        "edge.toml:10:1: pair.session: with the policy `telisca` one side is active at a time, and no sessions are shared \
         out; no table `[pair.session]`, or a policy with which both sides may serve",
    );
    assert_eq!(
        spoiled("[pair.lease]", "[pair.session]\nby = \"query:x\"\nidle = \"0s\"\nmax = 0\n[pair.lease]")[1..],
        [
            "edge.toml:11:6: pair.session.by: \"query:x\" is refused (it names nothing that a request carries); \
             \"address\", \"cookie:NAME\", \"insert:NAME\", \"header:NAME\", \"parameter:NAME\" or \"tls\"",
            "edge.toml:12:8: pair.session.idle: \"0s\" is out of range; a duration with its unit from 1s to 2592000s, such \
             as \"500ms\"",
            "edge.toml:13:7: pair.session.max: 0 is out of range; a whole number from 1 to 10000000",
        ]
    );
}

/// Where both sides may serve, agents are not needed, and what they are for has no meaning.
const SHARED: &str = r#"[[pair]]
name = "desks"
listen = ["10.0.2.100:80"]
[pair.policy]
plugin = "finesse"
[pair.session]
by = "cookie:JSESSIONID"
[pair.a]
servers = ["10.0.2.1:80"]
[pair.b]
servers = ["10.0.2.2:80"]
"#;

/// What names a session, in many ways.
#[test]
fn sessions_are_named_by_what_requests_carry() {
    let by = |by: &str| refusals(&SHARED.replace("cookie:JSESSIONID", by));
    for sound in ["address", "insert:LOCKSTEP", "header:X-Agent", "parameter:jsessionid"] {
        assert_eq!(by(sound), [""; 0], "{sound}");
    }
    for (bad, why) in [
        ("tls", "is \"tls\", and no listener of the pair speaks TLS with clients that may resume"),
        ("insert:a b", "does not name an attribute of a request"),
        ("parameter:a=b", "does not name an attribute of a request"),
        ("insert:", "does not name an attribute of a request"),
        ("form:x", "it names nothing that a request carries"),
    ] {
        let refused = by(bad);
        assert!(refused.len() == 1 && refused[0].contains(why), "{bad}: {refused:?}");
    }
}

#[test]
fn where_both_sides_may_serve_agents_are_not_needed() {
    assert_eq!(refusals(SHARED), [""; 0]);
    assert_eq!(
        refusals(&format!("{SHARED}[pair.lease]\nprofile = \"lan\"\n")),
        [
            "edge.toml:12:1: pair.lease: with the policy `finesse` both sides may serve: there is no lease and no handover; no \
          table `[pair.lease]`"
        ]
    );
}

#[test]
fn two_pairs_in_each_others_way() {
    second(
        "mail",
        "phones",
        "edge.toml:23:8: pair.name: \"phones\" is the name of the pair in line 5 already; a name of its own",
    );
    second(
        "10.0.0.101:80",
        "10.0.0.100:80",
        "edge.toml:24:11: pair.listen: 10.0.0.100:80 is taken by pair \"phones\" in line 6 (10.0.0.100:80); an address and \
         port that no other listener takes",
    );
    second(
        "10.0.0.101:80",
        "0.0.0.0:80",
        "edge.toml:24:11: pair.listen: 0.0.0.0:80 is taken by pair \"phones\" in line 6 (10.0.0.100:80); an address and \
         port that no other listener takes",
    );
    second(
        "10.0.0.101:80",
        "[::]:80",
        "edge.toml:24:11: pair.listen: [::]:80 is taken by pair \"phones\" in line 6 (10.0.0.100:80); an address and port \
         that no other listener takes",
    );
    second(
        "10.0.0.101:80",
        "0.0.0.0:7480",
        "edge.toml:24:11: pair.listen: 0.0.0.0:7480 is where the admin API listens (edge.admin = 127.0.0.1:7480); one \
         listener for each address and port",
    );
    second(
        "agent = \"10.0.1.2:7401\"",
        "agent = \"10.0.0.1:7401\"",
        "edge.toml:32:9: pair.b.agent: 10.0.0.1:7401 is the agent in line 18 already: an agent speaks for one side; an \
         agent of its own",
    );
    second(
        "servers = [\"10.0.1.2:80\"]",
        "servers = [\"10.0.0.100:80\"]",
        "edge.toml:31:12: pair.b.servers: 10.0.0.100:80 is a listener of this edge: requests would go in a ring; the \
         server's own address",
    );
    refused(
        "servers = [\"10.0.0.2:80\"]",
        "servers = [\"10.0.0.1:80\"]",
        "edge.toml:20:12: pair.b.servers: 10.0.0.1:80 is a server of this pair in line 17 already; each server once",
    );
}

#[test]
fn parameters_that_the_policys_schema_refuses() {
    let said = spoiled("fast = true", "fest = true");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("edge.toml:9:1: pair.policy.fest: "), "{}", said[0]);
    assert!(said[0].ends_with("; did you mean `fast`?"), "{}", said[0]);

    let said =
        spoiled("fast = true", "failures_to_switch = 0\n[pair.policy.balancer]\ninterval = \"30s\"\nfailures = 500");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("edge.toml:9:1: pair.policy.failures_to_switch: `0` "), "{}", said[0]);
    assert!(said[1].starts_with("edge.toml:12:1: pair.policy.balancer.failures: `500` "), "{}", said[1]);
    assert!(said.iter().all(|said| said.contains("; valid: ") && said.contains("100")), "{said:?}");
}

#[test]
fn plugins_that_are_none() {
    let said = spoiled("\"telisca\"", "\"telisco\"");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("edge.toml:8:10: pair.policy.plugin: there is no plugin \"telisco\": no file "),
        "{}",
        said[0]
    );
    assert!(said[0].contains("telisca") && said[0].ends_with("did you mean `telisca`?"), "{}", said[0]);

    let said = spoiled("\"telisca\"", "\"./gone.so\"");
    // Which others are there depends on what has been built.
    let (what, others) = said[0].split_once("; there are: ").expect("others are named");
    assert_eq!(what, "edge.toml:8:10: pair.policy.plugin: there is no plugin \"./gone.so\": no file ./gone.so");
    assert!(others.contains("telisca"), "{others}");

    let said = spoiled("\"telisca\"", "\"./edge.toml\"");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("edge.toml:8:10: pair.policy.plugin: ./edge.toml: is not a dynamic library"),
        "{}",
        said[0]
    );

    refused(
        "name = \"edge-1\"",
        "plugins = \"nowhere\"",
        "edge.toml:2:11: edge.plugins: nowhere is not a directory; the directory of the policies' plugins",
    );
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let spoiled = VALID
        .replace("name = \"edge-1\"", "nam = \"edge-1\"")
        .replace("drain = \"5s\"", "drain = \"5h\"")
        .replace("servers = [\"10.0.0.2:80\"]", "servers = [2]");
    let places: Vec<String> =
        refusals(&spoiled).iter().map(|said| said.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        ["edge.toml:2:1 edge.nam", "edge.toml:15:9 pair.handover.drain", "edge.toml:20:12 pair.b.servers"]
    );
}

#[test]
fn what_is_no_toml_is_refused_at_its_first_fault() {
    let said = refusals("[edge]\nname = \"edge-1\nadmin = 7\n");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("edge.toml:2:"), "{}", said[0]);
    assert!(said[0].contains("is not TOML"), "{}", said[0]);
}

#[test]
fn a_file_that_is_not_there() {
    let report = load(Path::new("/nonexistent/edge.toml")).unwrap_err();
    assert_eq!(
        report.to_string(),
        "/nonexistent/edge.toml: cannot be read: No such file or directory (os error 2); a readable file in TOML"
    );
}

#[test]
fn what_is_odd_is_told_and_allowed() {
    let directory = directory();
    let file: PathBuf = directory.path().join("edge.toml");
    let odd = VALID
        .replace("max_requests = 1000", "max_wait = \"500ms\"")
        .replace("drain = \"5s\"", "fence = \"100ms\"")
        .replace("127.0.0.1:7480", "0.0.0.0:7480");
    std::fs::write(&file, in_the_open(&odd)).unwrap();
    let report = check(&file);
    assert!(report.is_valid(), "{report}");
    let said = |begins: &str| assert!(report.lints.iter().any(|lint| lint.starts_with(begins)), "{:?}", report.lints);
    said("edge: edge.admin = 0.0.0.0:7480 is not loopback");
    said(
        "pair `phones`: hold.max_wait = 500ms is shorter than what a failover may have to wait for the lease alone, 876ms",
    );
    said("pair `phones`: handover.fence = 100ms is shorter than lease.stop_max = 250ms");
    said("pair `phones`: expected switch delay, at worst: ");
}
