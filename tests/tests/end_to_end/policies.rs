//! Policies that are changed, tried and replaced while the pair is at work, and users who may do that or may not.

use crate::bed::{Bed, until};
use crate::configuration::{PAIR, edge, trust_file, vip};
use crate::stream::{Seen, Stream};
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_demo::tally::Exchange;
use lockstep_edge::admin::api::{JournalEntry, PairStatus, ShadowStatus};
use lockstep_policy::Side::{A, B};
use lockstep_tests::compiled::compiled;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const APP: [&str; 2] = ["simulate", "app"];
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const STAYS: &str = "first_server_auto_restart_as_active = false";

/// A configuration whose policy believes in silence only when it lasts: what these stories are about must not hang on how
/// busy the machine is.
fn configured(dir: &Path, policy: &str, detect: &str) -> String {
    let hold = "[pair.hold]\nmax_requests = 5000";
    edge(dir, &format!("{STAYS}\n{policy}\n[pair.detect]\nfailures = 10\n{detect}\n{hold}"))
}

fn ready(dir: &Path) -> Bed {
    let mut bed = Bed::new(dir);
    bed.configure_edge(&configured(dir, "", ""));
    bed.start();
    bed
}

#[track_caller]
fn says(bed: &Bed, words: &[&str], code: i32, parts: &[&str]) -> String {
    let (ended, text) = bed.type_as("eva", words);
    assert_eq!(ended, code, "lockstep {words:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "lockstep {words:?}: no {part:?} in: {text}");
    }
    text
}

fn pair(bed: &Bed) -> PairStatus {
    until("the edge to answer", || bed.pair())
}

/// Has the edge read its configuration again; what it says of it.
fn reload(bed: &Bed, wanted: &str) -> Vec<String> {
    bed.signal_edge(Signal::SIGHUP);
    until(&format!("{wanted:?} to be said of the reload"), || {
        let said = bed.ask(async |operator| operator.status().await).ok()?.reload;
        said.iter().any(|line| line.contains(wanted)).then_some(said)
    })
}

fn shadow(bed: &Bed) -> Option<ShadowStatus> {
    bed.ask(async |operator| operator.shadow_status(PAIR).await).unwrap()
}

/// Waits until the shadow was told so many events more.
fn told(bed: &Bed, more: u64) -> ShadowStatus {
    let before = shadow(bed).map_or(0, |shadow| shadow.told);
    until(&format!("{more} events to be told"), || shadow(bed).filter(|now| now.told >= before + more))
}

/// Puts a candidate into shadow, and waits for a time in which nothing happens that it could decide.
fn compare_in_quiet(bed: &Bed, order: &[&str], from: &str) -> ShadowStatus {
    for _ in 0..10 {
        says(bed, order, DONE, &[from]);
        let quiet = told(bed, 30);
        assert!(quiet.working, "{quiet:#?}");
        if quiet.decided_otherwise == 0 {
            return quiet;
        }
        println!("not quiet: a probe was late: {:#?}", quiet.latest);
    }
    panic!("the machine gives no second in which every probe is in time");
}

fn count(journal: &[JournalEntry], kind: &str, part: &str) -> usize {
    journal.iter().filter(|entry| entry.kind == kind && entry.what.to_string().contains(part)).count()
}

/// Switches that the policies of the pair have asked for.
fn switches(bed: &Bed) -> usize {
    count(&bed.journal(), "action", "\"switch\":{")
}

fn probe_interval(pair: &PairStatus) -> f64 {
    pair.sides.a.probes.first().map_or(0.0, |probe| probe.interval_ms)
}

/// A failover: when the active application was killed, and how long until the other side served.
struct Failover {
    killed: u64,
    took: Duration,
}

/// The active application is killed, which its agent sees and says, and the other side serves.
fn fails_over(bed: &Bed, client: &Stream) -> Failover {
    fails_over_by(bed, client, Signal::SIGKILL)
}

/// The active application is killed, or stopped: then only its silence shows it.
fn fails_over_by(bed: &Bed, client: &Stream, signal: Signal) -> Failover {
    let from = bed.active().expect("one side is active");
    let begin = Instant::now();
    bed.signal(from, &APP, signal);
    let killed = now();
    bed.wait_served(from.other());
    let took = begin.elapsed();
    bed.print_handover();
    client.let_flow(50);
    if signal == Signal::SIGSTOP {
        bed.thaw(from);
    }
    bed.wait_well(from.other());
    Failover { killed, took }
}

/// No request has failed but those that died with a server: it had begun to answer them, and they may not be sent twice.
#[track_caller]
fn nothing_lost_but_with(seen: &Seen, failovers: &[Failover]) {
    const KNOWN: u64 = 50_000_000;
    let died = |exchange: &Exchange| {
        let there = |fault: &Failover| exchange.sent <= fault.killed + KNOWN && exchange.ended + KNOWN >= fault.killed;
        exchange.method == "POST" && exchange.status == Some(502) && failovers.iter().any(there)
    };
    let lost: Vec<_> = seen.exchanges().iter().filter(|exchange| !exchange.is_good() && !died(exchange)).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn parameters_that_are_changed_are_in_force_at_once_and_others_are_kept() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(500);
        client.let_flow(100);
        let worker = pair(&bed).policy.worker_pid;
        assert!(probe_interval(&pair(&bed)) > 50.0);

        let faster = configured(dir, "restart_time = \"7s\"", "interval = \"50ms\"");
        bed.configure_edge(&faster);
        let said = reload(&bed, "in force");
        assert!(said[0].contains("pair \"telisca\": pair.policy and pair.detect: in force"), "{said:?}");
        bed.wait("probes each 50 ms", |pair| (probe_interval(pair) - 50.0).abs() < 0.1);
        says(&bed, &["status"], DONE, &["in force"]);
        let journal = until("the change in the journal", || {
            let journal = bed.journal();
            (count(&journal, "action", "answer_config") == 1).then_some(journal)
        });
        assert_eq!(count(&journal, "event", "restart_time"), 1, "it was told");
        assert_eq!(count(&journal, "event", "\"start\""), 1, "it was not made again");
        assert_eq!(pair(&bed).policy.worker_pid, worker);

        bed.configure_edge(&faster.replace("fast = true", "fest = true"));
        let said = reload(&bed, "the running one was kept");
        assert!(said.iter().any(|line| line.contains("pair.policy.fest")), "{said:?}");
        // What no schema says, and only the policy knows.
        bed.configure_edge(&faster.replace(STAYS, "test_vip_destination = true"));
        let said = reload(&bed, "vip_url");
        assert!(said[0].contains("the running one was kept"), "{said:?}");
        assert!((probe_interval(&pair(&bed)) - 50.0).abs() < 0.1);
        client.let_flow(100);
        let failover = fails_over(&bed, &client);
        nothing_lost_but_with(&client.finish(&bed), &[failover]);
    });
}

/// The policy itself says no to a change: it goes on with the parameters that it has.
#[test]
fn a_change_that_the_policy_refuses_is_not_in_force() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(500);
        let stubborn = lockstep_tests::compiled::hostile(dir, "STUBBORN");
        let of = |detect: &str| {
            let good = format!("plugin = {:?}\nfast = true\n{STAYS}", lockstep_tests::plugin("telisca"));
            let text = configured(dir, "", detect);
            assert!(text.contains(&good));
            text.replace(&good, &format!("plugin = {stubborn:?}"))
        };
        bed.configure_edge(&of(""));
        let said = reload(&bed, "in force");
        assert!(said[0].ends_with("in force: the policy was made again without a state"), "{said:?}");
        bed.wait("the other policy", |pair| pair.policy.id == "stubborn" && pair.policy.working);
        bed.configure_edge(&of("interval = \"90ms\""));
        let said = reload(&bed, "refused by the policy");
        assert!(said[0].ends_with("the running parameters were kept: I never change"), "{said:?}");
        // It is asked again: nothing of the refused change has stayed.
        reload(&bed, "refused by the policy");
        client.let_flow(100);
        client.finish(&bed).nothing_lost();
    });
}

/// A client whose requests may all be sent again: a server that dies or hangs loses none of them.
fn reader(dir: &Path) -> Stream {
    Stream::start_to(dir, "client", vip(), &["--rate", "100"])
}

#[test]
fn a_candidate_is_compared_promoted_and_taken_back() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = reader(dir);
        client.let_flow(100);
        says(&bed, &["policy", "shadow", PAIR], REFUSED, &["no policy is in shadow"]);
        says(&bed, &["policy", "promote", PAIR], REFUSED, &["has no policy in shadow"]);
        says(&bed, &["policy", "shadow", PAIR, "--set", "fest=1"], REFUSED, &["fest"]);
        let slow = ["fast=false", "heartbeat_interval=1s", "heartbeat_timeout=2s", "failures_to_switch=2"];
        let mut order = vec!["policy", "shadow", PAIR];
        order.extend(slow.iter().flat_map(|set| ["--set", set]));
        let quiet = compare_in_quiet(&bed, &order, "goes on from the present policy's state");
        assert!(quiet.compared >= 5, "{quiet:#?}");
        says(&bed, &["policy", "shadow", PAIR], DONE, &["by eva", "times it decided otherwise"]);
        says(&bed, &["policy", "rollback", PAIR], REFUSED, &["never in force"]);
        says(&bed, &["status"], DONE, &["telisca", "in shadow"]);

        let first = fails_over(&bed, &client);
        let differs = until("the difference", || shadow(&bed).filter(|shadow| shadow.decided_otherwise > 0));
        let switch = |actions: &[String]| actions.iter().any(|action| action.contains("switch to b, failover"));
        assert!(differs.latest.iter().any(|it| it.decision && switch(&it.present)), "{differs:#?}");
        says(&bed, &["policy", "shadow", PAIR], DONE, &["decided otherwise\n", "- switch to b, failover: T1"]);
        assert_eq!(pair(&bed).epoch.0, 2, "nothing of the candidate is done");

        says(&bed, &["policy", "promote", PAIR], DONE, &["decides from now on, by eva", "policy rollback"]);
        let promoted = pair(&bed).policy;
        assert!(promoted.promoted.contains("by eva") && promoted.working, "{promoted:?}");
        says(&bed, &["explain", PAIR], DONE, &["2 × 1s"]);
        bed.wait_well(B);
        told(&bed, 3);
        let second = fails_over_by(&bed, &client, Signal::SIGSTOP);
        assert!(second.took >= Duration::from_secs(2), "a probe a second, 2 s each: {:?}", second.took);
        says(&bed, &["why", PAIR], DONE, &["by        policy", "T1: b failed 2 monitor probes in a row"]);
        assert_eq!((bed.active(), pair(&bed).epoch.0), (Some(A), 3));

        says(&bed, &["policy", "rollback", PAIR], DONE, &["decides from now on, by eva"]);
        assert_eq!(pair(&bed).policy.promoted, "");
        bed.wait("the configured policy's probes", |pair| probe_interval(pair) < 1_000.0);
        bed.wait_well(A);
        let third = fails_over(&bed, &client);
        println!("as configured: {:?}, promoted: {:?}, as configured: {:?}", first.took, second.took, third.took);
        assert_eq!((bed.active(), pair(&bed).epoch.0), (Some(B), 4));
        says(&bed, &["policy", "shadow", PAIR, "--stop"], DONE, &["no policy is in shadow any more"]);
        assert_eq!(shadow(&bed), None);
        client.finish(&bed).nothing_lost();
    });
}

#[test]
fn another_plugin_is_trusted_and_tried_before_it_decides() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = reader(dir);
        client.let_flow(100);
        let file = compiled(dir, "plugins/example-c/policy.c", "example-c", &[]);
        let path = file.to_str().unwrap();
        let order = ["policy", "shadow", PAIR, path, "--set", "interval_ms=100", "--set", "failures=10"];
        let said = says(&bed, &order, REFUSED, &["lockstep policy trust"]);
        let hash = said.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() == 64);
        assert!(hash, "its SHA-256 is to be compared: {said}");
        assert_eq!(shadow(&bed), None);
        trust_file(dir, &file);
        let quiet = compare_in_quiet(&bed, &order, "begins without a state");
        assert_eq!(quiet.id, "example-c");

        says(&bed, &["policy", "promote", PAIR], DONE, &["policy `example-c`"]);
        let promoted = pair(&bed).policy;
        assert_eq!((promoted.id.as_str(), promoted.in_shadow.starts_with("telisca")), ("example-c", true));
        bed.wait_well(A);
        told(&bed, 10);
        says(&bed, &["switch", PAIR, "--to", "b"], DONE, &[]);
        bed.wait_well(B);
        fails_over_by(&bed, &client, Signal::SIGSTOP);
        says(&bed, &["why", PAIR], DONE, &["W1: b failed 10 probes in a row"]);
        says(&bed, &["policy", "rollback", PAIR], DONE, &["policy `telisca`"]);
        bed.wait_well(A);
        fails_over(&bed, &client);
        says(&bed, &["why", PAIR], DONE, &["T1"]);
        client.finish(&bed).nothing_lost();
    });
}

/// What is tried is not configured: an edge that is started again has what stands in its file.
#[test]
fn an_edge_that_is_started_again_has_its_configured_policy() {
    in_a_world_of_its_own(|dir| {
        let mut bed = ready(dir);
        let order = ["policy", "shadow", PAIR, "--set", "detect.failures=50"];
        for promote in [false, true] {
            says(&bed, &order, DONE, &["goes on from"]);
            told(&bed, 5);
            if promote {
                says(&bed, &["policy", "promote", PAIR], DONE, &["until the edge is restarted"]);
                told(&bed, 5);
            }
            bed.kill_edge();
            bed.start_edge();
            bed.wait_well(A);
            let policy = pair(&bed).policy;
            assert_eq!((policy.promoted.as_str(), policy.in_shadow.as_str(), policy.working), ("", "", true));
            assert_eq!(shadow(&bed), None);
        }
        let client = bed.client(500);
        client.let_flow(100);
        let decided = switches(&bed);
        let failover = fails_over(&bed, &client);
        assert_eq!(switches(&bed), decided + 1);
        nothing_lost_but_with(&client.finish(&bed), &[failover]);
    });
}

fn user(bed: &Bed, name: &str, rights: &[&str]) -> String {
    let mut words = vec!["user", name];
    words.extend(rights.iter().flat_map(|right| ["--right", right]));
    let output = crate::processes::lockstep().args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().find(|line| line.len() >= 32 && !line.contains([' ', '#'])).expect("a token");
    std::fs::write(bed.dir().join(format!("{name}.token")), token).unwrap();
    let entry = text.find("[[edge.users]]").expect("an entry");
    text[entry..].to_owned()
}

#[test]
fn users_are_known_by_their_tokens_and_may_what_they_have_a_right_to() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(500);
        client.let_flow(100);
        let users = [user(&bed, "eva", &["operate"]), user(&bed, "adam", &[])].concat();
        let text = configured(dir, "", "");
        bed.configure_edge(&text.replace("\n[[pair]]", &format!("\n{users}\n[[pair]]")));
        reload(&bed, "[[edge.users]]: applied");

        let as_user = |name: &str, words: &[&str]| {
            let token = dir.join(format!("{name}.token"));
            let words = [words, &["--token-file", token.to_str().unwrap()]].concat();
            // The name that counts is the token's, and not what the shell says.
            bed.type_as("mallory", &words)
        };
        let (code, said) = as_user("adam", &["switch", PAIR, "--to", "b"]);
        assert_eq!(code, REFUSED);
        assert!(said.contains("user \"adam\" has no right to \"operate\""), "{said}");
        for words in [
            &["policy", "shadow", PAIR, "--set", "detect.failures=9"][..],
            &["policy", "promote", PAIR],
            &["pause", PAIR, "--reason", "x"],
            &["reload"],
            &["upgrade"],
        ] {
            let (code, said) = as_user("adam", words);
            assert!(code == REFUSED && said.contains("has no right"), "{words:?}: {said}");
        }
        assert_eq!(as_user("adam", &["status"]).0, DONE, "who is known may look");
        assert_eq!(bed.active(), Some(A));
        assert_eq!(raw(dir, "adam"), 403);

        let (code, said) = as_user("eva", &["upgrade", "--program", "/bin/true"]);
        assert!(code == REFUSED && said.contains("asks for the right \"all\""), "{said}");
        let (code, said) = as_user("eva", &["switch", PAIR, "--to", "b"]);
        assert_eq!(code, DONE, "{said}");
        bed.wait_well(B);
        says(&bed, &["why", PAIR], DONE, &["operator eva"]);
        let journal = bed.journal();
        assert!(count(&journal, "operator", "\"eva\"") > 0);
        assert_eq!((count(&journal, "operator", "mallory"), count(&journal, "operator", "adam")), (0, 0));

        bed.configure_edge(&text);
        bed.signal_edge(Signal::SIGHUP);
        until("the users to be gone", || {
            let (code, said) = as_user("eva", &["status"]);
            (code == REFUSED && said.contains("token")).then_some(())
        });
        client.finish(&bed).nothing_lost();
    });
}

/// The status with which a user's order is refused.
fn raw(dir: &Path, name: &str) -> u16 {
    use std::io::{Read, Write};
    let token = std::fs::read_to_string(dir.join(format!("{name}.token"))).unwrap();
    let body = serde_json::to_string(&serde_json::json!({ "to": "b", "confirmed": false, "by": "x" })).unwrap();
    let mut stream = std::net::TcpStream::connect(crate::configuration::ADMIN).unwrap();
    let head = format!("POST /v1/pairs/{PAIR}/switch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let head = format!("{head}authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(body["error"].as_str().unwrap().contains("an `[[edge.users]]` entry gives rights"), "{answer}");
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
