//! Servers on sockets of the file system: what holds of those with an address holds of them.

use super::rig::{Client, Front, Rig, Server, Way, eventually, field, get, send, send_by};
use lockstep_edge::config::{ProxyVersion, UpstreamConfig};
use lockstep_edge::proxy::{ListenSettings, ProxySettings, Upstream};
use lockstep_policy::{Epoch, Side, Sides};
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;

/// Side A has a socket, side B an address.
async fn mixed(settings: ProxySettings) -> (Rig, Front, TempDir) {
    let (a, b, dir) = (Server::start("a").await, Server::start("b").await, tempfile::tempdir().unwrap());
    let front = Front::open(&dir.path().join("app.sock"), a.address);
    let servers = Sides { a: vec![front.name()], b: vec![b.address.to_string()] };
    (Rig::of(a, b, servers, settings, ListenSettings::default()), front, dir)
}

#[tokio::test]
async fn requests_go_to_a_socket_by_both_ways_and_follow_a_switch_to_an_address_and_back() {
    let (rig, _front, _dir) = mixed(ProxySettings::default()).await;
    for (epoch, side, name) in [(1, Side::A, "a"), (2, Side::B, "b"), (3, Side::A, "a")] {
        rig.serve(side, epoch);
        rig.pair.cut(side.other(), Epoch(epoch));
        let mut client = Client::connect(rig.at).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.unwrap().body, name);
        }
        assert_eq!(client.get("/long/400000").await.unwrap().body, super::rig::long(400_000), "by splice(2), too");
        assert_eq!(send(rig.at, "POST", "/", "with a body").await.unwrap().body, name);
        for method in ["POST", "PUT"] {
            let reply = send_by(Way::Pingoras, rig.at, method, "/", "with a body").await;
            assert_eq!(reply.unwrap().body, name, "the second on the connection that it kept");
        }
    }
    // Three epochs, each with a connection of the one way and of the other.
    assert_eq!((rig.a.connections(), rig.b.connections()), (4, 2));
}

#[tokio::test]
async fn a_socket_that_refuses_or_is_gone_is_waited_for_as_an_address_is() {
    for (is_gone, way) in [(false, Way::Ours), (false, Way::Pingoras), (true, Way::Pingoras)] {
        let (rig, mut front, _dir) = mixed(ProxySettings::default()).await;
        rig.serve(Side::A, 1);
        assert_eq!(get(rig.at, "/").await.unwrap().body, "a");
        front.kill().await;
        if is_gone {
            std::fs::remove_file(&front.path).unwrap();
        }
        let (lean, other) = (rig.spawn_get("/"), rig.spawn_send_by(way, "POST", "/", "order".to_owned()));
        eventually("both wait", || rig.pair.totals().held_now == 2).await;
        eventually("it is told of", || rig.pair.take_traffic().a.refused > 0).await;
        if !is_gone {
            std::fs::remove_file(&front.path).unwrap();
        }
        let _again = Front::open(&front.path, rig.a.address);
        assert_eq!(lean.await.unwrap().unwrap().body, "a");
        assert_eq!(other.await.unwrap().unwrap().body, "a");
    }
}

#[tokio::test]
async fn a_request_in_flight_to_a_socket_is_cut_and_sent_again_to_the_other_side() {
    let (rig, _front, _dir) = mixed(ProxySettings::default()).await;
    rig.serve(Side::A, 1);
    let order = || "order".to_owned();
    let (read, order) = (rig.spawn_get("/hang"), rig.spawn_send_by(Way::Pingoras, "POST", "/hang", order()));
    eventually("both are at a", || rig.a.count() == 2).await;
    rig.serve(Side::B, 2);
    assert_eq!(rig.pair.cut(Side::A, Epoch(2)), 2);
    eventually("the one is at b", || rig.b.count() == 1).await;
    rig.b.let_go();
    assert_eq!(read.await.unwrap().unwrap().body, "b");
    assert_eq!(order.await.unwrap().unwrap().status, 502, "it is not sent twice");
    eventually("a has seen the ends", || rig.a.open() == 0).await;
}

#[tokio::test]
async fn an_upgraded_connection_to_a_socket_echoes_and_ends_with_a_cut() {
    let (rig, _front, _dir) = mixed(ProxySettings::default()).await;
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    let words = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    client.send(format!("GET /upgrade HTTP/1.1\r\nHost: pair\r\n{words}\r\n")).await;
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        assert!(tokio::io::AsyncReadExt::read_buf(&mut client.socket, &mut heard).await.unwrap() > 0);
    }
    assert!(heard.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&heard));
    rig.serve(Side::B, 2);
    rig.pair.cut(Side::A, Epoch(2));
    client.rest().await;
    eventually("a has seen the end", || rig.a.open() == 0).await;
}

#[tokio::test]
async fn a_socket_is_told_by_a_proxy_header_whose_a_connection_is() {
    let (rig, _front, _dir) = mixed(ProxySettings::default()).await;
    let upstream = UpstreamConfig { proxy_protocol: Some(ProxyVersion::V1), ..UpstreamConfig::default() };
    rig.pair.set_upstream(Upstream::open(&upstream).unwrap());
    rig.serve(Side::A, 1);
    let mut client = Client::connect(rig.at).await;
    let own = client.socket.local_addr().unwrap();
    assert_eq!(client.get("/").await.unwrap().body, "a");
    let seen = rig.a.seen().remove(0).head;
    let header = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), rig.at.port());
    assert!(seen.starts_with(&header), "{seen}");
    assert_eq!(field(&seen, "host").as_deref(), Some("pair"));
}

/// A server that nobody here wrote, in a process of its own. It says `py` to whatever it is asked.
const PYTHON: &str = r#"
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "socket"
    def log_message(self, *args): pass
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"py")
    do_POST = do_GET
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 2
path = sys.argv[1]
if os.path.exists(path): os.unlink(path)
Server(path, Handler).serve_forever()
"#;

struct Python(Child);

impl Python {
    fn start(path: &Path) -> Python {
        Python(Command::new("python3").args(["-c", PYTHON]).arg(path).spawn().expect("python3 is installed"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_in_another_process_is_killed_and_comes_back_at_its_socket_and_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("py.sock");
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let servers = Sides { a: vec![format!("unix:{}", path.display())], b: vec![b.address.to_string()] };
    let rig = Rig::of(a, b, servers, ProxySettings::default(), ListenSettings::default());
    rig.serve(Side::A, 1);
    // It is asked before it is there, too.
    let early = rig.spawn_get("/");
    eventually("the first waits", || rig.pair.totals().held_now == 1).await;
    let first = Python::start(&path);
    assert_eq!(early.await.unwrap().unwrap().body, "py");
    // More at once than its backlog holds.
    let all: Vec<_> = (0..40).map(|_| rig.spawn_send("POST", "/", "order".to_owned())).collect();
    for one in all {
        assert_eq!(one.await.unwrap().unwrap().body, "py");
    }
    drop(first);
    let waiting = rig.spawn_get("/");
    eventually("the next waits", || rig.pair.totals().held_now == 1).await;
    let _second = Python::start(&path);
    assert_eq!(waiting.await.unwrap().unwrap().body, "py");
    rig.serve(Side::B, 2);
    assert_eq!(get(rig.at, "/").await.unwrap().body, "b");
}
