//! In a network of their own, in which nobody else pings, and where a test may do what only root may.

use super::*;
use crate::probe::judge::Finding;
use lockstep_policy::event::Verdict;
use std::process::Command;
use std::time::Duration;

/// In the environment of a test that is inside.
const INSIDE: &str = "LOCKSTEP_TEST_NETWORK";
/// Where tools are that a user's PATH need not lead to.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin";
/// User namespaces make root of anybody. Where they are switched off, only root itself can do without.
const ROOT: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];
/// Nobody in particular, who may do nothing.
const NOBODY: [&[&str]; 1] = [&["--user", "--net"]];

const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(400);

/// Tells a story in a network of its own. To be called by a test, with a closure.
fn in_a_network<F: FnOnce()>(ways: &[&[&str]], story: F) {
    if std::env::var_os(INSIDE).is_some() {
        return story();
    }
    let test = std::any::type_name::<F>().strip_suffix("::{{closure}}").expect("a story is the closure of its test");
    let test = test.split_once("::").expect("it begins with the program's name").1;
    let path = format!("{}:{SYSTEM_PATH}", std::env::var("PATH").unwrap_or_default());
    let works =
        |way: &&&[&str]| Command::new("unshare").args(**way).arg("true").env("PATH", &path).status().unwrap().success();
    let way = ways.iter().find(works).expect("this machine lets nobody make namespaces: run the tests as root");
    let mut inside = Command::new("unshare");
    inside.args(*way).arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let status = inside.env("PATH", &path).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{test} failed: see above");
}

fn run(line: &str) -> String {
    let done = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Loopback with two addresses of each version; what goes to the second ones is dropped.
fn network() {
    run("ip link set lo up
         ip addr add 192.0.2.1/32 dev lo; ip addr add 192.0.2.9/32 dev lo
         ip addr add 2001:db8::1/128 dev lo nodad; ip addr add 2001:db8::9/128 dev lo nodad
         nft add table inet bed
         nft add counter inet bed seen4; nft add counter inet bed seen6
         nft 'add chain inet bed in { type filter hook input priority 0; }'
         nft 'add rule inet bed in ip daddr 192.0.2.9 drop'
         nft 'add rule inet bed in ip6 daddr 2001:db8::9 drop'
         nft 'add chain inet bed out { type filter hook output priority 0; }'
         nft 'add rule inet bed out ip dscp af41 icmp type echo-request counter name seen4'
         nft 'add rule inet bed out ip6 dscp af41 icmpv6 type echo-request counter name seen6'");
}

fn on_a_runtime<T>(doing: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(doing)
}

async fn ping(pinger: &Pinger, target: IcmpTarget, server: &str, timeout: Duration) -> Finding {
    let icmp = Icmp::new(&IcmpProbe { target, dscp: 34 }, pinger).unwrap();
    let silent = Finding::new(Verdict::Silent, 0, "in time");
    tokio::time::timeout(timeout, icmp.probe(pinger, server.parse().unwrap())).await.unwrap_or(silent)
}

fn address(finding: &Finding) -> (Verdict, Option<&str>) {
    (finding.verdict, finding.facts.first().map(|fact| fact.value.as_str()))
}

#[test]
fn a_server_answers_or_is_silent_by_both_versions_with_the_code_point() {
    in_a_network(&ROOT, || {
        network();
        on_a_runtime(async {
            let pinger = Pinger::default();
            for (well, dropped) in [("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9")] {
                let good = ping(&pinger, IcmpTarget::Server, well, PATIENT).await;
                assert_eq!(address(&good), (Verdict::Good, Some(well)), "{}", good.detail);
                assert_eq!(ping(&pinger, IcmpTarget::Server, dropped, SHORT).await.verdict, Verdict::Silent);
            }
            let unknown = ping(&pinger, IcmpTarget::Server, "203.0.113.1", PATIENT).await;
            assert_eq!(unknown.verdict, Verdict::Silent);
            assert!(!unknown.unasked && unknown.detail.starts_with("203.0.113.1: "), "{}", unknown.detail);
        });
        for counter in ["seen4", "seen6"] {
            let seen = run(&format!("nft list counter inet bed {counter}"));
            assert!(seen.contains("packets 2 "), "two of each version, with the code point: {seen}");
        }
    });
}

#[test]
fn any_of_several_addresses_is_enough() {
    in_a_network(&ROOT, || {
        network();
        on_a_runtime(async {
            let pinger = Pinger::default();
            let to = |list: &[&str]| IcmpTarget::Addresses(list.iter().map(ToString::to_string).collect());
            let mixed = to(&["192.0.2.9", "203.0.113.1", "2001:db8::9", "2001:db8::1"]);
            let good = ping(&pinger, mixed, "192.0.2.9", PATIENT).await;
            assert_eq!(address(&good), (Verdict::Good, Some("2001:db8::1")));
            let silent = ping(&pinger, to(&["192.0.2.9", "2001:db8::9"]), "192.0.2.1", SHORT).await;
            assert_eq!(silent.verdict, Verdict::Silent);
        });
    });
}

#[test]
fn gateways_are_looked_up_for_each_probe() {
    in_a_network(&ROOT, || {
        network();
        on_a_runtime(async {
            let pinger = Pinger::default();
            let none = ping(&pinger, IcmpTarget::Gateways, "192.0.2.1", PATIENT).await;
            assert_eq!((none.verdict, none.detail.as_str()), (Verdict::Wrong, "this edge has no default gateway"));
            // The gateways are on this machine, after their routes: a machine's own address is no gateway.
            run("ip link add lan type veth peer name far; ip link set lan up; ip link set far up
                 ip addr add 198.51.100.2/24 dev lan; ip addr add 2001:db8:1::2/64 dev lan nodad
                 ip route add default via 198.51.100.1");
            let silent = ping(&pinger, IcmpTarget::Gateways, "192.0.2.1", SHORT).await;
            assert_eq!(silent.verdict, Verdict::Silent);
            run("ip -6 route add default via 2001:db8:1::1; ip addr add 2001:db8:1::1/128 dev lo nodad");
            let good = ping(&pinger, IcmpTarget::Gateways, "192.0.2.1", PATIENT).await;
            assert_eq!(address(&good), (Verdict::Good, Some("2001:db8:1::1")), "{}", good.detail);
            run("ip -6 route del default; ip addr add 198.51.100.1/32 dev lo");
            let good = ping(&pinger, IcmpTarget::Gateways, "192.0.2.1", PATIENT).await;
            assert_eq!(address(&good), (Verdict::Good, Some("198.51.100.1")), "{}", good.detail);
        });
    });
}

#[test]
fn many_pings_at_once_find_their_own_answers() {
    in_a_network(&ROOT, || {
        network();
        on_a_runtime(async {
            let pinger = std::sync::Arc::new(Pinger::default());
            let pings = (0..200).map(|number| {
                let pinger = std::sync::Arc::clone(&pinger);
                let to = if number % 2 == 0 { "192.0.2.1" } else { "2001:db8::1" };
                tokio::spawn(async move { (to, ping(&pinger, IcmpTarget::Server, to, PATIENT).await) })
            });
            for ping in pings.collect::<Vec<_>>() {
                let (to, finding) = ping.await.unwrap();
                assert_eq!(address(&finding), (Verdict::Good, Some(to)));
            }
            let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
                let name = task.as_ref().unwrap().path().join("comm");
                std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "pings")
            });
            assert_eq!(threads.count(), 2, "one for each version");
        });
    });
}

#[test]
fn without_the_capability_it_is_refused_with_what_to_do() {
    in_a_network(&NOBODY, || {
        let probe = IcmpProbe { target: IcmpTarget::Server, dscp: 0 };
        let why = Icmp::new(&probe, &Pinger::default()).map(|_| ()).unwrap_err();
        assert!(why.contains("CAP_NET_RAW") && why.contains("AmbientCapabilities"), "{why}");
    });
}

#[test]
fn what_is_no_address_and_no_code_point_is_refused() {
    let refused = |target, dscp| Icmp::new(&IcmpProbe { target, dscp }, &Pinger::default()).map(|_| ()).unwrap_err();
    assert!(refused(IcmpTarget::Server, 64).contains("no code point"));
    assert!(refused(IcmpTarget::Addresses(vec!["host".into()]), 0).contains("\"host\" is no IPv4 or IPv6 address"));
    assert!(refused(IcmpTarget::Addresses(Vec::new()), 0).contains("1 to 32 addresses"));
    assert!(refused(IcmpTarget::Addresses(vec!["192.0.2.1".into(); 33]), 0).contains("1 to 32 addresses"));
}
