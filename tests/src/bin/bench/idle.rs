//! What a connection costs that does nothing: memory of the contender's processes after one request on each.

use crate::contenders::{Contender, Contenders};
use crate::processes::{files_allowed, resident};
use crate::work::Way;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Clients that stay.
const CLIENTS: u64 = 10_000;
/// Files that this program needs besides.
const BESIDES: u64 = 200;

pub fn measure(contender: Contender, all: &Contenders) -> Value {
    let Some(address) = contender.address(Way::Plain) else { return Value::Null };
    let processes = all.processes(contender);
    let clients = CLIENTS.min(files_allowed().saturating_sub(BESIDES));
    let before = resident(&processes);
    let mut open = Vec::with_capacity(clients as usize);
    for _ in 0..clients {
        match one_request(address) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                println!("{}: {} connections, then: {error}", contender.name(), open.len());
                break;
            }
        }
    }
    let more = resident(&processes).saturating_sub(before);
    let count = open.len();
    drop(open);
    // What is closed is cleared away before anything else is measured.
    std::thread::sleep(Duration::from_millis(500));
    json!({ "contender": contender.name(), "clients": count, "kib": more as f64 / count.max(1) as f64 })
}

fn one_request(address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /2 HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = [0u8; 1_024];
    let mut filled = 0;
    while !answer[..filled].ends_with(b"\r\n\r\nOK") {
        match stream.read(&mut answer[filled..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(stream)
}
