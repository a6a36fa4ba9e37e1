//! Waiting: bounded in number and time, and answered in every case (I6).

use super::rig::{Client, PATIENCE, Reply, Rig, Server, WAYS, eventually, field, get};
use lockstep_edge::proxy::{ListenSettings, ProxySettings};
use lockstep_policy::{At, Epoch, Side};
use std::time::{Duration, Instant};

#[tokio::test]
async fn i6_a_held_request_is_answered_503_at_its_deadline() {
    let rig = Rig::holding(10, Duration::from_millis(200)).await;
    rig.hold(1);
    let begun = Instant::now();
    let reply = get(rig.at, "/").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(reply.status, 503);
    assert_eq!(field(&reply.head, "retry-after").unwrap(), "5");
    assert_eq!(reply.body, "no side of the pair became ready in time\n");
    let stats = rig.pair.hold_stats(Epoch(1));
    assert_eq!((stats.held, stats.released, stats.refused), (1, 0, 1));
    assert_eq!(rig.a.count() + rig.b.count(), 0);
}

#[tokio::test]
async fn i6_one_request_more_than_may_wait_is_answered_503_at_once() {
    let rig = Rig::holding(2, PATIENCE * 10).await;
    rig.hold(1);
    let held = [rig.spawn_get("/"), rig.spawn_get("/")];
    eventually("two wait", || rig.pair.totals().held_now == 2).await;
    let reply = get(rig.at, "/").await.unwrap();
    assert_eq!((reply.status, field(&reply.head, "retry-after").as_deref()), (503, Some("5")));
    rig.serve(Side::B, 1);
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().body, "b");
    }
    let totals = rig.pair.totals();
    assert_eq!((totals.held, totals.released, totals.refused, totals.held_now), (2, 2, 1, 0));
}

#[tokio::test]
async fn a_refusing_route_answers_503_to_all_who_come_and_all_who_wait() {
    let rig = Rig::new().await;
    rig.hold(1);
    let held = rig.spawn_get("/");
    eventually("one waits", || rig.pair.totals().held_now == 1).await;
    rig.refuse(1);
    for reply in [held.await.unwrap(), get(rig.at, "/").await] {
        assert_eq!(reply.unwrap().status, 503);
    }
    assert_eq!(rig.pair.totals().refused, 2);
}

#[tokio::test]
async fn i2_nothing_is_served_before_the_pair_has_said_until_when() {
    let rig = Rig::new().await;
    rig.pair.serve_until(At::ZERO);
    rig.serve(Side::A, 1);
    let held = rig.spawn_get("/");
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.pair.serve_until(At(u64::MAX));
    assert_eq!(held.await.unwrap().unwrap().body, "a");
}

#[tokio::test]
async fn i2_after_serve_until_requests_wait_until_it_is_extended() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    assert_eq!(client.get("/").await.unwrap().body, "a");
    rig.pair.serve_until(lockstep_wire::clock::now() + Duration::from_millis(30));
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send("GET / HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    assert_eq!(rig.a.count(), 1);
    rig.pair.serve_until(At(u64::MAX));
    assert_eq!(client.reply().await.unwrap().body, "a");
}

#[tokio::test]
async fn i6_a_server_that_refuses_connects_is_waited_for() {
    let rig = Rig::new().await;
    rig.a.kill().await;
    rig.serve(Side::A, 1);
    let held: Vec<_> = (0..20).map(|n| rig.spawn_send_by(WAYS[n % 2], "POST", "/", "order".into())).collect();
    eventually("all wait", || rig.pair.totals().held_now == 20).await;
    // Who waits is not at the side: a drain does not wait for them.
    eventually("nothing is in flight", || rig.pair.in_flight(Side::A) == 0).await;
    let again = Server::start_at("again", rig.a.address).await;
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().body, "again");
    }
    assert_eq!(again.count(), 20, "each was sent once");
    assert!(again.seen().iter().all(|seen| seen.body == b"order"));
}

#[tokio::test]
async fn a_client_that_leaves_makes_room() {
    let rig = Rig::holding(1, PATIENCE * 10).await;
    rig.hold(1);
    let mut client = Client::connect(rig.at).await;
    client.send("GET / HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    drop(client);
    eventually("its place is free", || rig.pair.totals().held_now == 0).await;
    assert_eq!(rig.pair.hold_stats(Epoch(1)).abandoned, 1);
    let held = rig.spawn_get("/");
    eventually("the next one waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::A, 1);
    assert_eq!(held.await.unwrap().unwrap().body, "a");
    assert_eq!(rig.a.count(), 1, "who left is not served");
}

#[tokio::test]
async fn a_route_back_to_the_old_side_releases_too() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    rig.hold(2);
    let held = rig.spawn_get("/");
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::A, 2);
    assert_eq!(held.await.unwrap().unwrap().body, "a");
}

/// One that gives requests that have waited to a server one by one.
async fn one_by_one(max_wait: Duration) -> Rig {
    let mut settings = ProxySettings::default();
    settings.hold.max_wait = max_wait;
    settings.hold.release_at_once = 1;
    Rig::with(settings, ListenSettings::default()).await
}

async fn held(rig: &Rig, number: u64, path: &'static str) -> Vec<tokio::task::JoinHandle<Option<Reply>>> {
    rig.hold(1);
    let held = (0..number).map(|_| rig.spawn_get(path)).collect();
    eventually("all wait", || rig.pair.totals().held_now == number).await;
    held
}

#[tokio::test]
async fn who_waited_goes_on_when_those_before_are_answered_and_soon_if_they_are_not() {
    let rig = one_by_one(PATIENCE * 10).await;
    let hanging = held(&rig, 11, "/hang").await;
    let begun = Instant::now();
    rig.serve(Side::A, 1);
    eventually("all have come to the server", || rig.a.count() == 11).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "ten that wait 50 ms each for the one before");
    rig.a.let_go();
    for answered in hanging {
        assert_eq!(answered.await.unwrap().unwrap().body, "a");
    }
    let quick = held(&rig, 200, "/").await;
    let begun = Instant::now();
    rig.serve(Side::B, 2);
    for answered in quick {
        assert_eq!(answered.await.unwrap().unwrap().body, "b");
    }
    // Quick answers take a hundredth of that.
    assert!(begun.elapsed() < Duration::from_secs(8), "200 that wait 50 ms each would take ten seconds");
}

#[tokio::test]
async fn i6_whose_time_is_over_before_his_turn_goes_to_the_server_all_the_same() {
    let rig = one_by_one(Duration::from_secs(3)).await;
    let held = held(&rig, 80, "/hang").await;
    rig.serve(Side::A, 1);
    eventually("all have come to the server", || rig.a.count() == 80).await;
    rig.a.let_go();
    for answered in held {
        assert_eq!(answered.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn who_waits_for_his_turn_follows_the_route() {
    let rig = one_by_one(PATIENCE * 10).await;
    let held = held(&rig, 100, "/hang").await;
    rig.serve(Side::A, 1);
    eventually("one has come to the server", || rig.a.count() > 0).await;
    rig.hold(2);
    rig.serve(Side::B, 2);
    eventually("the others come to the other server", || rig.a.count() + rig.b.count() >= 100).await;
    assert!(rig.a.count() < 100);
    rig.refuse(3);
    rig.a.let_go();
    rig.b.let_go();
    for answered in held {
        assert!(answered.await.unwrap().is_some());
    }
}
