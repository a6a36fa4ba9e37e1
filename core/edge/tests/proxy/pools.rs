//! Pools of servers, each with listeners of its own, restricted and ordered by the policy.

use super::rig::{Client, Server, eventually, field, get, send};
use lockstep_edge::proxy::{ListenSettings, Listener, PairProxy, Pool, ProxySettings};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::{Pick, Roster};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::sync::watch;

/// Side A has one server without a pool and three in the pool `ucs`; side B has the same, of other names.
struct Pools {
    plain: Server,
    ucs: Vec<Server>,
    pair: Arc<PairProxy>,
    at: Sides<SocketAddr>,
    _closing: watch::Sender<bool>,
}

impl Pools {
    async fn new() -> Pools {
        let plain = Server::start("plain").await;
        let ucs = vec![Server::start("ucs 2").await, Server::start("ucs 3").await, Server::start("ucs 4").await];
        let other = Server::start("other side").await.address.to_string();
        let of = |a: Vec<String>| Sides { b: a.iter().map(|_| other.clone()).collect(), a };
        let pools = vec![
            Pool { name: String::new(), servers: of(vec![plain.address.to_string()]) },
            Pool { name: "ucs".to_owned(), servers: of(ucs.iter().map(|s| s.address.to_string()).collect()) },
        ];
        let pair = PairProxy::with_pools("pair", pools, None, ProxySettings::default(), |_| {});
        pair.serve_until(At(u64::MAX));
        pair.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });
        let (closing, closed) = watch::channel(false);
        let listen = |pool: &str| {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
            let address = listener.address();
            tokio::spawn(listener.serve_pool(Arc::clone(&pair), pair.pool(pool).unwrap(), closed.clone()));
            address
        };
        let at = Sides { a: listen(""), b: listen("ucs") };
        Pools { plain, ucs, at, pair, _closing: closing }
    }

    fn plain(&self) -> SocketAddr {
        self.at.a
    }

    fn ucs(&self) -> SocketAddr {
        self.at.b
    }

    fn roster(&self, pick: Pick, servers: &[u32]) {
        let roster = Roster { side: Side::A, pool: "ucs".to_owned(), pick, servers: servers.to_vec() };
        self.pair.set_roster(&roster).unwrap();
    }
}

#[tokio::test]
async fn a_listener_leads_to_its_pool() {
    let pools = Pools::new().await;
    for _ in 0..6 {
        assert_eq!(get(pools.plain(), "/").await.unwrap().body, "plain");
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(get(pools.ucs(), "/").await.unwrap().body);
    }
    assert_eq!(seen, ["ucs 2", "ucs 3", "ucs 4", "ucs 2", "ucs 3", "ucs 4"]);
    assert_eq!((pools.plain.count(), pools.pair.pool("none")), (6, None));
}

#[tokio::test]
async fn e1_a_server_that_cannot_be_connected_to_is_followed_by_the_next() {
    let pools = Pools::new().await;
    pools.roster(Pick::Order, &[3, 4]);
    assert_eq!(get(pools.ucs(), "/").await.unwrap().body, "ucs 3");
    pools.ucs[1].kill().await;
    // No byte has left: a POST may go to the next one as well.
    assert_eq!(send(pools.ucs(), "POST", "/", "order").await.unwrap().body, "ucs 4");
    assert_eq!(get(pools.ucs(), "/").await.unwrap().body, "ucs 4");
    assert_eq!(pools.ucs[0].count(), 0, "it is not in the roster");
    assert!(pools.pair.take_traffic().a.refused > 0, "what requests meet is told of the side");
}

#[tokio::test]
async fn an_empty_roster_is_refused_at_once_and_the_other_pools_go_on() {
    let pools = Pools::new().await;
    pools.roster(Pick::Turn, &[]);
    let refused = get(pools.ucs(), "/").await.unwrap();
    assert_eq!((refused.status, &*refused.body), (503, "no server may be used now\n"));
    assert_eq!(field(&refused.head, "retry-after").unwrap(), "5");
    assert_eq!(get(pools.plain(), "/").await.unwrap().status, 200);
    pools.roster(Pick::Turn, &[2]);
    assert_eq!(get(pools.ucs(), "/").await.unwrap().body, "ucs 2");
    let unknown = Roster { side: Side::A, pool: "none".to_owned(), pick: Pick::Turn, servers: vec![1] };
    assert_eq!(pools.pair.set_roster(&unknown).unwrap_err(), "the pair has no pool \"none\"");
    let foreign = Roster { side: Side::A, pool: "ucs".to_owned(), pick: Pick::Turn, servers: vec![1] };
    assert!(pools.pair.set_roster(&foreign).unwrap_err().contains("is not of that pool"));
}

#[tokio::test]
async fn e1_a_connection_stays_with_its_server_and_connections_are_spread() {
    let pools = Pools::new().await;
    pools.roster(Pick::Shuffle, &[2, 3, 4]);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..60 {
        let mut client = Client::connect(pools.ucs()).await;
        let first = client.get("/").await.unwrap().body;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.unwrap().body, first);
        }
        *seen.entry(first).or_default() += 1;
    }
    // Of 60 connections each of three servers has 20 as a rule; fewer than 3 is one case in a hundred million.
    assert!(seen.len() == 3 && seen.values().all(|count| *count >= 3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rosters_change_under_requests_without_losing_one() {
    let pools = Pools::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (at, stop) = (pools.ucs(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut client, mut served) = (Client::connect(at).await, 0);
                while !stop.load(SeqCst) {
                    let reply = client.get("/").await.expect("an answer");
                    assert_eq!(reply.status, 200, "{reply:?}");
                    served += 1;
                }
                served
            })
        })
        .collect();
    for change in 0..300_usize {
        let pick = [Pick::Turn, Pick::Order, Pick::Shuffle][change % 3];
        let before: usize = pools.ucs.iter().map(Server::count).sum();
        pools.roster(pick, [&[2, 3, 4][..], &[4], &[3, 2]][change / 3 % 3]);
        eventually("requests go on", || pools.ucs.iter().map(Server::count).sum::<usize>() > before).await;
    }
    stop.store(true, SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}
