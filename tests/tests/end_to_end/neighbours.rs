//! Edges and agents of neighbouring versions work together: to each other they look as old as the version in between.

use crate::bed::Bed;
use crate::configuration::{self, AGENT_PORT, PAIR, agent_of, edge_1, trust};
use crate::network::address;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::older;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;

const APP: [&str; 2] = ["simulate", "app"];

/// Where an edge finds a side's agent through the version in between.
fn relay(side: Side) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], if side == A { 7501 } else { 7502 }))
}

/// A bed with a version in between, over connections without TLS: an old version has none.
fn configured(dir: &Path) -> Bed {
    let mut edge = configuration::edge(dir, "first_server_auto_restart_as_active = false");
    edge = edge.replace(&trust(dir, &edge_1()), "tls = { insecure = true }");
    let bed = Bed::bare(dir, PAIR, "telisca");
    for side in Side::BOTH {
        let agent = format!("{}:{AGENT_PORT}", address(side));
        assert!(edge.contains(&agent), "{edge}");
        edge = edge.replace(&agent, &relay(side).to_string());
        let text = configuration::agent(dir, side, PAIR);
        let text = text.replace(&trust(dir, &agent_of(PAIR, side)), "tls = { insecure = true }");
        assert!(text.contains("insecure"), "{text}");
        bed.configure_agent(side, &text);
    }
    bed.configure_edge(&edge);
    bed
}

/// A planned switch, a failover by what an agent reports, and one by its silence.
fn tell(dir: &Path, stand: impl AsyncFn(SocketAddr, SocketAddr) -> std::io::Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut bed = configured(dir);
    runtime.block_on(async {
        for side in Side::BOTH {
            stand(relay(side), SocketAddr::new(address(side), AGENT_PORT)).await.unwrap();
        }
    });
    bed.start();
    let client = bed.client(200);
    client.let_flow(50);
    bed.switch(B);
    client.let_flow(50);
    bed.wait_well(B);
    let planned = client.end();
    planned.nothing_lost();

    let client = bed.client(200);
    client.let_flow(50);
    bed.signal(B, &APP, Signal::SIGKILL);
    bed.wait_served(A);
    client.let_flow(50);
    bed.wait_well(A);
    bed.kill_agent(A);
    bed.wait_served(B);
    client.let_flow(50);
    bed.start_agent(A);
    bed.wait_well(B);
    client.finish(&bed);
}

#[test]
fn a_pair_with_peers_of_the_first_version_is_switched_and_fails_over() {
    in_a_world_of_its_own(|dir| tell(dir, older::minor_0::stand));
}

#[test]
fn a_pair_with_peers_of_the_second_version_is_switched_and_fails_over() {
    in_a_world_of_its_own(|dir| tell(dir, older::minor_1::stand));
}
