//! Policies that misbehave, and workers that are killed: requests do not notice, and operators read what was done.

use crate::bed::{Bed, until};
use crate::configuration::{ADMIN, PAIR, edge};
use crate::network::VIP;
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_edge::admin::api::{PairStatus, SwitchAnswer, SwitchOrder};
use lockstep_edge::admin::client::Client;
use lockstep_policy::Side::{A, B};
use lockstep_policy::host::Fingerprint;
use lockstep_tests::compiled::hostile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const APP: [&str; 2] = ["simulate", "app"];
const STAYS: &str = "first_server_auto_restart_as_active = false";
/// What is promised of a worker that was killed, once it had worked for a while.
const BACK: Duration = Duration::from_millis(200);
/// A busy machine is given more.
const BACK_AT_LAST: Duration = Duration::from_secs(2);
/// A worker that dies sooner than this after its start is not started again at once for ever.
const SETTLED: Duration = Duration::from_secs(5);
/// A policy that is there has failed long before.
const ANSWER: Duration = Duration::from_secs(1);
/// In the environment: how often the worker is killed, for who wants the figure of more than a test has time for.
const KILLS: &str = "LOCKSTEP_TEST_KILLS";

fn ready(dir: &Path, policies: &str, pairs: &str) -> Bed {
    let mut bed = Bed::new(dir);
    bed.configure_edge(&configured(dir, policies, pairs));
    bed.start();
    bed
}

/// The usual pair, which believes in silence only when it lasts, with other terms for policies and other pairs beside it.
fn configured(dir: &Path, policies: &str, pairs: &str) -> String {
    let text = edge(dir, &format!("{STAYS}\n[pair.detect]\nfailures = 10\n[pair.hold]\nmax_requests = 5000"));
    // How long a lease lasts is not what these stories are about, and some of them use all of a processor.
    let text = text.replace("profile = \"lan\"", "profile = \"default\"");
    text.replacen("\n[[pair]]", &format!("\n[edge.policies]\n{policies}\n[[pair]]"), 1) + pairs
}

fn pair_of(bed: &Bed, name: &str) -> PairStatus {
    until("the edge to answer", || {
        let status = bed.ask(async |operator| operator.status().await).ok()?;
        status.pairs.into_iter().find(|pair| pair.name == name)
    })
}

fn worker(pair: &PairStatus) -> Pid {
    Pid::from_raw(i32::try_from(pair.policy.worker_pid.expect("it has a worker")).unwrap())
}

/// Kills a pair's worker, and waits until its policy works in another one; how long that took, to within a look at the
/// status.
fn kill_worker(bed: &Bed) -> Duration {
    let before = pair_of(bed, PAIR).policy;
    assert!(before.working, "{before:?}");
    let killed = Instant::now();
    kill(worker(&pair_of(bed, PAIR)), Signal::SIGKILL).unwrap();
    bed.wait("the policy to be back", |pair| {
        let now = &pair.policy;
        now.working && now.restarts > before.restarts && now.worker_pid.is_some() && now.worker_pid != before.worker_pid
    });
    killed.elapsed()
}

fn switches(bed: &Bed) -> usize {
    let is_switch = |what: &serde_json::Value| what.to_string().contains("\"switch\":{");
    bed.journal().iter().filter(|entry| entry.kind == "action" && is_switch(&entry.what)).count()
}

#[test]
fn a_worker_that_is_killed_is_back_and_nobody_has_noticed() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, "", "");
        let client = bed.client(500);
        client.let_flow(100);
        let kills: usize = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok()).unwrap_or(2);
        let mut times = Vec::new();
        for _ in 0..kills {
            let begun = Instant::now();
            until("the worker to have worked for a while", || (begun.elapsed() > SETTLED).then_some(()));
            times.push(kill_worker(&bed));
        }
        times.sort_unstable();
        println!("back after a kill: {times:?}");
        let slowest = times[times.len() - 1];
        figure("kill -9 of a policy's worker, back with its state", slowest, BACK);
        assert!(slowest < BACK_AT_LAST, "{times:?}");
        let policy = pair_of(&bed, PAIR).policy;
        assert_eq!((policy.restarts, policy.standing_in.as_str()), (kills as u64, ""));
        assert!(pair_of(&bed, PAIR).alerts.iter().any(|alert| {
            alert.text.contains("policy `telisca`")
                && alert.text.contains("it goes on in another worker, with its state")
        }));
        assert_eq!((bed.active(), pair_of(&bed, PAIR).epoch.0, switches(&bed)), (Some(A), 1, 1));
        client.finish(&bed).nothing_lost();
    });
}

/// The worker is stopped, the active application dies, and then the worker is killed with what it was told of that unread.
#[test]
fn a_worker_that_is_killed_before_it_decides_decides_once() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, "", "");
        // Requests that may be sent again: what the application's death costs is another story.
        let client = crate::stream::Stream::start_to(dir, "client", crate::configuration::vip(), &["--rate", "500"]);
        for (round, from) in [A, B, A].into_iter().enumerate() {
            client.let_flow(100);
            bed.wait_well(from);
            let stopped = worker(&pair_of(&bed, PAIR));
            kill(stopped, Signal::SIGSTOP).unwrap();
            bed.signal(from, &APP, Signal::SIGKILL);
            // The agent's word has reached the edge, and waits in the worker's queue.
            bed.wait("the application's death to be known", |pair| {
                pair.sides[from].report.as_ref().is_some_and(|report| {
                    let app = report.services.iter().find(|service| service.name == "framework");
                    app.is_some_and(|app| app.restarts > 0 || app.pid == 0)
                })
            });
            assert_eq!(bed.active(), Some(from), "nobody decides");
            let killed = Instant::now();
            kill(stopped, Signal::SIGKILL).unwrap();
            bed.wait_served(from.other());
            println!("served {:?} after the worker was killed", killed.elapsed());
            bed.wait_well(from.other());
            let epoch = 2 + round as u64;
            assert_eq!((pair_of(&bed, PAIR).epoch.0, switches(&bed)), (epoch, epoch as usize), "no second switch");
        }
        client.finish(&bed).nothing_lost();
    });
}

/// What each sort does at an order, as operators read it.
const SORTS: [(&str, &str); 12] = [
    ("ABORT", "it aborted"),
    ("CRASH", "it crashed"),
    ("OVERFLOW", "it "),
    ("LOOP", "of CPU time"),
    ("SLEEP", "so its worker was killed"),
    ("ALLOCATE", "it aborted"),
    ("LIE", "is cut off"),
    ("FLOOD", "more than 256 actions"),
    ("OPEN", "may not open files"),
    ("CONNECT", "may not open sockets"),
    ("FORK", "may not start processes"),
    ("EXIT", "it ended with code 3"),
];

/// Short times: what they are is not what the stories are about.
const SHORT: &str =
    "absent_max = \"500ms\"\nwarn_cpu = \"50ms\"\nkill_cpu = \"300ms\"\nkill_wall = \"1s\"\nmemory = \"64MiB\"";

fn id(sort: &str) -> String {
    sort.to_lowercase().replace('_', "-")
}

/// A pair beside the usual one, with servers that nobody has, and a policy of a sort.
fn bad_pair(dir: &Path, number: usize, sort: &str) -> String {
    let (plugin, port) = (hostile(dir, sort), 1000 + number);
    let mut text = format!("\n[[pair]]\nname = \"{}\"\nlisten = [\"{VIP}:{port}\"]\n", id(sort));
    let _ = write!(text, "[pair.policy]\nplugin = {plugin:?}\n");
    for (side, agent) in [("a", 1), ("b", 2)] {
        let _ =
            write!(text, "[pair.{side}]\nservers = [\"127.0.0.{agent}:{port}\"]\nagent = \"127.0.0.{agent}:{port}\"\n");
    }
    text
}

/// Gives an order that nobody waits for.
fn order(dir: &Path, pair: &str) -> std::thread::JoinHandle<()> {
    let (token, pair) = (dir.join("edge/admin.token"), pair.to_owned());
    std::thread::spawn(move || {
        let operator = Client::new(ADMIN, &token).unwrap();
        let order = SwitchOrder { to: B, confirmed: true, unsafe_because: None, by: "eva".to_owned() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = runtime.block_on(operator.switch(&pair, &order));
    })
}

#[test]
fn each_sort_of_bad_policy_is_named_with_its_deed_and_disturbs_no_other_pair() {
    in_a_world_of_its_own(|dir| {
        let pairs: String = SORTS.iter().enumerate().map(|(number, (sort, _))| bad_pair(dir, number, sort)).collect();
        let bed = ready(dir, SHORT, &pairs);
        let client = bed.client(500);
        client.let_flow(100);
        let good = pair_of(&bed, PAIR).policy;
        let mut orders = Vec::new();
        for (sort, deed) in SORTS {
            let name = id(sort);
            until("the bad policy to work", || pair_of(&bed, &name).policy.working.then_some(()));
            orders.push(order(dir, &name));
            let alerts = until(&format!("what was done about {sort}"), || {
                let alerts = pair_of(&bed, &name).alerts;
                let left_out = |text: &str| text.contains("this was the second time, so event");
                alerts.iter().any(|alert| left_out(&alert.text)).then_some(alerts)
            });
            let begin = format!("policy `{name}` 0.6.6 failed at event ");
            let told = alerts.iter().any(|alert| {
                let text = &alert.text;
                text.starts_with(&begin) && text.contains("(operator's order): ") && text.contains(deed)
            });
            assert!(told, "{sort}: {alerts:#?}");
        }
        for (sort, _) in SORTS {
            until(&format!("{sort} to be back"), || pair_of(&bed, &id(sort)).policy.working.then_some(()));
        }
        let after = pair_of(&bed, PAIR).policy;
        assert_eq!((after.worker_pid, after.restarts, after.working), (good.worker_pid, good.restarts, true));
        assert_eq!(bed.switch(B).record.to, B, "a good pair's operator notices nothing");
        bed.wait_well(B);
        orders.into_iter().for_each(|order| order.join().unwrap());
        client.finish(&bed).nothing_lost();
    });
}

/// A bad plugin becomes the policy of the very pair that serves: the route stays, hold-course stands in, and operators can
/// still move the role.
#[test]
fn hold_course_stands_in_for_a_policy_that_stays_away_and_operators_still_switch() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, SHORT, "");
        let client = bed.client(500);
        client.let_flow(100);
        let text = configured(dir, SHORT, "");
        let plugin = hostile(dir, "EXIT");
        let good = format!("plugin = {:?}\nfast = true\n{STAYS}", lockstep_tests::plugin("telisca"));
        assert!(text.contains(&good));
        bed.configure_edge(&text.replace(&good, &format!("plugin = {plugin:?}")));
        bed.signal_edge(Signal::SIGHUP);
        bed.wait("the other policy", |pair| pair.policy.id == "exit" && pair.policy.working);
        assert_eq!(pair_of(&bed, PAIR).policy.fingerprint, fingerprint(&plugin));

        // It fails at every order, and is given up for longer each time: in the end for long enough to look around.
        let mut orders = Vec::new();
        while pair_of(&bed, PAIR).policy.restarts < 6 {
            bed.wait("it to work", |pair| pair.policy.working);
            let before = pair_of(&bed, PAIR).policy.restarts;
            orders.push(order(dir, PAIR));
            let asked = Instant::now();
            // An order that comes in the moment in which it is made again is heard by nobody.
            bed.wait("it to fail", |pair| pair.policy.restarts > before || asked.elapsed() > ANSWER);
        }
        bed.wait("hold-course", |pair| pair.policy.standing_in == "hold-course");
        assert!(pair_of(&bed, PAIR).alerts.iter().any(|alert| alert.text.contains("`hold-course` stands in for it")));
        let from = bed.active().expect("the route has stayed");
        let (code, said) = bed.type_as("eva", &["switch", PAIR, "--to", &from.other().to_string(), "--yes"]);
        assert_eq!(code, 0, "{said}");
        let record = bed.ask(async |operator| operator.why(PAIR, None).await).unwrap().record;
        assert!(record.by == "operator eva" && record.to == from.other(), "{record:?}");
        client.let_flow(100);

        bed.configure_edge(&text);
        bed.signal_edge(Signal::SIGHUP);
        bed.wait("the good policy again", |pair| {
            pair.policy.id == "telisca" && pair.policy.working && pair.policy.standing_in.is_empty()
        });
        bed.wait_well(from.other());
        orders.into_iter().for_each(|order| order.join().unwrap());
        client.finish(&bed).nothing_lost();
    });
}

fn fingerprint(file: &Path) -> String {
    Fingerprint::of(&std::fs::read(file).unwrap()).to_string()
}

/// A plugin that hangs or crashes as soon as it is made an instance of never becomes a pair's policy.
#[test]
fn a_policy_that_cannot_be_made_is_refused_and_the_running_one_is_kept() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, SHORT, "");
        let client = bed.client(500);
        client.let_flow(100);
        for (sort, why) in [("CRASH_IN_CREATE", "it crashed"), ("HANG_IN_CREATE", "of CPU time")] {
            let file = hostile(dir, sort);
            let (code, said) = bed.type_as("eva", &["policy", "shadow", PAIR, file.to_str().unwrap()]);
            assert!(code == 1 && said.contains(&id(sort)) && said.contains(why), "{said}");
            let text = configured(dir, SHORT, "");
            let good = format!("plugin = {:?}\nfast = true\n{STAYS}", lockstep_tests::plugin("telisca"));
            bed.configure_edge(&text.replace(&good, &format!("plugin = {file:?}")));
            bed.signal_edge(Signal::SIGHUP);
            until("the refusal", || {
                let said = bed.ask(async |operator| operator.status().await).ok()?.reload;
                (said.first()?.contains("the running one was kept") && said.iter().any(|line| line.contains(why)))
                    .then_some(())
            });
            let policy = pair_of(&bed, PAIR).policy;
            assert_eq!((policy.id.as_str(), policy.working, policy.in_shadow.as_str()), ("telisca", true, ""));
        }
        client.let_flow(100);
        client.finish(&bed).nothing_lost();
    });
}

/// A bad candidate fails in the shadow, and is no danger to the one that decides.
#[test]
fn a_bad_candidate_fails_in_the_shadow() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, SHORT, "");
        let client = bed.client(500);
        client.let_flow(100);
        let file = hostile(dir, "ABORT");
        let (code, said) = bed.type_as("eva", &["policy", "shadow", PAIR, file.to_str().unwrap()]);
        assert_eq!(code, 0, "{said}");
        let shadow = || bed.ask(async |operator| operator.shadow_status(PAIR).await).unwrap().expect("it is there");
        until("it to work", || shadow().working.then_some(()));
        bed.switch(B);
        until("its trouble", || shadow().trouble.contains("it aborted").then_some(()));
        assert!(pair_of(&bed, PAIR).alerts.iter().any(|alert| {
            alert.text.starts_with("in shadow: policy `abort` 0.6.6 failed at event") && alert.text.contains("order")
        }));
        bed.wait_well(B);
        assert!(matches!(bed.order_switch(A).join().unwrap(), Ok(SwitchAnswer::Ended(_))));
        bed.wait_well(A);
        let policy = pair_of(&bed, PAIR).policy;
        assert_eq!((policy.id.as_str(), policy.restarts, policy.promoted.as_str()), ("telisca", 0, ""));
        client.finish(&bed).nothing_lost();
    });
}
