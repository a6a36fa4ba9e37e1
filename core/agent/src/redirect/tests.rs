//! Listeners without a keeper.

use super::*;
use crate::config::{Destination, Origin};
use http::StatusCode;
use http::uri::Scheme;
use lockstep_wire::clock;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener as Application, TcpStream as Client};

fn application() -> SocketAddr {
    let listener = Application::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                while !head(&mut stream).is_empty() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    address
}

/// What comes until an empty line, or the end.
fn head(stream: &mut Client) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn status(stream: &mut Client) -> u16 {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let head = head(stream);
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).unwrap();
    head[9..12].parse().unwrap()
}

/// Nobody says that the lease is over, and it is all the same: by the clock, at each request's own moment.
#[test]
fn a_keeper_that_has_fallen_asleep_lets_nothing_through_after_its_lease() {
    let config = Redirect {
        listen: "127.0.0.1:0".parse().unwrap(),
        application: application(),
        to: Destination::Vip(Origin { scheme: Scheme::HTTP, authority: "vip".parse().unwrap() }),
        status: StatusCode::TEMPORARY_REDIRECT,
        exempt: Vec::new(),
        tls: None,
        drain: Duration::ZERO,
        timeout: Duration::from_secs(20),
        idle: Duration::from_secs(20),
        connections: 8,
    };
    let standing = Arc::<Standing>::default();
    let bound = bind(&[config]).unwrap();
    let address = bound.listeners[0].0.local_addr().unwrap();
    let _serving = bound.serve("pair", &standing).unwrap();
    let mut client = Client::connect(address).unwrap();
    assert_eq!(status(&mut client), 307);

    let end = clock::now() + Duration::from_millis(300);
    standing.serve_until(Some(end));
    let mut answers = Vec::new();
    while answers.len() < 5 || clock::now() < end + Duration::from_millis(100) {
        let asked = clock::now();
        answers.push((asked, status(&mut client)));
    }
    let late = answers.iter().filter(|(asked, _)| *asked >= end);
    assert!(late.clone().count() > 0 && late.clone().all(|(_, status)| *status == 307), "{answers:?}");
    // Not judged by a wall clock: a machine may stand still for as long as the lease lasts.
    println!("{} passed on", answers.len() - late.count());
}
