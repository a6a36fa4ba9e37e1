//! The server behind all contenders: an nginx that stands for both sides, and for 2,000 servers.

use crate::processes::{Program, pinned};
use crate::work::{HUGE, LARGE, MIDDLE, SMALL};
use lockstep_demo::app::MONITOR;
use lockstep_policy::Side;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

/// Where it says how much it has done.
const STATUS: &str = "/status";

/// A side's server.
pub fn server(side: Side) -> SocketAddr {
    let port = match side {
        Side::A => 8_001,
        Side::B => 8_002,
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// How many requests it has answered; this one is among them.
pub fn answered() -> f64 {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(server(Side::A))?;
        write!(stream, "GET {STATUS} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    // Its third line of numbers: connections accepted, and handled; requests.
    let text = asked().unwrap_or_default();
    let numbers = text.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
    numbers.and_then(|line| line.split_whitespace().nth(2)?.parse().ok()).unwrap_or(f64::NAN)
}

/// Starts it, on any loopback address at both ports.
pub fn start(dir: &Path, processors: &str) -> Program {
    let files = dir.join("files");
    std::fs::create_dir_all(&files).unwrap();
    for (path, bytes) in [(MIDDLE, 16 << 10), (LARGE, 1 << 20), (HUGE, 16 << 20)] {
        std::fs::write(files.join(&path[1..]), vec![b'x'; bytes]).unwrap();
    }
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {dir}/origin.pid;\nerror_log stderr;\n\
         events {{ worker_connections 30000; }}\nhttp {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 600s;\n  \
         keepalive_requests 1000000000; default_type text/plain;\n  client_body_temp_path {dir}/origin-body;\n  server {{\n    \
         listen 0.0.0.0:{a} backlog=4096; listen 0.0.0.0:{b} backlog=4096;\n    root {files};\n    \
         location = {SMALL} {{ return 200 OK; }}\n    location = {STATUS} {{ stub_status; }}\n    location = {MONITOR} {{ return 200 OK; }}\n  }}\n}}\n",
        dir = dir.display(),
        files = files.display(),
        a = server(Side::A).port(),
        b = server(Side::B).port(),
    );
    let file = dir.join("origin.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = pinned(processors, "nginx");
    command.arg("-c").arg(&file).arg("-p").arg(dir);
    Program::start(command, dir, "origin")
}
