//! Planned switches and failovers, seen by clients (I2, I6).

use super::rig::{Client, PATIENCE, Rig, Server, eventually, get};
use lockstep_edge::proxy::{ListenSettings, ProxyEvent, ProxySettings, TrafficCounts, Trouble};
use lockstep_policy::{Epoch, Side, Sides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const CLIENTS: usize = 16;

/// Clients that send one request after the other, each on one connection.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    fn start(rig: &Rig) -> Load {
        let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| tokio::spawn(client(rig.at, Arc::clone(&stop), Arc::clone(&good)));
        let clients = (0..CLIENTS).map(client).collect();
        Load { stop, good, clients }
    }

    async fn runs(&self) {
        let from = self.good.load(SeqCst);
        eventually("clients are served", || self.good.load(SeqCst) > from + 10 * CLIENTS).await;
    }

    /// Returns how many requests failed.
    async fn stop(self) -> usize {
        self.stop.store(true, SeqCst);
        let mut failed = 0;
        for client in self.clients {
            failed += client.await.unwrap();
        }
        failed
    }
}

async fn client(at: SocketAddr, stop: Arc<AtomicBool>, good: Arc<AtomicUsize>) -> usize {
    let mut failed = 0;
    let mut connection = Client::connect(at).await;
    while !stop.load(SeqCst) {
        match connection.get("/").await {
            Some(reply) if reply.status == 200 => {
                good.fetch_add(1, SeqCst);
            }
            _ => {
                failed += 1;
                connection = Client::connect(at).await;
            }
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i6_a_planned_switch_loses_nothing_and_reaches_the_old_side_never_again() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let load = Load::start(&rig);
    let mut from = Side::A;
    for epoch in 2..12 {
        load.runs().await;
        rig.hold(epoch);
        rig.pair.drained(from).await;
        let old = if from == Side::A { &rig.a } else { &rig.b };
        let before = old.count();
        rig.pair.cut(from, Epoch(epoch));
        rig.serve(from.other(), epoch);
        load.runs().await;
        assert_eq!(old.count(), before, "requests reached the old side after it was drained");
        eventually("the old side has no connection left", || old.open() == 0).await;
        from = from.other();
    }
    assert_eq!(load.stop().await, 0);
    assert_eq!(rig.pair.totals().refused, 0);
    assert!(rig.pair.hold_stats(Epoch(5)).released > 0);
    assert_eq!(rig.pair.hold_stats(Epoch(5)).held, rig.pair.hold_stats(Epoch(5)).released);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_killed_server_costs_no_get() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let load = Load::start(&rig);
    load.runs().await;
    rig.a.kill().await;
    let trouble = |event: &ProxyEvent| matches!(event, ProxyEvent::Trouble { side: Side::A, .. });
    eventually("the trouble is told", || rig.events.lock().unwrap().iter().any(trouble)).await;
    eventually("all clients wait", || rig.pair.totals().held_now == CLIENTS as u64).await;
    rig.hold(2);
    rig.pair.cut(Side::A, Epoch(2));
    rig.serve(Side::B, 2);
    load.runs().await;
    assert_eq!(load.stop().await, 0);
    assert_eq!(rig.pair.hold_stats(Epoch(2)).released, CLIENTS as u64, "waits count in the handover that ended them");
    assert_eq!(rig.pair.hold_stats(Epoch(1)).held, 0);
}

#[tokio::test]
async fn i6_a_cut_wakes_a_hung_get_and_the_new_side_answers_it() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let hung = rig.spawn_get("/hang");
    eventually("the request hangs at a", || rig.a.count() == 1).await;
    assert_eq!(rig.pair.in_flight(Side::A), 1);
    rig.hold(2);
    assert_eq!(rig.pair.cut(Side::A, Epoch(2)), 1);
    rig.pair.drained(Side::A).await;
    eventually("the request waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::B, 2);
    eventually("the request hangs at b", || rig.b.count() == 1).await;
    rig.b.let_go();
    assert_eq!(hung.await.unwrap().unwrap().body, "b");
    let traffic = rig.pair.take_traffic();
    assert_eq!((traffic.a.resets, traffic.b.good), (0, 1), "a cut of ours is no trouble of the side's");
}

/// A server that was out of reach must not be given a withdrawn request when it is back: an orderly end would have the
/// kernel send it again and again until then.
#[tokio::test]
async fn i6_a_cut_withdraws_a_request_with_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = Sides { a: vec![listener.local_addr().unwrap().to_string()], b: vec![b.address.to_string()] };
    let rig = Rig::of(a, b, servers, ProxySettings::default(), ListenSettings::default());
    rig.serve(Side::A, 1);
    let request = rig.spawn_get("/");
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'G', "the request has come");
    rig.hold(2);
    rig.pair.cut(Side::A, Epoch(2));
    let end = tokio::time::timeout(PATIENCE, server.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    rig.serve(Side::B, 2);
    assert_eq!(request.await.unwrap().unwrap().body, "b");
}

/// An address that answers no connect: its queue is full, as that of a hung server or an unplugged one.
async fn deaf() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    (address, queued, listener)
}

#[tokio::test]
async fn i6_a_cut_ends_a_connect_that_gets_no_answer() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let (deaf, _queued, _listener) = deaf().await;
    let servers = Sides { a: vec![deaf.to_string()], b: vec![b.address.to_string()] };
    let settings = ProxySettings { connect_timeout: PATIENCE * 10, ..ProxySettings::default() };
    let rig = Rig::of(a, b, servers, settings, ListenSettings::default());
    rig.serve(Side::A, 1);
    let request = rig.spawn_get("/");
    eventually("the request is under way", || rig.pair.in_flight(Side::A) == 1).await;
    rig.hold(2);
    rig.pair.cut(Side::A, Epoch(2));
    tokio::time::timeout(PATIENCE, rig.pair.drained(Side::A)).await.expect("the connect is given up");
    rig.serve(Side::B, 2);
    assert_eq!(request.await.unwrap().unwrap().body, "b");
    assert_eq!(rig.pair.take_traffic().a, TrafficCounts::default(), "a cut of ours is no trouble of the side's");
}

#[tokio::test]
async fn a_connect_that_gets_no_answer_is_a_timeout_of_the_side() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let (deaf, _queued, _listener) = deaf().await;
    let servers = Sides { a: vec![deaf.to_string()], b: vec![b.address.to_string()] };
    let settings = ProxySettings { connect_timeout: Duration::from_millis(20), ..ProxySettings::default() };
    let rig = Rig::of(a, b, servers, settings, ListenSettings::default());
    rig.serve(Side::A, 1);
    let request = rig.spawn_send("POST", "/", "order".into());
    let timeout = |event: &ProxyEvent| matches!(event, ProxyEvent::Trouble { kind: Trouble::Timeout, .. });
    eventually("the timeout is told", || rig.events.lock().unwrap().iter().any(timeout)).await;
    rig.serve(Side::B, 2);
    assert_eq!(request.await.unwrap().unwrap().body, "b", "no byte had left: a POST may go elsewhere");
}

#[tokio::test]
async fn i2_a_connection_of_an_old_epoch_is_closed_and_never_used_again() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    client.get("/").await.unwrap();
    client.get("/").await.unwrap();
    assert_eq!(rig.a.connections(), 1, "within an epoch the connection is used again");
    eventually("it is idle", || rig.pair.in_flight(Side::A) == 0).await;
    rig.hold(2);
    eventually("the idle connection is closed", || rig.a.open() == 0).await;
    rig.serve(Side::A, 2);
    client.get("/").await.unwrap();
    let connections: Vec<u64> = rig.a.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
    assert_eq!(rig.pair.totals().links, 1);
}

#[tokio::test]
async fn i2_a_connection_that_becomes_idle_after_its_epoch_is_closed() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let request = rig.spawn_get("/hang");
    eventually("the request is at a", || rig.a.count() == 1).await;
    rig.hold(2);
    rig.a.let_go();
    assert_eq!(request.await.unwrap().unwrap().body, "a", "what was in flight is finished");
    rig.pair.drained(Side::A).await;
    eventually("its connection is closed", || rig.a.open() == 0 && rig.pair.totals().links == 0).await;
}

#[tokio::test]
async fn an_upgraded_connection_is_not_waited_for_but_cut() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    client
        .send(format!(
            "GET /upgrade HTTP/1.1\r\nHost: pair\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.unwrap().status, 101);
    client.send("HTTP/1.1 200 echo\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 200, "the tunnel carries bytes both ways");
    rig.hold(2);
    rig.pair.drained(Side::A).await;
    assert_eq!(rig.pair.cut(Side::A, Epoch(2)), 1);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn first_requests_of_an_epoch_are_told_once() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    for path in ["/status/500", "/", "/"] {
        get(rig.at, path).await.unwrap();
    }
    rig.serve(Side::B, 2);
    get(rig.at, "/").await.unwrap();
    let events = rig.events.lock().unwrap().clone();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ProxyEvent::FirstSent { epoch, .. } => Some(("sent", epoch.0)),
            ProxyEvent::FirstAnswer { epoch, .. } => Some(("answer", epoch.0)),
            ProxyEvent::Counted { .. } | ProxyEvent::Trouble { .. } => None,
        })
        .collect();
    assert_eq!(told, [("sent", 1), ("answer", 1), ("sent", 2), ("answer", 2)]);
    let traffic = rig.pair.take_traffic();
    assert_eq!((traffic.a.good, traffic.a.server_errors, traffic.b.good), (2, 1, 1));
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let dead = Server::start("dead").await;
    dead.kill().await;
    let servers = Sides { a: vec![dead.address.to_string(), a.address.to_string()], b: vec![b.address.to_string()] };
    let rig = Rig::of(a, b, servers, ProxySettings::default(), ListenSettings::default());
    rig.serve(Side::A, 1);
    for _ in 0..4 {
        assert_eq!(get(rig.at, "/").await.unwrap().body, "a");
    }
    let refused = |event: &ProxyEvent| matches!(event, ProxyEvent::Trouble { kind: Trouble::Refused, .. });
    assert!(rig.events.lock().unwrap().iter().any(refused));
    assert!(rig.pair.take_traffic().a.refused > 0);
}

#[tokio::test]
async fn a_servers_name_is_looked_up() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = Sides { a: vec![format!("localhost:{}", a.address.port())], b: vec![b.address.to_string()] };
    let rig = Rig::of(a, b, servers, ProxySettings::default(), ListenSettings::default());
    rig.serve(Side::A, 1);
    assert_eq!(get(rig.at, "/").await.unwrap().body, "a");
}
