//! Servers that are told whose requests they get, by a PROXY header.

use super::rig::{Client, Rig, eventually};
use lockstep_edge::config::{ProxyVersion, UpstreamConfig};
use lockstep_edge::proxy::{ListenSettings, Listener, Upstream};
use lockstep_policy::Side;
use std::net::SocketAddr;
use std::sync::Arc;

async fn rig() -> Rig {
    let rig = Rig::new().await;
    let upstream = UpstreamConfig { proxy_protocol: Some(ProxyVersion::V1), ..UpstreamConfig::default() };
    rig.pair.set_upstream(Upstream::open(&upstream).unwrap());
    rig.serve(Side::A, 1);
    rig
}

fn line(client: SocketAddr, asked: SocketAddr) -> String {
    format!("PROXY TCP4 {} {} {} {}\r\nGET ", client.ip(), asked.ip(), client.port(), asked.port())
}

#[tokio::test]
async fn a_connection_to_a_server_belongs_to_one_client() {
    let rig = rig().await;
    let mut clients = [Client::connect_from(1, rig.at).await, Client::connect_from(2, rig.at).await];
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.get("/").await.unwrap().status, 200);
            let seen = rig.a.seen().pop().unwrap();
            assert_eq!(seen.connection, number as u64 + 1, "round {round}: its own connection, and the same again");
            let told = line(client.socket.local_addr().unwrap(), rig.at);
            assert_eq!(seen.head.starts_with(&told), round == 0, "{}", seen.head);
            assert_eq!(seen.head.contains("PROXY"), round == 0, "{}", seen.head);
        }
    }
    // Who comes when another has left does not find its connection, also from the same address and port.
    let [one, _other] = clients;
    let from = one.socket.local_addr().unwrap();
    rustix::net::sockopt::set_socket_linger(&one.socket, Some(std::time::Duration::ZERO)).unwrap();
    drop(one);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(from).unwrap();
    let mut again = Client::over(socket.connect(rig.at).await.unwrap());
    assert_eq!(again.get("/").await.unwrap().status, 200);
    let seen = rig.a.seen().pop().unwrap();
    assert!(seen.connection == 3 && seen.head.starts_with(&line(from, rig.at)), "{seen:?}");
}

#[tokio::test]
async fn whom_a_balancer_names_is_whom_servers_of_requests_are_told_of() {
    let rig = rig().await;
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let listener = listener.behind(&["127.0.0.0/8".parse().unwrap()]);
    let at = listener.address();
    tokio::spawn(listener.serve(Arc::clone(&rig.pair), rig.closing.subscribe()));
    let mut client = Client::connect(at).await;
    client.send("PROXY TCP4 10.0.0.7 10.0.0.100 50000 80\r\n").await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
    let head = rig.a.seen().pop().unwrap().head;
    assert!(head.starts_with("PROXY TCP4 10.0.0.7 10.0.0.100 50000 80\r\nGET "), "{head}");
}

#[tokio::test]
async fn i2_a_cut_ends_these_connections_as_any() {
    let rig = rig().await;
    let mut client = Client::connect(rig.at).await;
    assert_eq!(client.get("/").await.unwrap().body, "a");
    rig.serve(Side::B, 2);
    eventually("no connection is left at the old side", || rig.a.open() == 0).await;
    assert_eq!(client.get("/").await.unwrap().body, "b");
    assert!(rig.b.seen()[0].head.starts_with("PROXY "), "the new side is told, too");
}
