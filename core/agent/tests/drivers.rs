//! Drivers on real processes: services that are told over HTTP, steps and what takes them back, and what is tried again.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_pair::protocol::{Answer, Lease, Report, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Role, Service, ServiceState};
use rustix::process::Signal;
use std::fs;
use world::agent::Node;
use world::edge::{Edge, TERMS, pid};
use world::process::{lives, send, stop};
use world::remote::Remote;
use world::wait_until;

fn service<'a>(report: &'a Report, name: &str) -> &'a Service {
    report.services.iter().find(|service| service.name == name).unwrap()
}

fn state(report: &Report, name: &str) -> ServiceState {
    service(report, name).state
}

/// Orders a start, whatever becomes of it.
async fn begin(edge: &mut Edge, epoch: Epoch) {
    let report = edge.report("standby", |report| report.role == Role::Standby && report.fit).await;
    edge.say(ToNode::Activate { epoch, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(epoch);
}

fn stand_down(edge: &mut Edge, epoch: Epoch) {
    edge.renews = None;
    edge.say(ToNode::StandDown { epoch, urgency: Urgency::Planned });
}

/// What the steps of a test have written, in one line.
fn log(node: &Node) -> String {
    fs::read_to_string(node.path("log")).unwrap_or_default().replace('\n', " ").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_elsewhere_is_started_asked_and_stopped_by_calls() {
    let remote = Remote::start();
    let node = Node::new(&remote.service_with_status(""));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.report("standby", |report| report.role == Role::Standby).await;
    assert_eq!(remote.told(), "stop", "a new life begins with a stop");
    edge.activate(Epoch(1)).await;
    assert!(remote.runs());
    // It says nothing for a while, and then that it has stopped.
    remote.with(|state| state.vague = true);
    edge.report("unready", |report| state(report, "cti") == ServiceState::Unready && !report.serving).await;
    remote.with(|state| state.vague = false);
    edge.report("serving", |report| report.serving).await;
    stand_down(&mut edge, Epoch(2));
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    assert_eq!(remote.told(), "stop start stop");
    edge.activate(Epoch(3)).await;
    remote.with(|state| state.running = false);
    let report = edge.report("ended", |report| state(report, "cti") == ServiceState::Exited).await;
    assert!(!report.serving && report.role == Role::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_not_confirmed_is_no_stop() {
    for status in ["", "with"] {
        let remote = Remote::start();
        let text = if status.is_empty() { remote.service("") } else { remote.service_with_status("") };
        let node = Node::new(&text);
        let _agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.activate(Epoch(1)).await;
        remote.with(|state| state.stop = 500);
        stand_down(&mut edge, Epoch(2));
        match edge.answer().await {
            Answer::Failed { epoch: Epoch(2), why } => assert!(why.contains("cti"), "{why}"),
            answer => panic!("{answer:?}"),
        }
        edge.report("failed", |report| report.role == Role::Failed && report.running).await;
        // It is tried again and again, and believed when it is confirmed.
        remote.with(|state| state.stop = 200);
        edge.report("nothing runs", |report| !report.running).await;
        assert!(!remote.runs());
    }
}

/// Nothing on the node can end it: the next life of the agent says of no role that it has it before it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_is_no_standby_before_what_runs_elsewhere_has_stopped() {
    let remote = Remote::start();
    let node = Node::new(&remote.service(""));
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    remote.with(|state| state.stop = 503);
    agent.kill();
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.report("failed", |report| report.role != Role::StandingDown).await;
    assert_eq!((report.role, report.running), (Role::Failed, true));
    remote.with(|state| state.stop = 200);
    edge.report("nothing runs", |report| !report.running).await;
    assert!(!remote.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_what_runs_elsewhere_when_the_agent_is_killed_or_hangs() {
    for hangs in [false, true] {
        let remote = Remote::start();
        let node = Node::new(&remote.service("kill = [\"sh\", \"-c\", \"echo >> DIR/killed\"]"));
        let mut agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.activate(Epoch(1)).await;
        assert!(!node.path("killed").exists());
        if hangs {
            stop(agent.pid())
        } else {
            agent.kill()
        }
        wait_until("the kill", || node.path("killed").exists());
        if hangs {
            send(agent.pid(), Signal::CONT);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_confirms_a_stop_that_nothing_else_does() {
    let remote = Remote::start();
    let node = Node::new(&remote.service("kill = [\"sh\", \"-c\", \"echo >> DIR/killed\"]\nstop_timeout = \"100ms\""));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    remote.with(|state| state.stop = 500);
    stand_down(&mut edge, Epoch(2));
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    assert!(node.path("killed").exists());
    // One that is confirmed needs none.
    fs::remove_file(node.path("killed")).unwrap();
    remote.with(|state| state.stop = 200);
    edge.activate(Epoch(3)).await;
    stand_down(&mut edge, Epoch(4));
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(4) });
    assert!(!node.path("killed").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_call_is_tried_again_and_what_it_may_have_started_is_stopped_before() {
    let remote = Remote::start();
    remote.with(|state| state.start = vec![500, 503, 200]);
    let node = Node::new(&remote.service("retries = 2\nretry_pause = \"50ms\""));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    assert_eq!(remote.told(), "stop start stop start stop start");
    stand_down(&mut edge, Epoch(2));
    edge.answer().await;
    remote.with(|state| state.start = vec![500, 503, 418, 200]);
    begin(&mut edge, Epoch(3)).await;
    match edge.answer().await {
        Answer::Failed { epoch: Epoch(3), why } => {
            for word in ["`cti`", "3 times", "/start", "status 418"] {
                assert!(why.contains(word), "{why}");
            }
        }
        answer => panic!("{answer:?}"),
    }
}

/// A runbook: one step of both sides, and two of the active side around a service.
const RUNBOOK: &str = r#"
[[service]]
name = "tables"
driver = "run"
command = ["sh", "-c", "echo tables >> DIR/log"]
undo = ["sh", "-c", "echo no-tables >> DIR/log"]

[[service]]
name = "disk"
driver = "run"
command = ["sh", "-c", "echo disk >> DIR/log; exit 3"]
expected = [0, 3]
undo = ["sh", "-c", "echo no-disk >> DIR/log; test ! -e DIR/busy"]
exclusive = true

[[service]]
name = "core"
driver = "exec"
command = ["sh", "-c", "echo core >> DIR/log; exec sleep 1000"]
exclusive = true

[[service]]
name = "told"
driver = "run"
command = ["sh", "-c", "echo told >> DIR/log"]
exclusive = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_done_in_its_order_and_taken_back_in_the_reverse() {
    let node = Node::new(RUNBOOK);
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.report("fit", |report| report.fit && report.role == Role::Standby).await;
    // What an earlier life may have left of an exclusive step is taken back; the other begins.
    let mut begun: Vec<String> = log(&node).split(' ').map(str::to_owned).collect();
    begun.sort();
    assert_eq!(begun, ["no-disk", "tables"]);
    fs::remove_file(node.path("log")).unwrap();
    let report = edge.activate(Epoch(1)).await;
    assert_eq!(log(&node), "disk core told");
    assert!(report.services.iter().all(|service| service.state == ServiceState::Running));
    stand_down(&mut edge, Epoch(2));
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    assert_eq!(log(&node), "disk core told no-disk");

    // A step that is not taken back is no stop.
    edge.activate(Epoch(3)).await;
    fs::write(node.path("busy"), "").unwrap();
    stand_down(&mut edge, Epoch(4));
    assert!(matches!(edge.answer().await, Answer::Failed { epoch: Epoch(4), why } if why.contains("disk")));
    edge.report("failed", |report| report.role == Role::Failed && report.running).await;
    fs::remove_file(node.path("busy")).unwrap();
    edge.report("nothing is left", |report| !report.running).await;

    send(agent.pid(), Signal::TERM);
    assert!(agent.ended().success());
    assert!(log(&node).ends_with("no-tables"), "{}", log(&node));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_step_is_taken_back_when_the_agent_is_killed_or_hangs() {
    for hangs in [false, true] {
        let node = Node::new(RUNBOOK);
        let mut agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.activate(Epoch(1)).await;
        fs::remove_file(node.path("log")).unwrap();
        if hangs {
            stop(agent.pid())
        } else {
            agent.kill()
        }
        wait_until("the step's undoing", || log(&node).contains("no-disk"));
        if hangs {
            assert_eq!(log(&node), "no-disk", "what is not exclusive stays");
            send(agent.pid(), Signal::CONT);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_tried_again_and_one_that_hangs_is_ended_and_named() {
    let node = Node::new(
        r#"
[[service]]
name = "flaky"
driver = "run"
command = ["sh", "-c", "echo try >> DIR/log; test $(wc -l < DIR/log) -ge 3"]
exclusive = true
retries = 2
retry_pause = "20ms"

[[service]]
name = "slow"
driver = "run"
command = ["sh", "-c", "test -e DIR/quick || exec sleep 1000"]
exclusive = true
start_timeout = "300ms"
"#,
    );
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    begin(&mut edge, Epoch(1)).await;
    match edge.answer().await {
        Answer::Failed { epoch: Epoch(1), why } => {
            assert!(why.contains("`slow`") && why.contains("not ready within 300ms"), "{why}")
        }
        answer => panic!("{answer:?}"),
    }
    assert_eq!(log(&node), "try try try");
    fs::write(node.path("quick"), "").unwrap();
    edge.report("failed", |report| report.role == Role::Failed && !report.running).await;
    let report = edge.last.clone().unwrap();
    edge.say(ToNode::Activate { epoch: Epoch(2), lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(Epoch(2));
    assert_eq!(edge.answer().await, Answer::Activated { epoch: Epoch(2) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_started_again_within_its_budget_and_then_the_node_has_failed() {
    let node = Node::new(
        r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
restarts = 2
window = "10m"
"#,
    );
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let mut cti = pid(&edge.activate(Epoch(1)).await, "cti");
    for restarts in [1, 2] {
        send(cti, Signal::KILL);
        let again = |report: &Report| report.serving && service(report, "cti").restarts == restarts;
        let report = edge.report("serving again", again).await;
        assert_eq!(report.role, Role::Active);
        cti = pid(&report, "cti");
    }
    send(cti, Signal::KILL);
    let ended = |report: &Report| {
        assert!(report.role != Role::Active || state(report, "cti") != ServiceState::Exited, "a policy would act");
        report.role == Role::Failed
    };
    let report = edge.report("failed", ended).await;
    assert!(!report.running && !report.serving && service(&report, "cti").restarts == 2);
    assert!(
        matches!(edge.answer().await, Answer::Failed { epoch: Epoch(1), why } if why.contains("2 restarts within 10m"))
    );
    // Who is active next is decided elsewhere; it may be this node.
    edge.say(ToNode::Activate { epoch: Epoch(2), lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(Epoch(2));
    assert_eq!(edge.answer().await, Answer::Activated { epoch: Epoch(2) });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_liveness_check_fails_is_ended_and_started_again() {
    let node = Node::new(
        r#"
[[service]]
name = "web"
driver = "exec"
command = ["sh", "-c", "rm -f DIR/hung; echo > DIR/up; exec sleep 1000"]
ready = { exec = ["test", "-e", "DIR/up"] }
restarts = 5
alive = { exec = ["test", "!", "-e", "DIR/hung"], interval = "100ms", failures = 2 }
"#,
    );
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.report("fit", |report| report.fit).await;
    let web = pid(&report, "web");
    fs::write(node.path("hung"), "").unwrap();
    let report = edge.report("fit again", |report| report.fit && service(report, "web").restarts == 1).await;
    assert!(!lives(web) && pid(&report, "web") != web);
}
