//! Requests that a story makes itself, from a desktop's address: a single one, and one whose answer does not end.

use super::site::desktop;
use lockstep_demo::{finesse, now};
use lockstep_tests::configuration::vip;
use lockstep_tests::processes::PATIENCE;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a single request was answered.
#[derive(Debug)]
pub struct Reply {
    pub text: String,
    pub took: Duration,
}

impl Reply {
    /// The number in its first line.
    pub fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

/// A request of a desktop of that number.
pub fn ask(number: u8) -> Reply {
    let began = Instant::now();
    let mut stream = request(number, "/desktop");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Reply { text, took: began.elapsed() }
}

fn request(number: u8, path: &str) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(desktop(number), 0)).unwrap();
    connect(&socket, &vip()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: finesse\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// A desktop that is sent events on one connection, for as long as that lasts.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    head: String,
    /// When each event came.
    events: Vec<u64>,
    /// The connection has ended.
    ended: bool,
}

impl Listener {
    /// Asks for events.
    pub fn begin(number: u8) -> Listener {
        let mut stream = request(number, finesse::EVENTS);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let writes = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                text.extend_from_slice(&piece[..read]);
                let events = text.windows(6).filter(|word| word == b"event ").count();
                let mut heard = writes.lock().unwrap();
                if heard.head.is_empty() {
                    heard.head = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
                }
                heard.events.resize(events, now());
                heard.ended = read == 0;
                if heard.ended {
                    return;
                }
            }
        });
        Listener { heard }
    }

    /// How many events came since then.
    pub fn since(&self, from: u64) -> usize {
        let heard = self.heard.lock().unwrap();
        assert!(!heard.ended, "the connection was cut after {} events: {}", heard.events.len(), heard.head);
        heard.events.iter().filter(|at| **at >= from).count()
    }
}
