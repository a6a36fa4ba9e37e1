//! What an edge is told when there is no agent where one should be.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use lockstep_pair::protocol::Terms;
use lockstep_policy::Side;
use lockstep_wire::{Client, Hello, LinkError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

const WITHIN: Duration = Duration::from_millis(300);

fn hello() -> Hello {
    let terms = Terms {
        ttl: Duration::from_millis(600),
        renew: Duration::from_millis(200),
        stop_max: Duration::from_millis(250),
    };
    Hello { protocol: 0, pair: "telisca".into(), side: Side::A, edge: "edge-1".into(), terms, minor: 0 }
}

/// A port on which this happens to every connection.
async fn port(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let _ = stream.write_all(answer).await;
            }
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn nobody_there_is_said_in_the_systems_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&address, WITHIN).await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_an_address_is_quoted() {
    let error = Client::connect("10.0.0.1 : 7401", WITHIN).await.unwrap_err();
    assert!(matches!(error, LinkError::Address { .. }), "{error}");
    assert!(error.to_string().contains("`10.0.0.1 : 7401`"), "{error}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up_in_time() {
    let address = port(None).await;
    let opened = async { Client::connect(&address, WITHIN).await?.main(hello()).await };
    let error = opened.await.unwrap_err();
    assert!(matches!(error, LinkError::Silent { within: WITHIN, .. }), "{error}");
}

#[tokio::test]
async fn a_peer_of_another_trade_is_given_up() {
    let address = port(Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
    let opened = async { Client::connect(&address, WITHIN).await?.main(hello()).await };
    assert!(opened.await.is_err());
}
