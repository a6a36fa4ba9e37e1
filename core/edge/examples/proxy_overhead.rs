//! What the proxy costs: the same load on a server directly and through the proxy, and how soon a held request goes on.
//!
//! `cargo run --release -p lockstep-edge --example proxy_overhead [SECONDS] [CLIENTS]`. Compare the two lines with each
//! other, not with those of another machine: clients, proxy and server share its processors.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on is none")]

use lockstep_edge::proxy::{ListenSettings, Listener, PairProxy, ProxyEvent, ProxySettings};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use lockstep_wire::clock;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: pair\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let time = Duration::from_secs(arguments.next().unwrap_or(5));
    let clients = arguments.next().unwrap_or(32);

    let (a, b) = (server().await, server().await);
    let sent = Arc::<Mutex<Vec<At>>>::default();
    let told = Arc::clone(&sent);
    let servers = Sides { a: vec![a.to_string()], b: vec![b.to_string()] };
    let pair = PairProxy::new("pair", servers, ProxySettings::default(), move |event| {
        if let ProxyEvent::FirstSent { at, .. } = event {
            told.lock().unwrap().push(at);
        }
    });
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let edge = listener.address();
    let (_open, closing) = watch::channel(false);
    tokio::spawn(listener.serve(Arc::clone(&pair), closing));
    pair.serve_until(At(u64::MAX));
    pair.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });

    for (name, address) in [("direct", a), ("proxied", edge), ("direct", a), ("proxied", edge)] {
        println!("{name:8} {}", load(address, time, clients).await);
    }
    switch(&pair, edge, clients, &sent).await;
}

/// Planned switches under load, one after the other.
async fn switch(pair: &PairProxy, edge: SocketAddr, clients: u64, sent: &Mutex<Vec<At>>) {
    let running = tokio::spawn(async move { load(edge, Duration::from_secs(4), clients).await });
    let mut routed = Vec::new();
    sent.lock().unwrap().clear();
    let mut side = Side::A;
    for epoch in 2..32 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Hold });
        pair.drained(side).await;
        side = side.other();
        tokio::time::sleep(Duration::from_millis(10)).await;
        routed.push(clock::now());
        pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Serve(side) });
    }
    println!("switched {} under 30 switches", running.await.unwrap());
    let mut skews: Vec<_> =
        sent.lock().unwrap().iter().zip(&routed).map(|(sent, routed)| sent.since(*routed)).collect();
    skews.sort();
    println!("route to first request sent: median {:?}, worst {:?}", skews[skews.len() / 2], skews[skews.len() - 1]);
    println!("{:?}", pair.totals());
}

/// Requests per second and latencies of clients that each send one request after the other on one connection.
async fn load(address: SocketAddr, time: Duration, clients: u64) -> String {
    let until = Instant::now() + time;
    let clients: Vec<_> = (0..clients).map(|_| tokio::spawn(client(address, until))).collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    took.sort();
    let at = |permille: usize| took[(took.len() - 1) * permille / 1000];
    let rate = took.len() as f64 / time.as_secs_f64();
    format!("{rate:8.0} requests/s, p50 {:?}, p99 {:?}, worst {:?}", at(500), at(990), at(1000))
}

async fn client(address: SocketAddr, until: Instant) -> Vec<Duration> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut took = Vec::new();
    let mut answer = [0; 1024];
    while Instant::now() < until {
        let begun = Instant::now();
        socket.write_all(REQUEST).await.unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"\r\n\r\nok") {
            let more = socket.read(&mut answer[read..]).await.unwrap();
            assert!(more > 0, "a request was lost");
            read += more;
        }
        took.push(begun.elapsed());
    }
    took
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut request, mut read) = ([0; 4096], 0);
                loop {
                    match socket.read(&mut request[read..]).await {
                        Ok(more @ 1..) => read += more,
                        _ => return,
                    }
                    if request[..read].ends_with(b"\r\n\r\n") {
                        read = 0;
                        if socket.write_all(ANSWER).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}
