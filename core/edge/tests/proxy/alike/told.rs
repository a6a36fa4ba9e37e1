//! A server that does as it is told.

use crate::rig::field;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a server gives its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In one write.
    AtOnce,
    /// Byte by byte.
    Dripping,
    /// The head, and a little later the rest.
    HeadFirst,
}

/// What a server does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Stay,
    Close,
    Reset,
    /// What nobody has asked for comes a little later.
    Mutter,
}

/// A server that does as it is told, and counts its connections. What is asked for by name is answered soundly.
#[derive(Clone)]
pub struct Told {
    pub script: Arc<Mutex<(Vec<u8>, How, Then)>>,
    pub connections: Arc<AtomicU64>,
    pub seen: Arc<Mutex<Vec<(u64, String)>>>,
    pub muttered: Arc<AtomicU64>,
}

impl Told {
    pub async fn start() -> (Told, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Told {
            script: Arc::new(Mutex::new((Vec::new(), How::AtOnce, Then::Stay))),
            connections: Arc::default(),
            seen: Arc::default(),
            muttered: Arc::default(),
        };
        let of = told.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(of.clone().converse(socket));
            }
        });
        (told, address)
    }

    async fn converse(self, mut socket: TcpStream) {
        let number = self.connections.fetch_add(1, SeqCst) + 1;
        socket.set_nodelay(true).unwrap();
        let mut buffer = Vec::new();
        loop {
            while let Some(at) = whole(&buffer) {
                let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
                buffer.drain(..at);
                let is_told = head.contains(" /told");
                self.seen.lock().unwrap().push((number, head));
                if !is_told {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    continue;
                }
                let (answer, how, then) = self.script.lock().unwrap().clone();
                give(&mut socket, &answer, how).await;
                match then {
                    Then::Stay => {}
                    Then::Close => return,
                    Then::Mutter => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
                        self.muttered.fetch_add(1, SeqCst);
                    }
                    Then::Reset => {
                        // The client shall have read what came before.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        socket.set_zero_linger().unwrap();
                        return;
                    }
                }
            }
            if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }
}

/// Where a request ends, when all of it has come.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length = field(&String::from_utf8_lossy(&bytes[..head]), "content-length");
    let end = head + length.map_or(0, |length| length.parse().unwrap());
    (bytes.len() >= end).then_some(end)
}

async fn give(socket: &mut TcpStream, answer: &[u8], how: How) {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let parts: Vec<&[u8]> = match how {
        How::AtOnce => vec![answer],
        How::Dripping => answer.chunks(1).collect(),
        How::HeadFirst => vec![&answer[..head], &answer[head..]],
    };
    for part in parts {
        // Who has enough of it closes.
        if socket.write_all(part).await.is_err() {
            return;
        }
        if how == How::HeadFirst {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::task::yield_now().await;
    }
}
