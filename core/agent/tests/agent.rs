//! Whole agents as processes, and an edge that speaks to them.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_pair::protocol::{Answer, Lease, Session, Stamp, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::{Outcome, Role, ServiceState};
use lockstep_policy::{At, Epoch, Side};
use lockstep_wire::{LinkError, clock};
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use world::agent::Node;
use world::edge::{Edge, TERMS, hello, pid};
use world::process::{lives, send, stop, written};
use world::wait_until;

const APP_AND_CTI: &str = r#"
[[service]]
name = "framework"
driver = "exec"
command = ["sleep", "1000"]
[[service]]
name = "cti"
driver = "exec"
command = ["sh", "-c", "echo $$ > DIR/cti; setsid sh -c 'echo $$ > DIR/far; exec sleep 1000' & exec sleep 1000"]
exclusive = true
"#;

#[tokio::test]
async fn a_node_is_active_for_as_long_as_it_is_renewed() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    assert_eq!((edge.welcome.pair.as_str(), edge.welcome.side), ("telisca", Side::A));
    assert_eq!(edge.welcome.release, "7.2");
    let report = edge.activate(Epoch(1)).await;
    let cti = pid(&report, "cti");
    assert_eq!(cti, written(&node.path("cti")));
    // Far beyond the first lease.
    let until = report.stamp.at + TERMS.ttl * 4;
    let report = edge.report("later", |report| report.stamp.at > until).await;
    assert!(report.serving && report.running && pid(&report, "cti") == cti && lives(cti));

    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    assert!(!lives(cti), "it has stood down before its service has ended");
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!report.running && report.fit && report.epoch == Epoch(2));
    let stored = fs::read_to_string(node.state().join("node.json")).unwrap();
    assert_eq!(stored, r#"{"pair":"telisca","side":"a","epoch":2,"active":false}"#);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_the_service_in_time() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.activate(Epoch(1)).await;
    let family = [pid(&report, "cti"), written(&node.path("far"))];
    edge.renews = None;
    let report = edge.report("standing down", |report| report.role == Role::StandingDown).await;
    let end = clock::now() + TERMS.stop_max;
    let standby = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!family.iter().any(|pid| lives(*pid)));
    // One machine, one clock.
    assert!(standby.stamp.at <= end, "{:?} after the lease's end", standby.stamp.at.since(report.stamp.at));
}

#[tokio::test]
async fn a_lost_edge_ends_the_service_too() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.activate(Epoch(1)).await;
    let cti = pid(&report, "cti");
    drop(edge);
    wait_until("the service's end", || !lives(cti));
}

#[tokio::test]
async fn a_stopped_agent_with_stopped_guards_keeps_nothing_running() {
    let node = Node::new(APP_AND_CTI);
    let agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.activate(Epoch(1)).await;
    let cti = pid(&report, "cti");
    let guard = parent(cti);
    for pid in [agent.pid(), guard, cti] {
        stop(pid);
    }
    // Nobody who could keep or end a lease runs: what is left is the kernel.
    wait_until("the service's end", || !lives(cti));
    // The last renewal was of this report. The margin is for a busy machine.
    let end = report.stamp.at + TERMS.ttl + TERMS.stop_max;
    let late = clock::now().since(end);
    assert!(late < Duration::from_secs(1), "{late:?} after the last moment");
    send(agent.pid(), Signal::CONT);
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!report.running);
}

#[tokio::test]
async fn a_killed_agent_takes_everything_along_and_its_next_life_begins_fenced() {
    let node = Node::new(APP_AND_CTI);
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let first = edge.welcome.session;
    let report = edge.activate(Epoch(7)).await;
    let old = [pid(&report, "cti"), pid(&report, "framework"), written(&node.path("far"))];
    agent.kill();
    let lost = loop {
        match edge.hear().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, LinkError::Broken { .. }), "{lost}");

    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    assert_ne!(edge.welcome.session, first);
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!old.iter().any(|pid| lives(*pid)), "it calls itself standby while its earlier life's services run");
    assert_eq!(report.epoch, Epoch(7));
    assert!(!report.running);
    // A lease of the earlier life is worth nothing.
    let stamp = Stamp { session: first, at: clock::now() };
    edge.say(ToNode::Activate { epoch: Epoch(8), lease: Lease { stamp, ttl: TERMS.ttl } });
    assert!(matches!(edge.answer().await, Answer::Refused { .. }));
    edge.activate(Epoch(9)).await;
}

#[tokio::test]
async fn what_an_earlier_life_has_left_is_ended_before_the_node_is_standby() {
    let node = Node::new(APP_AND_CTI);
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.activate(Epoch(1)).await;
    let (cti, far) = (pid(&report, "cti"), written(&node.path("far")));
    // Agent and guard die at once: nobody is left to end what the service has started.
    let guard = parent(cti);
    stop(guard);
    agent.kill();
    send(guard, Signal::KILL);
    wait_until("the service's end", || !lives(cti));
    assert!(lives(far));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.report("standby", |report| report.role == Role::Standby).await;
    assert!(!lives(far));
}

#[tokio::test]
async fn a_service_that_ends_is_reported_and_restarted_on_order_only() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.restart(1, "cti");
    let (id, outcome, why) = edge.restarted().await;
    assert_eq!((id, outcome), (1, Outcome::Refused), "{why}");
    edge.restart(2, "no-such");
    assert_eq!(edge.restarted().await.1, Outcome::Refused);

    let report = edge.activate(Epoch(1)).await;
    let cti = pid(&report, "cti");
    send(cti, Signal::KILL);
    let report = edge.report("not serving", |report| !report.serving).await;
    assert_eq!(report.role, Role::Active);
    let report = edge.report("nothing left", |report| !report.services[1].state.eq(&ServiceState::Running)).await;
    assert_eq!(report.services[1].state, ServiceState::Exited);
    edge.restart(3, "cti");
    let (id, outcome, why) = edge.restarted().await;
    assert_eq!((id, outcome), (3, Outcome::Done), "{why}");
    let report = edge.report("serving again", |report| report.serving).await;
    assert_ne!(pid(&report, "cti"), cti);
    assert_eq!(report.services[1].restarts, 1);
}

#[tokio::test]
async fn a_service_that_is_not_exclusive_is_kept_up() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.report("fit", |report| report.fit).await;
    let framework = pid(&report, "framework");
    send(framework, Signal::KILL);
    edge.report("unfit", |report| !report.fit).await;
    let report = edge.report("fit again", |report| report.fit).await;
    assert_ne!(pid(&report, "framework"), framework);
    assert_eq!(report.services[0].restarts, 1);
}

#[tokio::test]
async fn a_service_that_cannot_start_fails_the_activation_with_its_name() {
    let node = Node::new(
        r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sh", "-c", "exit 3"]
exclusive = true
ready = { tcp = "127.0.0.1:1" }
"#,
    );
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    edge.say(ToNode::Activate { epoch: Epoch(1), lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
    edge.renews = Some(Epoch(1));
    match edge.answer().await {
        Answer::Failed { epoch, why } => {
            assert!(epoch == Epoch(1) && why.contains("`cti`") && why.contains('3'), "{why}")
        }
        answer => panic!("{answer:?}"),
    }
    edge.report("failed", |report| report.role == Role::Failed && !report.running).await;
}

#[tokio::test]
async fn a_foreign_edge_is_refused_by_both_names() {
    let node = Node::new("");
    let _agent = node.start();
    let foreign = lockstep_wire::Hello { pair: "finesse".into(), side: Side::B, ..hello("edge-1") };
    let error = Edge::connect_as(&node.address, foreign).await.err().unwrap();
    assert!(matches!(error, LinkError::Refused { .. }), "{error}");
    for word in ["`finesse`", "side b", "`telisca`", "side a"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_newer_connection_replaces_the_same_edge_and_keeps_another_out() {
    let node = Node::new("");
    let _agent = node.start();
    let mut old = Edge::connect(&node.address).await;
    let error = Edge::connect_as(&node.address, hello("edge-2")).await.err().unwrap();
    for word in ["`edge-1`", "`edge-2`"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut new = Edge::connect(&node.address).await;
    let error = loop {
        match old.hear().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LinkError::Replaced { .. }), "{error}");
    new.report("standby", |report| report.role == Role::Standby).await;
    drop((old, new));
    // Another edge is welcome once the one that was there has gone.
    let until = std::time::Instant::now() + world::PATIENCE;
    while Edge::connect_as(&node.address, hello("edge-2")).await.is_err() {
        assert!(std::time::Instant::now() < until);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_end_stands_down_first() {
    let node = Node::new(APP_AND_CTI);
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.activate(Epoch(4)).await;
    let services = [pid(&report, "cti"), pid(&report, "framework")];
    send(agent.pid(), Signal::TERM);
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(4) });
    assert!(!lives(services[0]));
    assert!(agent.ended().success());
    assert!(!lives(services[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_in_a_write_keeps_one_of_the_two_states() {
    for (point, epochs) in [("before-store", [Epoch(0)]), ("after-store", [Epoch(5)])] {
        let node = Node::new(APP_AND_CTI);
        let mut agent = node.start_with(&[("LOCKSTEP_CRASH_AT", point)]);
        let mut edge = Edge::connect(&node.address).await;
        edge.report("standby", |report| report.role == Role::Standby).await;
        edge.say(ToNode::StandDown { epoch: Epoch(5), urgency: Urgency::Planned });
        assert!(!agent.ended().success());
        let _agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        let report = edge.report("standby", |report| report.role == Role::Standby).await;
        assert!(epochs.contains(&report.epoch), "{point}: {:?}", report.epoch);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_in_any_step_of_an_activation_comes_back_fenced() {
    for point in ["start", "started", "stop:2", "stopped:2"] {
        let node = Node::new(APP_AND_CTI);
        let mut agent = node.start_with(&[("LOCKSTEP_CRASH_AT", point)]);
        let mut edge = Edge::connect(&node.address).await;
        let report = edge.report("standby", |report| report.role == Role::Standby && report.fit).await;
        edge.say(ToNode::Activate { epoch: Epoch(1), lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
        // Without a renewal it stands down by itself, and dies on the way at the latest.
        assert!(!agent.ended().success(), "{point}");
        let _agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        let report = edge.report("standby", |report| report.role == Role::Standby && report.fit).await;
        assert_eq!((report.epoch, report.running), (Epoch(1), false), "{point}");
        if let Ok(cti) = fs::read_to_string(node.path("cti")) {
            assert!(!lives(cti.trim().parse().unwrap()), "{point}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_cut_and_hurts_no_edge() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    let mut cut = Vec::new();
    let megabyte = vec![b'x'; 1 << 20];
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\0\xff\0\xff", &megabyte, b""] {
        let mut stream = TcpStream::connect(&node.address).unwrap();
        stream.set_read_timeout(Some(world::PATIENCE)).unwrap();
        // It may be cut before all is written.
        let _ = stream.write_all(bytes);
        cut.push(std::thread::spawn(move || {
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }));
    }
    let until = clock::now() + Duration::from_secs(6);
    edge.report("later", |report| report.stamp.at > until && report.serving).await;
    for thread in cut {
        assert!(thread.join().unwrap(), "a connection that says nothing sensible is not cut");
    }
}

#[test]
fn a_corrupt_state_is_refused_by_name() {
    let node = Node::new("");
    fs::create_dir(node.state()).unwrap();
    fs::write(node.state().join("node.json"), "{\"pair\"").unwrap();
    let error = node.start_refused();
    assert!(error.contains("node.json") && error.contains("cannot be understood"), "{error}");
}

#[test]
fn a_second_agent_on_one_state_directory_is_refused() {
    let node = Node::new("");
    let _agent = node.start();
    assert!(node.start_refused().contains("another running agent"));
}

#[tokio::test]
async fn a_stamp_from_the_future_is_refused() {
    let node = Node::new(APP_AND_CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    let stamps = [
        Stamp { at: report.stamp.at + TERMS.ttl * 1_000, ..report.stamp },
        Stamp { session: Session(1), ..report.stamp },
        Stamp { at: At::ZERO, ..report.stamp },
    ];
    for stamp in stamps {
        edge.say(ToNode::Activate { epoch: Epoch(1), lease: Lease { stamp, ttl: TERMS.ttl } });
        assert!(matches!(edge.answer().await, Answer::Refused { .. }));
    }
}

fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
