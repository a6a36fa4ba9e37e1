//! A generation of a pair's proxy after another, on the same socket: what the one before still has obeys what the one after it is told.

use super::rig::{Client, PATIENCE, Rig, Server, eventually, get};
use lockstep_edge::proxy::{Generation, ListenSettings, Listener, PairProxy, ProxySettings, Word};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const FOREVER: At = At(u64::MAX);

/// Two generations: clients come to the second one, and the first one has those that came before.
struct Two {
    a: Server,
    b: Server,
    old: Arc<PairProxy>,
    new: Arc<PairProxy>,
    patient: watch::Sender<bool>,
    at: SocketAddr,
    old_serving: JoinHandle<()>,
    _closing: [watch::Sender<bool>; 2],
}

/// With clients of the first generation, who have been answered once.
async fn two(clients: usize) -> (Two, Vec<Client>) {
    let (two, came) = strangers(clients).await;
    two.new.replaces(&two.old);
    (two, came)
}

/// The same, but neither knows of the other.
async fn strangers(clients: usize) -> (Two, Vec<Client>) {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = || Sides { a: vec![a.address.to_string()], b: vec![b.address.to_string()] };
    let proxy = || PairProxy::new("pair", servers(), ProxySettings::default(), |_| {});
    let (old, new) = (proxy(), proxy());
    let first = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let (at, socket) = (first.address(), first.socket().unwrap());
    let (patient, patience) = watch::channel(false);
    let (closing, closed) = watch::channel(false);
    let old_serving = tokio::spawn(first.patient(patience).serve(Arc::clone(&old), closed));
    old.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });
    old.serve_until(FOREVER);
    let mut came = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(at).await;
        assert_eq!(client.get("/").await.unwrap().body, "a");
        came.push(client);
    }
    let second = Listener::over(socket, ListenSettings::default()).unwrap();
    let (second_closing, closed) = watch::channel(false);
    tokio::spawn(second.serve(Arc::clone(&new), closed));
    patient.send_replace(true);
    closing.send_replace(true);
    let _closing = [closing, second_closing];
    (Two { a, b, old, new, patient, at, old_serving, _closing }, came)
}

impl Two {
    fn route(&self, epoch: u64, kind: RouteKind) {
        self.new.set_route(Route { epoch: Epoch(epoch), kind });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_one_before_may_ask_once_more_and_are_told_to_leave() {
    let (two, mut clients) = two(3).await;
    two.new.serve_until(FOREVER);
    two.route(1, RouteKind::Serve(Side::A));
    for client in &mut clients {
        let reply = client.get("/").await.unwrap();
        assert_eq!(reply.body, "a");
        assert!(reply.head.to_ascii_lowercase().contains("connection: close"), "{}", reply.head);
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(get(two.at, "/").await.unwrap().body, "a", "and come again");
    timeout(PATIENCE, two.old_serving).await.expect("nobody is left").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_ends() {
    let (two, mut clients) = two(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!two.old_serving.is_finished(), "its client may still ask");
    two.patient.send_replace(false);
    assert!(clients[0].rest().await.is_empty());
    timeout(PATIENCE, two.old_serving).await.expect("nobody is left").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i6_the_one_before_follows_the_route_of_the_one_after() {
    let (two, mut clients) = two(2).await;
    let mut late = clients.pop().unwrap();
    let mut early = clients.pop().unwrap();
    two.new.serve_until(FOREVER);
    two.route(2, RouteKind::Hold);
    let before = two.a.count();
    let waiting = tokio::spawn(async move { early.get("/").await });
    eventually("it waits", || two.old.totals().held_now == 1).await;
    assert_eq!(two.a.count(), before, "nobody is given to the side that the route no longer names");
    two.route(2, RouteKind::Serve(Side::B));
    assert_eq!(waiting.await.unwrap().unwrap().body, "b");
    // Nothing is given away for longer than the one after was told.
    two.new.serve_until(At(1));
    let held = tokio::spawn(async move { late.get("/").await });
    eventually("it waits", || two.old.totals().held_now == 1).await;
    two.new.serve_until(FOREVER);
    assert_eq!(held.await.unwrap().unwrap().body, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_drain_waits_for_the_one_before_and_a_cut_reaches_it() {
    let (two, mut clients) = two(2).await;
    two.new.serve_until(FOREVER);
    two.route(1, RouteKind::Serve(Side::A));
    let (mut finishing, mut hung) = (clients.pop().unwrap(), clients.pop().unwrap());
    let before = two.a.count();
    finishing.send("GET /hang HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    eventually("it has arrived", || two.a.count() == before + 1).await;
    two.route(2, RouteKind::Hold);
    let drain = Arc::clone(&two.new);
    let drained = tokio::spawn(async move { drain.drained(Side::A).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!drained.is_finished(), "the one before has a request in flight");
    two.a.let_go();
    assert_eq!(finishing.reply().await.unwrap().body, "a");
    timeout(PATIENCE, drained).await.expect("nothing is in flight").unwrap();

    two.route(2, RouteKind::Serve(Side::A));
    hung.send("POST /hang HTTP/1.1\r\nHost: pair\r\nContent-Length: 1\r\n\r\nx").await;
    eventually("it has arrived", || two.a.count() == before + 2).await;
    two.new.cut(Side::A, Epoch(3));
    assert_eq!(hung.reply().await.unwrap().status, 502, "a cut ends what the one before has");
    eventually("none is left", || two.a.open() == 0).await;
    two.route(3, RouteKind::Serve(Side::B));
    assert_eq!(get(two.at, "/").await.unwrap().body, "b");
    assert_eq!(two.b.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_one_that_is_over_does_not_come_between_others() {
    let nowhere = || Sides { a: vec!["127.0.0.1:1".to_owned()], b: vec!["127.0.0.1:2".to_owned()] };
    let proxy = || PairProxy::new("pair", nowhere(), ProxySettings::default(), |_| {});
    let (first, second, third) = (proxy(), proxy(), proxy());
    second.replaces(&first);
    third.replaces(&second);
    let route = |epoch| Route { epoch: Epoch(epoch), kind: RouteKind::Serve(Side::B) };
    third.set_route(route(1));
    assert_eq!([first.route(), second.route()], [route(1); 2]);
    drop(second);
    third.set_route(route(2));
    assert_eq!(first.route(), route(2));
}

/// That the tests above can fail.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_nothing_goes_its_own_way() {
    let (two, mut clients) = strangers(1).await;
    two.new.serve_until(FOREVER);
    two.route(2, RouteKind::Serve(Side::B));
    assert_eq!(clients[0].get("/").await.unwrap().body, "a", "a side that the role has left");
    assert!(!two.new.has_formers());
}

/// One that is not in this process, as far as a proxy is concerned.
struct Elsewhere;

impl Generation for Elsewhere {
    fn tell(&self, _: &str, _: &Word) {}

    fn drained(&self, _: &str, _: Side) -> lockstep_edge::proxy::Drained {
        Box::pin(std::future::pending())
    }

    fn is_over(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_lasts_as_long_as_somebody_needs_it() {
    let (two, clients) = two(1).await;
    let Two { old, new, patient, old_serving, .. } = two;
    drop(old);
    assert!(new.has_formers());
    drop(clients);
    timeout(PATIENCE, old_serving).await.expect("nobody is left").unwrap();
    eventually("it is over", || !new.has_formers()).await;
    drop(patient);
    new.comes_after(Arc::new(Elsewhere));
    assert!(new.has_formers());
    let rig = Rig::new().await;
    assert!(!rig.pair.has_formers());
}
