//! Streams that come while no side may be given any (I6), and the one that must not come too late (I2).

use super::*;
use lockstep_edge::proxy::Trouble;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

async fn waiting(max_requests: usize, max_wait: Duration) -> Rig {
    let mut settings = ProxySettings::default();
    (settings.hold.max_requests, settings.hold.max_wait) = (max_requests, max_wait);
    Rig::with(StreamSettings::default(), settings, |listener| listener).await
}

#[tokio::test]
async fn i6_a_stream_that_comes_during_a_switch_waits_for_the_new_side() {
    let rig = waiting(10, PATIENCE * 10).await;
    rig.hold(2);
    let mut client = rig.connect().await;
    client.says("first words").await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::B, 2);
    client.hears("bfirst words").await;
    assert_eq!((rig.pair.hold_stats(Epoch(2)).held, rig.pair.hold_stats(Epoch(2)).released), (1, 1));
    assert_eq!(rig.a.seen().len(), 0);
}

#[tokio::test]
async fn i6_waiting_is_bounded_in_number_and_time() {
    let rig = waiting(1, Duration::from_millis(300)).await;
    rig.hold(2);
    let mut first = rig.connect().await;
    eventually("one waits", || rig.pair.totals().held_now == 1).await;
    let mut second = rig.connect().await;
    second.ends_with("", End::Fin).await;
    assert_eq!(rig.pair.totals().held_now, 1, "the other one waits on");
    first.ends_with("", End::Fin).await;
    assert_eq!((rig.pair.totals().streams_refused, rig.pair.hold_stats(Epoch(2)).refused), (2, 2));
}

#[tokio::test]
async fn who_leaves_while_waiting_leaves_the_waiting_room() {
    let rig = waiting(10, PATIENCE * 10).await;
    rig.hold(2);
    let silent = rig.connect().await;
    let mut spoken = rig.connect().await;
    spoken.says("words").await;
    eventually("both wait", || rig.pair.totals().held_now == 2).await;
    drop(silent);
    eventually("one has left", || rig.pair.totals().held_now == 1).await;
    // It has said all that it will say, and wants an answer.
    spoken.0.shutdown().await.unwrap();
    rig.serve(Side::B, 2);
    spoken.ends_with("bwords.", End::Fin).await;
    assert_eq!(rig.pair.totals().abandoned, 1);
}

#[tokio::test]
async fn without_an_active_side_a_stream_is_closed_at_once() {
    let rig = waiting(10, PATIENCE * 10).await;
    rig.route(2, RouteKind::Refuse);
    rig.connect().await.ends_with("", End::Fin).await;
}

#[tokio::test]
async fn i6_a_refused_connect_is_counted_and_tried_again() {
    let rig = waiting(10, PATIENCE * 10).await;
    rig.a.accept.abort();
    eventually("nobody listens at a", || std::net::TcpStream::connect(rig.a.address).is_err()).await;
    rig.serve(Side::A, 1);
    let mut client = rig.connect().await;
    let refused =
        |event: &ProxyEvent| matches!(event, ProxyEvent::Trouble { side: Side::A, kind: Trouble::Refused, .. });
    eventually("it is told", || rig.events.lock().unwrap().iter().any(refused)).await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.serve(Side::B, 2);
    client.hears("b").await;
    assert!(rig.pair.take_traffic().a.refused > 0);
}

/// A stream that looked before the change and connects after it would stay at the old side for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_no_stream_reaches_a_side_that_has_been_drained() {
    let rig = waiting(1000, PATIENCE * 10).await;
    rig.serve(Side::A, 1);
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let client = |_| {
        let (at, stop, served) = (rig.at, Arc::clone(&stop), Arc::clone(&served));
        tokio::spawn(async move {
            while !stop.load(SeqCst) {
                let mut client = Client(TcpStream::connect(at).await.unwrap());
                let mut name = [0];
                // One that is closed by the switch right after it came has heard nothing.
                if client.0.read(&mut name).await.unwrap_or(0) == 1 {
                    served.fetch_add(1, SeqCst);
                }
            }
        })
    };
    let clients: Vec<_> = (0..16).map(client).collect();
    let mut from = Side::A;
    for epoch in 2..14 {
        let target = served.load(SeqCst) + 50;
        eventually("clients are served", || served.load(SeqCst) > target).await;
        rig.hold(epoch);
        rig.pair.drained(from).await;
        let server = if from == Side::A { &rig.a } else { &rig.b };
        eventually("the old side has no stream", || rig.is_left(from)).await;
        // What its kernel had taken by then it may have looked at later.
        let before = server.seen().len();
        rig.serve(from.other(), epoch);
        let target = served.load(SeqCst) + 50;
        eventually("clients are served", || served.load(SeqCst) > target).await;
        assert_eq!(server.seen().len(), before, "a stream came after the drain");
        from = from.other();
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn maintenance_closes_who_comes_and_who_waits_and_lets_go_on_what_is_open() {
    let rig = Rig::new(word(OnSwitch::Finish)).await;
    rig.serve(Side::A, 1);
    let mut open = rig.greeted_by("a").await;
    rig.pair.set_maintenance(Some(String::new()));
    rig.connect().await.ends_with("", End::Fin).await;
    open.says("still here").await;
    open.hears("still here").await;
    rig.pair.set_maintenance(None);
    rig.hold(2);
    let mut waits = rig.connect().await;
    eventually("it waits", || rig.pair.totals().held_now == 1).await;
    rig.pair.set_maintenance(Some("patch day".to_owned()));
    waits.ends_with("", End::Fin).await;
    rig.pair.set_maintenance(None);
    rig.serve(Side::A, 3);
    rig.greeted_by("a").await;
    assert_eq!(rig.pair.totals().streams_refused, 2);
}
