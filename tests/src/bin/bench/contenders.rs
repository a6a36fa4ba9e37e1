//! Who is compared: each in front of the same origin, with as many workers on the same processors, connections kept to the origin,
//! the client's address and scheme told to it, both servers checked each second, an access log written into memory.

use crate::origin::server;
use crate::processes::{Program, pinned};
use crate::work::Way;
use crate::{lockstep, machine};
use lockstep_demo::app::MONITOR;
use lockstep_policy::Side::{A, B};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Nobody: the load goes to the origin directly.
    Nobody,
    Lockstep,
    Haproxy,
    /// The same, with `option splice-request` and `splice-response` for streams: for these only.
    HaproxySplice,
    Nginx,
}

impl Contender {
    pub const ALL: [Contender; 5] =
        [Contender::Nobody, Contender::Lockstep, Contender::Haproxy, Contender::HaproxySplice, Contender::Nginx];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Nobody => "direct",
            Contender::Lockstep => "lockstep",
            Contender::Haproxy => "haproxy",
            Contender::HaproxySplice => "haproxy-splice",
            Contender::Nginx => "nginx",
        }
    }

    /// Where it is met by who speaks that; none where it is not.
    pub fn address(self, way: Way) -> Option<SocketAddr> {
        let offset = match way {
            Way::Plain => 0,
            Way::Tls | Way::H2 => 1,
            Way::Stream => 2,
        };
        let port = match (self, way) {
            (Contender::Nobody, Way::Plain | Way::Stream) => return Some(server(A)),
            (Contender::Nobody, _) | (Contender::Nginx, Way::Stream) => return None,
            (Contender::HaproxySplice, Way::Stream) => 8_203,
            (Contender::HaproxySplice, _) => return None,
            (Contender::Lockstep, _) => 8_100 + offset,
            (Contender::Haproxy, _) => 8_200 + offset,
            (Contender::Nginx, _) => 8_300 + offset,
        };
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Where it is met by that way; it is.
    fn at(self, way: Way) -> SocketAddr {
        self.address(way).expect("it is asked for those that have one")
    }
}

/// All of them at work.
#[derive(Debug)]
pub struct Contenders {
    lockstep: lockstep::Site,
    haproxy: Program,
    nginx: Program,
}

impl Contenders {
    /// Starts them, and waits until each answers.
    pub fn start(dir: &Path, workers: usize) -> Contenders {
        let certificate = certificate(dir);
        let at = |way| Contender::Lockstep.at(way);
        let site = lockstep::Site::start(dir, workers, &certificate, at(Way::Plain), at(Way::Tls), at(Way::Stream));
        let started = Contenders {
            lockstep: site,
            haproxy: haproxy(dir, workers, &certificate),
            nginx: nginx(dir, workers, &certificate),
        };
        for contender in [Contender::Lockstep, Contender::Haproxy, Contender::Nginx] {
            let what = format!("{} to answer", contender.name());
            lockstep_tests::processes::until(&what, || answers(contender.at(Way::Plain)).then_some(()));
        }
        started
    }

    /// Its processes: those of a whole edge, its policy's worker among them, but not the agents, which are on the nodes.
    pub fn processes(&self, contender: Contender) -> BTreeSet<u32> {
        match contender {
            Contender::Nobody => BTreeSet::new(),
            Contender::Lockstep => self.lockstep.edge.tree(),
            Contender::Haproxy | Contender::HaproxySplice => self.haproxy.tree(),
            Contender::Nginx => self.nginx.tree(),
        }
    }
}

/// Whether it gives an answer of 200.
pub fn answers(to: SocketAddr) -> bool {
    said(to, "GET /2 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200")
}

/// Whether bytes are passed there that nobody looks into: the origin answers what no proxy for HTTP/1.1 lets through.
pub fn passes_streams(to: SocketAddr) -> bool {
    said(to, "GET /2\r\n") == "OK"
}

fn said(to: SocketAddr, text: &str) -> String {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    ask().unwrap_or_default()
}

/// A certificate of its own making, and its key, in one file.
fn certificate(dir: &Path) -> std::path::PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let file = dir.join("bench.pem");
    std::fs::write(&file, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem())).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

fn haproxy(dir: &Path, workers: usize, certificate: &Path) -> Program {
    let frontend = |name: &str, way: Way, more: &str, rest: &str| {
        format!("frontend {name}\n  bind {}{more}\n{rest}", Contender::Haproxy.at(way))
    };
    let tls = format!(" ssl crt {} alpn h2,http/1.1", certificate.display());
    let (http, stream) = ("  default_backend servers\n", "  mode tcp\n  option tcplog\n  default_backend streams\n");
    let splice = Contender::HaproxySplice.at(Way::Stream);
    let servers = format!("  server a {} check inter 1s\n  server b {} check inter 1s backup\n", server(A), server(B));
    let configuration = format!(
        "global\n  no strict-limits\n  maxconn 12000\n  nbthread {workers}\n  log stdout format raw local0 info\ndefaults\n  mode http\n  log global\n  option httplog\n  timeout connect 1s\n  \
         timeout client 600s\n  timeout server 60s\n  timeout http-keep-alive 600s\n{plain}{tls}{streams}\
         frontend splice\n  bind {splice}\n  mode tcp\n  option tcplog\n  option splice-request\n  option splice-response\n  default_backend splices\n\
         backend servers\n  http-reuse always\n  option forwardfor\n  http-request set-header X-Forwarded-Proto http\n  \
         option httpchk GET {MONITOR}\n{servers}backend streams\n  mode tcp\n{servers}backend splices\n  mode tcp\n  \
         option splice-request\n  option splice-response\n{servers}",
        plain = frontend("plain", Way::Plain, "", http),
        tls = frontend("tls", Way::Tls, &tls, http),
        streams = frontend("streams", Way::Stream, "", stream),
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let mut command = pinned(&machine::of_contender(workers), "haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Program::start(command, dir, "haproxy")
}

fn nginx(dir: &Path, workers: usize, certificate: &Path) -> Program {
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\npid {dir}/nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 30000; }}\nhttp {{\n  access_log {dir}/nginx-access.log; keepalive_timeout 600s; keepalive_requests 1000000000;\n  \
         client_body_temp_path {dir}/nginx-body; proxy_temp_path {dir}/nginx-proxy; proxy_max_temp_file_size 0;\n  \
         upstream servers {{ server {a}; server {b} backup; keepalive 256; keepalive_requests 1000000000; }}\n  server {{\n    \
         listen {plain} backlog=4096; listen {tls} ssl http2 backlog=4096;\n    \
         ssl_certificate {certificate}; ssl_certificate_key {certificate};\n    location / {{\n      \
         proxy_pass http://servers; proxy_http_version 1.1; proxy_set_header Connection \"\";\n      \
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n    }}\n  }}\n}}\n",
        dir = dir.display(),
        a = server(A),
        b = server(B),
        plain = Contender::Nginx.at(Way::Plain),
        tls = Contender::Nginx.at(Way::Tls),
        certificate = certificate.display(),
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = pinned(&machine::of_contender(workers), "nginx");
    command.arg("-c").arg(&file).arg("-p").arg(dir);
    Program::start(command, dir, "nginx")
}
