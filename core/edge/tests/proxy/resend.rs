//! What is sent again, and what is not (I6; RFC 9110 section 9.2.2).

use super::rig::{Client, Rig, WAYS, Way, eventually, get, send_by};
use lockstep_policy::{Epoch, Side};

#[tokio::test]
async fn i6_a_post_in_flight_is_told_502_and_not_sent_twice() {
    for way in WAYS {
        let rig = Rig::new().await;
        rig.serve(Side::A, 1);
        let post = rig.spawn_send_by(way, "POST", "/hang", "order".into());
        eventually("the request is at a", || rig.a.count() == 1).await;
        rig.serve(Side::B, 2);
        rig.pair.cut(Side::A, Epoch(2));
        let reply = post.await.unwrap().unwrap();
        assert_eq!(reply.status, 502);
        assert!(reply.body.contains("POST is not sent twice"), "{}", reply.body);
        assert_eq!((rig.a.count(), rig.b.count()), (1, 0));
        assert_eq!(rig.pair.totals().failed, 1);
    }
}

#[tokio::test]
async fn i6_a_put_is_sent_again_with_its_whole_body() {
    for (way, tens) in [(Way::Ours, 1000), (Way::Pingoras, 1000), (Way::Pingoras, 6000)] {
        let rig = Rig::new().await;
        rig.serve(Side::A, 1);
        let body = "0123456789".repeat(tens);
        let put = rig.spawn_send_by(way, "PUT", "/hang", body.clone());
        eventually("the request is at a", || rig.a.count() == 1).await;
        rig.serve(Side::B, 2);
        rig.pair.cut(Side::A, Epoch(2));
        eventually("the request is at b", || rig.b.count() == 1).await;
        rig.b.let_go();
        assert_eq!(put.await.unwrap().unwrap().body, "b");
        assert_eq!(rig.b.seen()[0].body, body.as_bytes());
    }
}

#[tokio::test]
async fn i6_a_put_whose_body_is_too_long_to_keep_is_told_502() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let put = rig.spawn_send("PUT", "/hang", "0123456789".repeat(7000));
    eventually("the request is at a", || rig.a.count() == 1).await;
    rig.serve(Side::B, 2);
    rig.pair.cut(Side::A, Epoch(2));
    assert_eq!(put.await.unwrap().unwrap().status, 502);
    assert_eq!(rig.b.count(), 0);
}

#[tokio::test]
async fn i6_a_server_that_drops_each_request_does_not_get_it_forever() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    assert_eq!(get(rig.at, "/drop").await.unwrap().status, 502);
    assert_eq!(rig.a.count(), 4, "once, and three times again");
    assert_eq!(rig.pair.take_traffic().a.resets, 4);
    for (way, count) in [(Way::Ours, 5), (Way::Pingoras, 6)] {
        assert_eq!(send_by(way, rig.at, "POST", "/drop", "order").await.unwrap().status, 502);
        assert_eq!(rig.a.count(), count, "{way:?}");
    }
}

#[tokio::test]
async fn i6_an_answer_that_was_cut_off_does_not_look_whole() {
    let rig = Rig::new().await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    client.send("GET /partial HTTP/1.1\r\nHost: pair\r\n\r\n").await;
    let mut begun = [0; 512];
    let mut text = String::new();
    while !text.contains("first half") {
        let read = tokio::io::AsyncReadExt::read(&mut client.socket, &mut begun).await.unwrap();
        assert!(read > 0);
        text.push_str(std::str::from_utf8(&begun[..read]).unwrap());
    }
    rig.serve(Side::B, 2);
    rig.pair.cut(Side::A, Epoch(2));
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(!rest.contains("0\r\n\r\n"), "the last chunk says that all is well: {rest:?}");
    assert_eq!(rig.b.count(), 0);
}
