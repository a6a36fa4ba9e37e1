//! What passes: both ways, each to its end.

use super::*;
use crate::rig::long;

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_closed_leaves_the_other_open() {
    let rig = Rig::new(StreamSettings::default()).await;
    for (side, name) in [(Side::A, "a"), (Side::B, "b")] {
        rig.serve(side, 1);
        let text = long(4 << 20);
        let (mut read, mut write) = rig.connect().await.0.into_split();
        let says = text.clone();
        let said = tokio::spawn(async move {
            write.write_all(says.as_bytes()).await.unwrap();
            write.shutdown().await.unwrap();
            write
        });
        let mut heard = String::new();
        tokio::time::timeout(PATIENCE, read.read_to_string(&mut heard)).await.unwrap().unwrap();
        assert!(heard == format!("{name}{text}."), "{} bytes of {}", heard.len(), text.len() + 2);
        drop(said.await);
        eventually("the stream is over", || rig.is_left(side)).await;
    }
    let totals = rig.pair.totals();
    let bytes = 2 * (4 << 20);
    assert_eq!((totals.streams, totals.streams_open, totals.streams_refused), (2, 0, 0));
    assert_eq!((totals.stream_bytes_in, totals.stream_bytes_out, totals.links), (bytes, bytes + 4, 0));
}

#[tokio::test]
async fn a_server_may_end_its_half_first() {
    let rig = Rig::new(StreamSettings::default()).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Sides { a: vec![server.local_addr().unwrap().to_string()], b: vec![] };
    let pair = PairProxy::new("pair", servers, ProxySettings::default(), |_| ());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
    let (at, (_closing, closed)) = (listener.address(), watch::channel(false));
    tokio::spawn(listener.pass_streams(Arc::clone(&pair), pair.pool("").unwrap(), StreamSettings::default(), closed));
    pair.serve_until(At(u64::MAX));
    pair.set_route(Route { epoch: Epoch(1), kind: RouteKind::Serve(Side::A) });
    let mut client = Client(TcpStream::connect(at).await.unwrap());
    let (mut served, _) = server.accept().await.unwrap();
    served.write_all(b"all that I say").await.unwrap();
    served.shutdown().await.unwrap();
    client.ends_with("all that I say", End::Fin).await;
    client.says("and still I am heard").await;
    client.0.shutdown().await.unwrap();
    let mut heard = String::new();
    tokio::time::timeout(PATIENCE, served.read_to_string(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, "and still I am heard");
    eventually("the stream is over", || pair.totals().streams_open == 0).await;
    drop(rig);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_one() {
    let rig = Rig::new(StreamSettings::default()).await;
    rig.serve(Side::A, 1);
    let client = rig.greeted_by("a").await;
    rustix::net::sockopt::set_socket_linger(&client.0, Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("the server sees it", || rig.a.ends() == [End::Reset]).await;
    assert_eq!(rig.pair.take_traffic().a.resets, 0, "a client's doing");
}

#[tokio::test]
async fn the_first_stream_of_an_epoch_is_told_and_answers_are_counted() {
    let rig = Rig::new(StreamSettings::default()).await;
    rig.serve(Side::A, 7);
    let _clients = [rig.greeted_by("a").await, rig.greeted_by("a").await];
    let mut events = rig.events.lock().unwrap().clone();
    events.retain(|event| !matches!(event, ProxyEvent::Counted { .. }));
    let (epoch, first) =
        (Epoch(7), |event: &ProxyEvent| matches!(event, ProxyEvent::FirstSent { epoch: Epoch(7), .. }));
    assert!(events.len() == 2 && first(&events[0]), "{events:?}");
    assert!(matches!(events[1], ProxyEvent::FirstAnswer { epoch: of, .. } if of == epoch), "{events:?}");
    assert_eq!(rig.pair.take_traffic().a.good, 2);
}
