//! What an agent finds out beside its services: how the copy is, what the release is, whether the LAN is there.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_pair::protocol::{Answer, Lease, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::event::{Lan, Replication, Role};
use std::fs;
use world::agent::Node;
use world::edge::{Edge, TERMS, pid};
use world::network::Network;
use world::process::lives;

#[tokio::test]
async fn the_copy_and_the_release_are_reported_as_they_are_found() {
    let node = Node::new(
        "[replication]\ncommand = [\"sh\", \"-c\", \"cat DIR/lag; exit $(cat DIR/status)\"]\ninterval = \"100ms\"\n",
    );
    fs::write(node.path("lag"), "0 s\n").unwrap();
    fs::write(node.path("status"), "0").unwrap();
    fs::write(node.path("release"), "7.3 (build 12)\n").unwrap();
    let release = format!("{{ file = \"{}\" }}", node.path("release").display());
    let _agent = node.start_as(&release);
    let mut edge = Edge::connect(&node.address).await;
    edge.report("the release", |report| report.release == "7.3 (build 12)").await;
    let report = edge.report("current", |report| report.replication == Replication::Current).await;
    assert_eq!(report.replication_detail, "0 s");
    fs::write(node.path("lag"), "12 s\n").unwrap();
    fs::write(node.path("status"), "1").unwrap();
    edge.report("behind", |report| report.replication == Replication::Behind && report.replication_detail == "12 s")
        .await;
    fs::write(node.path("status"), "2").unwrap();
    edge.report("stopped", |report| report.replication == Replication::Stopped).await;
    // Whoever connects later is welcomed with the release that was found.
    drop(edge);
    assert_eq!(Edge::connect(&node.address).await.welcome.release, "7.3 (build 12)");
}

const CTI: &str = r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
[lan]
interval = "100ms"
failures = 3
carrier = "eth0"
"#;

/// The edge is reached over loopback: renewals come all the time.
#[test]
fn t4_an_active_node_that_is_off_its_lan_stands_down_and_takes_nothing_until_it_is_back() {
    let Some(network) = Network::new() else { return };
    network.block_on(async |network| {
        let node = Node::new(&format!("{CTI}gateway = \"{}\"\n", Network::GATEWAY));
        let _agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.report("on the LAN", |report| report.lan == Lan::Connected).await;
        let mut epoch = Epoch(1);
        // The carrier goes; the carrier is there, and nobody answers.
        for (cut, mend) in
            [(Network::pull as fn(&Network), Network::plug as fn(&Network)), (Network::mute, Network::unmute)]
        {
            let cti = pid(&edge.activate(epoch).await, "cti");
            cut(network);
            let report = edge.report("isolated", |report| report.lan == Lan::Isolated).await;
            assert!(!report.serving, "requests are held from now on");
            edge.report("standby", |report| report.role == Role::Standby).await;
            assert!(!lives(cti));

            let report = edge.report("a stamp", |_| true).await;
            let next = Epoch(epoch.0 + 1);
            edge.renews = None;
            edge.say(ToNode::Activate { epoch: next, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } });
            match edge.answer().await {
                Answer::Refused { why, .. } => assert!(why.contains("isolated from its LAN"), "{why}"),
                answer => panic!("{answer:?}"),
            }
            mend(network);
            let report = edge.report("back", |report| report.lan == Lan::Connected).await;
            assert_eq!(report.role, Role::Standby, "nobody has told it to be active");
            epoch = Epoch(epoch.0 + 2);
        }
    });
}

#[test]
fn t4_a_node_that_only_reports_goes_on() {
    let Some(network) = Network::new() else { return };
    network.block_on(async |network| {
        let node = Node::new(&format!("{CTI}gateway = \"auto\"\nisolation = \"report\"\n"));
        let _agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.report("on the LAN", |report| report.lan == Lan::Connected).await;
        edge.activate(Epoch(1)).await;
        network.pull();
        let report = edge.report("isolated", |report| report.lan == Lan::Isolated).await;
        let until = report.stamp.at + TERMS.ttl * 3;
        let report = edge.report("later", |report| report.stamp.at > until).await;
        assert!(report.serving && report.role == Role::Active);
    });
}
