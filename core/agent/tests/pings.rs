//! Pings that name a process: what an agent says of services that are well, hung, dead and started anew.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_policy::Epoch;
use lockstep_policy::event::{Outcome, Role};
use lockstep_wire::{Finding, Ping, clock};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use world::agent::Node;
use world::edge::{Edge, auxiliary, pid, ping};
use world::process::{send, stop};
use world::{PATIENCE, wait_until};

const CTI: &str = r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
"#;

fn not_well(finding: Option<Finding>) -> String {
    match finding {
        Some(Finding::NotWell { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_agent_answers_for_itself_and_for_no_service_that_it_does_not_have() {
    let node = Node::new(CTI);
    let agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let mut aux = auxiliary(&node.address).await;
    assert_eq!(edge.welcome.minor, lockstep_wire::MINOR);
    let itself = Some(Finding::Well { pid: agent.pid() });
    assert_eq!(edge.ping(1, "").await, itself);
    assert_eq!(ping(&mut aux, 1, "").await, itself);
    assert_eq!(edge.ping(2, "ctu").await, Some(Finding::UnknownService));
    assert_eq!(ping(&mut aux, 2, "ctu").await, Some(Finding::UnknownService));
    edge.report("standby", |report| report.role == Role::Standby).await;
    assert_eq!(not_well(edge.ping(3, "cti").await), "it is stopped");
}

#[tokio::test]
async fn c2_a_hung_process_is_not_well_and_a_hung_agent_is_silent() {
    let node = Node::new(CTI);
    let agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let mut aux = auxiliary(&node.address).await;
    let cti = pid(&edge.activate(Epoch(1)).await, "cti");
    assert_eq!(edge.ping(1, "cti").await, Some(Finding::Well { pid: cti }));
    assert_eq!(ping(&mut aux, 1, "cti").await, Some(Finding::Well { pid: cti }));
    stop(cti);
    assert!(not_well(edge.ping(2, "cti").await).contains("is stopped"));
    assert!(not_well(ping(&mut aux, 2, "cti").await).contains("is stopped"));
    send(cti, Signal::CONT);
    // Until the kernel has let it run again.
    while edge.ping(3, "cti").await != (Some(Finding::Well { pid: cti })) {}

    stop(agent.pid());
    aux.pings.send(Ping { number: 4, service: String::new() }).unwrap();
    assert!(timeout(Duration::from_millis(300), aux.pongs.next()).await.is_err(), "nobody runs who could answer");
    send(agent.pid(), Signal::CONT);
    assert_eq!(timeout(PATIENCE, aux.pongs.next()).await.unwrap().unwrap().number, 4);
}

#[tokio::test]
async fn c3_the_process_changes_with_a_restart() {
    let node = Node::new(CTI);
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let before = pid(&edge.activate(Epoch(1)).await, "cti");
    send(before, Signal::KILL);
    let why = loop {
        if let Some(Finding::NotWell { why, .. }) = edge.ping(1, "cti").await {
            break why;
        }
    };
    assert!(why.contains("has ended"), "{why}");
    edge.report("not serving", |report| !report.serving).await;
    edge.restart(7, "cti");
    assert_eq!(edge.restarted().await.1, Outcome::Done);
    let Some(Finding::Well { pid: after }) = edge.ping(2, "cti").await else { panic!("it runs again") };
    assert_ne!(after, before);
}

/// The service's own check decides, not that its process is there; and however many ask at once, it is asked once.
#[tokio::test]
async fn a_liveness_check_is_run_when_asked_bounded_and_shared() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive =
        format!("alive = {{ http = \"http://{}/\", timeout = \"500ms\" }}\n", application.local_addr().unwrap());
    let node = Node::new(&format!("{CTI}{alive}"));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    let cti = pid(&edge.activate(Epoch(1)).await, "cti");

    // It accepts, and says nothing.
    let mut aux = auxiliary(&node.address).await;
    for number in 0..20 {
        aux.pings.send(Ping { number, service: "cti".into() }).unwrap();
    }
    let (mut asked, _) = timeout(PATIENCE, application.accept()).await.unwrap().unwrap();
    // What is slow holds up nothing else.
    assert!(matches!(edge.ping(99, "").await, Some(Finding::Well { .. })));
    for _ in 0..20 {
        let pong = timeout(PATIENCE, aux.pongs.next()).await.unwrap().unwrap();
        assert!(not_well(pong.finding).contains("takes longer than 500ms"));
    }
    let more = timeout(Duration::from_millis(50), application.accept()).await;
    assert!(more.is_err(), "each has asked the application by itself");
    let mut request = [0; 1024];
    assert!(asked.read(&mut request).await.unwrap() > 0);

    // It answers.
    let answering = tokio::spawn(async move {
        let (mut stream, _) = application.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    });
    assert_eq!(ping(&mut aux, 100, "cti").await, Some(Finding::Well { pid: cti }));
    answering.await.unwrap();
}

#[tokio::test]
async fn the_readiness_check_stands_in_for_one_of_liveness() {
    let node = Node::new(&format!("{CTI}ready = {{ exec = [\"test\", \"!\", \"-e\", \"DIR/hung\"] }}\n"));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    assert!(matches!(edge.ping(1, "cti").await, Some(Finding::Well { .. })));
    std::fs::write(node.path("hung"), "").unwrap();
    assert!(not_well(edge.ping(2, "cti").await).contains("fails"));
}

#[tokio::test]
async fn a_service_that_says_itself_that_it_is_well_must_go_on_saying_so() {
    let node = Node::new(&format!("{CTI}alive = {{ notify = true, timeout = \"400ms\" }}\n"));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    let service = UnixDatagram::unbound().unwrap();
    let socket = node.state().join("cti.notify");
    let until = clock::now() + Duration::from_secs(1);
    while clock::now() < until {
        service.send_to(b"STATUS=busy\nWATCHDOG=1", &socket).unwrap();
        assert!(matches!(edge.ping(1, "cti").await, Some(Finding::Well { .. })));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_until("silence", || clock::now() > until + Duration::from_millis(500));
    // Waiting has let the lease run out.
    let mut edge = {
        drop(edge);
        Edge::connect(&node.address).await
    };
    edge.activate(Epoch(2)).await;
    let silent_since = clock::now();
    while clock::now().since(silent_since) < Duration::from_millis(600) {
        edge.hear().await.unwrap();
    }
    assert!(not_well(edge.ping(3, "cti").await).contains("has not said WATCHDOG=1 for 400ms"));
}
