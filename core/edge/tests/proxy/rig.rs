//! Servers that do what a request's path says and write down what they saw, clients that send raw bytes.

use lockstep_edge::proxy::{ListenSettings, Listener, PairProxy, Pool, ProxyEvent, ProxySettings, SessionSettings};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Far longer than anything here takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came to be that {what}");
}

/// A socket in front of a server. Killed, it leaves its file behind, as a process does.
pub struct Front {
    pub path: PathBuf,
    passing: JoinHandle<()>,
}

impl Front {
    pub fn open(path: &Path, to: SocketAddr) -> Front {
        let listener = UnixListener::bind(path).unwrap();
        let passing = tokio::spawn(async move {
            let mut all = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                all.spawn(async move {
                    let mut server = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut socket, &mut server).await
                });
            }
        });
        Front { path: path.to_owned(), passing }
    }

    /// As a configuration names it.
    pub fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    pub async fn kill(&mut self) {
        self.passing.abort();
        assert!((&mut self.passing).await.unwrap_err().is_cancelled());
    }
}

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: u64,
    pub head: String,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicU64,
    closed: AtomicU64,
    let_go: Notify,
}

/// A server. Its answer's body is its name.
///
/// `/hang` answers when it is let go, `/drop` closes without an answer, `/status/N` answers N, `/partial` sends half of
/// an answer that ends with its connection and hangs, `/upgrade` becomes an echo, `/long/N` answers N bytes, `/session/X`
/// gives the cookie `SID=X`.
pub struct Server {
    pub address: SocketAddr,
    notes: Arc<Notes>,
    accept: Mutex<Option<JoinHandle<()>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Server {
    pub async fn start(name: &'static str) -> Server {
        Server::start_at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(name: &'static str, address: SocketAddr) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::<Notes>::default();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (of, all) = (Arc::clone(&notes), Arc::clone(&connections));
        let accept = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                all.lock().unwrap().spawn(converse(name, socket, Arc::clone(&of)));
            }
        });
        Server { address, notes, accept: Mutex::new(Some(accept)), connections }
    }

    /// As `kill -9` does it: the listener and all connections end at once.
    pub async fn kill(&self) {
        let accept = self.accept.lock().unwrap().take().expect("it is killed once");
        accept.abort();
        // Only then no connection is added any more.
        assert!(accept.await.unwrap_err().is_cancelled());
        let mut connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.shutdown().await;
        let refused = TcpStream::connect(self.address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.notes.seen.lock().unwrap().len()
    }

    pub fn connections(&self) -> u64 {
        self.notes.connections.load(SeqCst)
    }

    pub fn open(&self) -> u64 {
        self.connections() - self.notes.closed.load(SeqCst)
    }

    /// Lets all `/hang` requests be answered that hang now.
    pub fn let_go(&self) {
        self.notes.let_go.notify_waiters();
    }
}

struct Closed(Arc<Notes>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, SeqCst);
    }
}

async fn converse(name: &'static str, mut socket: TcpStream, notes: Arc<Notes>) {
    let connection = notes.connections.fetch_add(1, SeqCst) + 1;
    let _closed = Closed(Arc::clone(&notes));
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_message(&mut socket, &mut buffer).await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_head = head.starts_with("HEAD ");
        let let_go = notes.let_go.notified();
        tokio::pin!(let_go);
        let_go.as_mut().enable();
        notes.seen.lock().unwrap().push(Seen { connection, head, body });
        let mut status = "200 OK".to_owned();
        match path.as_str() {
            "/hang" => {
                // A connection that ends meanwhile is noticed, as a real server would.
                let mut byte = [0];
                tokio::select! {
                    () = let_go => {}
                    _ = socket.read(&mut byte) => return,
                }
            }
            "/drop" => return,
            "/partial" => {
                socket.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst half").await.unwrap();
                let_go.await;
                return;
            }
            "/upgrade" => {
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                socket.write_all(answer).await.unwrap();
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return;
            }
            path => {
                if let Some(code) = path.strip_prefix("/status/") {
                    status = format!("{code} As asked");
                }
            }
        }
        let text = match path.strip_prefix("/long/") {
            Some(length) => long(length.parse().unwrap()),
            None => name.to_owned(),
        };
        let cookie = path.strip_prefix("/session/").map(|value| format!("Set-Cookie: SID={value}; Path=/\r\n"));
        let cookie = cookie.unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {status}\r\n{cookie}Content-Length: {}\r\n\r\n", text.len());
        if !is_head {
            answer.push_str(&text);
        }
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A text of that length, in which a lost or doubled part is seen.
pub fn long(length: usize) -> String {
    let mut text = String::with_capacity(length);
    for number in 0..length / 8 {
        let _ = write!(text, "{number:07};");
    }
    text
}

/// One head and its body; `None` at the end.
async fn read_message(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some((head, body))
}

pub fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// What a client got.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A client's connection.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(socket: TcpStream) -> Client {
        Client { socket, buffer: Vec::new() }
    }

    /// From an address of loopback's own: to the edge, somebody else.
    pub async fn connect_from(number: u8, address: SocketAddr) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, number], 0))).unwrap();
        Client { socket: socket.connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer; `None` when the connection ended before it was whole.
    pub async fn reply(&mut self) -> Option<Reply> {
        let (head, body) = tokio::time::timeout(PATIENCE, read_message(&mut self.socket, &mut self.buffer))
            .await
            .expect("an answer, or an end, in time")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Reply { status, head, body: String::from_utf8(body).unwrap() })
    }

    pub async fn get(&mut self, path: &str) -> Option<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: pair\r\n\r\n")).await;
        self.reply().await
    }

    /// Everything until the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        let read = tokio::time::timeout(PATIENCE, self.socket.read_to_end(&mut rest)).await;
        let _ = read.expect("the connection ends in time");
        rest
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Option<Reply> {
    Client::connect(address).await.get(path).await
}

/// Who carries a request whose short body comes with its head: the edge itself, or pingora where `Connection` says something twice.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Ours,
    Pingoras,
}

pub const WAYS: [Way; 2] = [Way::Ours, Way::Pingoras];

/// Sends a request with a body on a connection of its own.
pub async fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<Reply> {
    send_by(Way::Ours, address, method, path, body).await
}

/// The same, carried by whom the test says.
pub async fn send_by(way: Way, address: SocketAddr, method: &str, path: &str, body: &str) -> Option<Reply> {
    let mut client = Client::connect(address).await;
    let stays = match way {
        Way::Ours => "keep-alive",
        Way::Pingoras => "keep-alive, keep-alive",
    };
    let fields = format!("Host: pair\r\nConnection: {stays}\r\nContent-Length: {}", body.len());
    // One that is refused early may close before it has read all.
    let _ = client.socket.write_all(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}").as_bytes()).await;
    client.reply().await
}

/// A pair of two servers behind a proxy on a listener.
pub struct Rig {
    pub a: Server,
    pub b: Server,
    pub pair: Arc<PairProxy>,
    pub at: SocketAddr,
    pub events: Arc<Mutex<Vec<ProxyEvent>>>,
    pub closing: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
}

impl Rig {
    pub async fn new() -> Rig {
        Rig::with(ProxySettings::default(), ListenSettings::default()).await
    }

    /// With short hold limits.
    pub async fn holding(max_requests: usize, max_wait: Duration) -> Rig {
        let mut settings = ProxySettings::default();
        settings.hold.max_requests = max_requests;
        settings.hold.max_wait = max_wait;
        Rig::with(settings, ListenSettings::default()).await
    }

    pub async fn with(settings: ProxySettings, listen: ListenSettings) -> Rig {
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        let servers = Sides { a: vec![a.address.to_string()], b: vec![b.address.to_string()] };
        Rig::of(a, b, servers, settings, listen)
    }

    pub fn of(
        a: Server,
        b: Server,
        servers: Sides<Vec<String>>,
        settings: ProxySettings,
        listen: ListenSettings,
    ) -> Rig {
        let events = Arc::<Mutex<Vec<ProxyEvent>>>::default();
        let told = Arc::clone(&events);
        let pair = PairProxy::new("pair", servers, settings, move |event| told.lock().unwrap().push(event));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), listen).unwrap();
        let at = listener.address();
        let (closing, closed) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(Arc::clone(&pair), closed));
        pair.serve_until(At(u64::MAX));
        Rig { a, b, pair, at, events, closing, serving }
    }

    /// A pair in which both sides may serve.
    pub async fn sharing(sessions: SessionSettings) -> Rig {
        let (a, b) = (Server::start("a").await, Server::start("b").await);
        let servers = Sides { a: vec![a.address.to_string()], b: vec![b.address.to_string()] };
        let pools = vec![Pool { name: String::new(), servers }];
        let events = Arc::<Mutex<Vec<ProxyEvent>>>::default();
        let told = Arc::clone(&events);
        let tell = move |event| told.lock().unwrap().push(event);
        let pair = PairProxy::with_pools("pair", pools, Some(sessions), ProxySettings::default(), tell);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
        let at = listener.address();
        let (closing, closed) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(Arc::clone(&pair), closed));
        Rig { a, b, pair, at, events, closing, serving }
    }

    /// A listener on which the edge itself answers.
    pub fn answers(&self) -> SocketAddr {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
        let address = listener.address();
        tokio::spawn(listener.answer(Arc::clone(&self.pair), self.closing.subscribe()));
        address
    }

    pub fn serve(&self, side: Side, epoch: u64) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Serve(side) });
    }

    pub fn hold(&self, epoch: u64) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Hold });
    }

    pub fn refuse(&self, epoch: u64) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind: RouteKind::Refuse });
    }

    /// A request on a connection of its own, under way.
    pub fn spawn_get(&self, path: &'static str) -> JoinHandle<Option<Reply>> {
        tokio::spawn(get(self.at, path))
    }

    pub fn spawn_send(&self, method: &'static str, path: &'static str, body: String) -> JoinHandle<Option<Reply>> {
        self.spawn_send_by(Way::Ours, method, path, body)
    }

    pub fn spawn_send_by(
        &self,
        way: Way,
        method: &'static str,
        path: &'static str,
        body: String,
    ) -> JoinHandle<Option<Reply>> {
        let at = self.at;
        tokio::spawn(async move { send_by(way, at, method, path, &body).await })
    }
}
